# %% [markdown]
# # Lesson 4. Why plain NumPy can be fast
#
# **What you'll do.** Time one convolution written three ways. Take a training step
# apart and compare each layer with what the machine could do. Put PyTorch beside it.
#
# **What you'll learn.** How to time code without fooling yourself; why the order of a
# tensor's axes matters so much; which layers wait for memory and which for arithmetic.
#
# **What you need.** Lesson 00b (a convolution as a matrix product), and a machine that
# does nothing else for two minutes: close the browser. All numbers in the text are from
# one core of an AMD EPYC (Zen 3), NumPy 2.4.6 and PyTorch 2.13.0; the tables show yours.

# %%
import itertools
import sys
import time
from collections import Counter
from functools import partial
from timeit import timeit

from common import ROOT, np, options, plt, table  # first: it says what is missing
from figures import save
from threadpoolctl import threadpool_limits

import tinyae
from tinyae import convolution, patches
from tinyae.backend import to_numpy
from tinyae.experiment import Experiment, batches
from tinyae.models import batch_first, batch_last
from tinyae.training import Training

sys.path.append(str(ROOT / "tests" / "benchmarks"))
import nchw

what = "Why it is fast: timings, a profile, PyTorch beside it."
args = options("04_speed", what, trains=False)
rounds = 5 if args.quick else 15
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## Timing fairly
#
# Four things spoil a timing, and each has a remedy.
#
# - The **first call** is slower, because caches are cold. So we call everything once
#   before the clock starts.
# - **Other programs** take the processor away at any moment. So we repeat, and look at
#   the median and at the quartiles, between which half of the rounds lie.
# - A **busy minute** slows down whatever runs in it. So things to be compared run in
#   turns, and a ratio is taken within each round.
# - **Threads** without work do not sleep at once. They keep a core busy and slow down
#   whatever is timed next. So everything here runs on one thread. The lessons'
#   trainings do too: on several cores, several trainings side by side are faster.
#
# A race of something against itself shows how exact all this is.

# %%
threadpool_limits(1)


def race(functions):
    """Run {name: function} in turns; return {name: milliseconds of each round}."""
    counts = {}
    for name, function in functions.items():
        function()
        counts[name] = 1 + int(0.05 / timeit(function, number=1))
    found = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()
            seconds = timeit(function, number=counts[name]) / counts[name]
            found[name].append(1e3 * seconds)
    return {name: np.array(times) for name, times in found.items()}


def quartiles(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def step_on(backend):
    """Return a training, 256 images, and a function that takes one step with them."""
    training = Training(Experiment(backend=backend))
    pixels = training.backend.from_numpy(rng.integers(0, 256, (256, 28, 28), "uint8"))
    x, _ = next(batches(pixels, training.experiment, None))
    return training, x, lambda: float(to_numpy(training.train_step(x, x)))


training, x, step = step_on("numpy")
times = race({"a training step of 256 images": step, "the same step": step})
first = times["a training step of 256 images"]
rows = [[name, quartiles(t), quartiles(t / first)] for name, t in times.items()]
table(["", "ms", "ratio"], rows, "How exact timings are here: median (quartiles)")
print("A difference smaller than the last spread is no difference.")

# %% [markdown]
# ## One convolution, three ways
#
# The encoder's second convolution: 8 channels of 14 x 14 pixels to 16 of 7 x 7, for a
# batch of 256 images.
#
# 1. **Six loops**, the definition. Python handles every multiplication.
# 2. **im2col, batch first**, as in most books (`tests/benchmarks/nchw.py`). Patches
#    become the rows of a matrix, and one product does all the arithmetic. Images are
#    (N, C, H, W), but the product puts the channels of a pixel next to each other. So
#    its operand and its result are transposed. Patches are copied in runs of 7 numbers.
# 3. **im2col, batch last**, as in `tinyae`. The same product, but images are
#    (C, H, W, N). Patches are copied in runs of 256 numbers, and the result is the next
#    layer's input: nothing is transposed.

# %%
conv = tinyae.Conv2d(8, 16, 3, stride=2, padding=1, seed=args.seed)
textbook = nchw.Conv(conv)
x_last = rng.standard_normal((8, 14, 14, 256), dtype="float32")
dy_last = rng.standard_normal((16, 7, 7, 256), dtype="float32")
x_first = np.ascontiguousarray(batch_first(x_last))
dy_first = np.ascontiguousarray(batch_first(dy_last))


def six_loops(image):
    """Return the convolution of one image (8, 14, 14): (16, 7, 7)."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    weight = conv.weight.data
    y = np.zeros((16, 7, 7), "float32") + conv.bias.data[:, None, None]
    for o, a, b, c, i, j in itertools.product(*map(range, (16, 7, 7, 8, 3, 3))):
        y[o, a, b] += weight[o, c, i, j] * padded[c, 2 * a + i, 2 * b + j]
    return y


# Times may be compared only if the results are the same.
y_last, y_first = conv.forward(x_last), textbook.forward(x_first)
dx_last, dx_first = conv.backward(dy_last), textbook.backward(dy_first)
np.testing.assert_allclose(batch_first(y_last), y_first, atol=1e-5)
np.testing.assert_allclose(batch_first(dx_last), dx_first, atol=1e-5)
np.testing.assert_allclose(six_loops(x_first[0]), y_first[0], atol=1e-5)

times = race(
    {
        "six loops": lambda: six_loops(x_first[0]),
        "patches, first": lambda: nchw.im2col(x_first, 3, 2, 1),
        "forward, first": lambda: textbook.forward(x_first),
        "backward, first": lambda: textbook.backward(dy_first),
        "patches, last": lambda: patches.im2col(x_last, *conv.geometry()),
        "forward, last": lambda: conv.forward(x_last),
        "backward, last": lambda: conv.backward(dy_last),
    }
)
rows = [
    [
        "six loops (1 image, x 256)",
        "-",
        f"{256 * np.median(times.pop('six loops')):,.0f}",
        "-",
    ]
]
parts = "patches", "forward", "backward"
for way in ("first", "last"):
    found = [quartiles(times[f"{part}, {way}"]) for part in parts]
    rows.append([f"im2col, batch {way}", *found])
header = ["", "only the patches, ms", "forward, ms", "backward, ms"]
table(header, rows, "One convolution, 256 images")
first, last = (
    times[f"forward, {w}"] + times[f"backward, {w}"] for w in ("first", "last")
)
verdict = "confirms" if np.median(first / last) > 1.5 else "contradicts"
print(f"Batch first takes {quartiles(first / last)} times as long as batch last.")
print(f"This run {verdict} that the layout makes the difference.")

# %% [markdown]
# @@CONV
#
# ## What the machine could do
#
# Two numbers limit every computation. How many operations per second can one core do? A
# product of large square matrices comes close to that limit. And how many numbers per
# second can it move? That depends on where they are. The patches of one layer, up to
# 4 MB, fit into the processor's cache; the arrays of a whole step, 25 MB, may not.

# %%
size = 1024 if args.quick else 2048
a, b = rng.standard_normal((2, size, size), dtype="float32")
small, small_copy = np.ones((2, 2**20), "float32")  # 4 MB each
large, large_copy = np.ones((2, 2**24), "float32")  # 64 MB each
times = race(
    {
        "product": lambda: a @ b,
        "cache": lambda: np.copyto(small_copy, small),
        "main memory": lambda: np.copyto(large_copy, large),
    }
)
peak = 2 * size**3 / times["product"].min()  # operations per ms: the best round counts
speed = {  # numbers per ms, read or written
    "cache": 2 * small.size / times["cache"].min(),
    "main memory": 2 * large.size / times["main memory"].min(),
}
ridge = {where: peak / numbers for where, numbers in speed.items()}
print(f"Arithmetic: {peak / 1e6:.0f} billion operations per second.")
for where in speed:
    print(f"{where}: {speed[where] / 1e6:.1f} billion numbers per second; while one is")
    print(f"moved, there is time for {ridge[where]:.0f} operations.")

# %% [markdown]
# ## Where the time of a step goes
#
# We time every layer, forward and backward together, and count two things: the
# operations it does, and the numbers it moves (reads or writes).
#
#     intensity = operations / numbers moved
#
# If the intensity is less than the operations that fit into the time of one move, the
# arithmetic is done before the next number arrives: the layer waits for memory. If it
# is more, the layer waits for arithmetic. This is the **roofline** (Williams, Waterman
# & Patterson 2009). We have two speeds of memory; between them, layers wait for both.
#
# A product of an m x k and a k x n matrix does 2mkn operations, and each weight takes
# part in three products per step. The numbers moved are counted in the source. The
# patches of a convolution pass through memory 9 times: they are set to zero, copied
# (read, written), multiplied, multiplied again for the weight gradient, made by the
# product for the input gradient, and added up (read, and each sum read and written).

# %%
PASSES = {tinyae.BatchNorm2d: 25, tinyae.ReLU: 8, tinyae.Sigmoid: 18}  # over an array


def count(layer, x, y):
    """Return (operations, numbers moved) of forward and backward."""
    if type(layer) in PASSES:
        moved = PASSES[type(layer)] * y.size
        return moved // 2, moved
    if isinstance(layer, tinyae.Flatten):
        return 0, 0
    small = y if isinstance(layer, tinyae.Conv2d) else x
    weights = layer.weight.data.size
    positions = small.size // small.shape[0]
    moved = 3 * weights + 4 * (x.size + y.size)
    if not isinstance(layer, tinyae.Linear):
        moved += 9 * weights // small.shape[0] * positions
    return 6 * weights * positions, moved


def describe(layer):
    sizes = [str(v) for n, v in vars(layer).items() if n.startswith(("in_", "out_"))]
    return f"{type(layer).__name__} {' → '.join(sizes)}".strip()


spent = Counter()


def watch(label, owner, *names):
    """Replace functions of `owner` by ones that add their time to spent[label]."""
    for name in names:

        def timed(*arguments, original=getattr(owner, name), **options):
            start = time.perf_counter()
            result = original(*arguments, **options)
            spent[label] += 1e3 * (time.perf_counter() - start)
            return result

        setattr(owner, name, timed)


operations, moved = Counter(), Counter()
values = batch_last(x)
for name, layer in training.model.named_layers():
    if isinstance(layer, tinyae.Sequential):
        continue
    before, values = values, layer.forward(values)
    counts = np.array(count(layer, before, values))
    if name == "encoder.encoder_cnn.0":
        counts = counts * 2 // 3  # nothing before it needs an input gradient
    operations[describe(layer)] += counts[0]
    moved[describe(layer)] += counts[1]
    watch(describe(layer), layer, "forward", "backward")
watch("loss", training.loss, "forward", "backward")
watch("Adam", training.optimizer, "step")
watch("products", convolution, "product", "outer_sum")
watch("copies", convolution, "im2col", "col2im")

steps, totals = [], []
for _ in range(8 * rounds):
    spent.clear()
    totals.append(1e3 * timeit(step, number=1))
    steps.append(dict(spent))
total = np.median(totals)
found = {label: np.median([s[label] for s in steps]) for label in steps[0]}
copies, products = found.pop("copies") / total, found.pop("products") / total
products += sum(ms for label, ms in found.items() if label.startswith("Linear")) / total

rows, waits = [], {}
for label in sorted(found, key=found.get, reverse=True):
    ms = found[label]
    row = [label, f"{ms:.2f}", f"{ms / total:.0%}", "-", "-", "-"]
    if moved[label] and ms > 0.01 * total:
        intensity = operations[label] / moved[label]
        waits[label] = "both"
        if intensity < min(ridge.values()):
            waits[label] = "memory"
        elif intensity > max(ridge.values()):
            waits[label] = "arithmetic"
        rate = operations[label] / ms / peak
        row[3:] = [f"{intensity:.1f}", f"{rate:.0%}", waits[label]]
    rows.append(row)
header = ["layer", "ms", "share", "intensity", "of the peak", "waits for"]
table(header, rows, f"A training step: {total:.1f} ms")
print(
    f"Matrix products take {products:.0%} of it, copying patches and adding them back"
)
print(f"{copies:.0%}. The rest are passes over whole arrays.")

figure, axis = plt.subplots(figsize=(8, 5.5))
grid = np.geomspace(0.3, 200, 100)
for (where, numbers), style in zip(speed.items(), ("--", "-"), strict=True):
    roof = np.minimum(peak, grid * numbers) / 1e6
    axis.loglog(grid, roof, style, color="black", label=f"limit, {where}")
for label, mark in zip(waits, "osD^v<>PX*h", strict=False):
    rate = operations[label] / found[label] / 1e6
    axis.loglog(operations[label] / moved[label], rate, mark, ms=9, label=label)
axis.set(xlabel="intensity: operations per number moved", title="The roofline")
axis.set_ylabel("billion operations per second")
axis.legend(fontsize=9, loc="lower right")
print("\nFigure 1: what each layer reaches, and the two limits.")
alt = "Layers below a roof: its slope is the speed of memory, its top the peak."
save(figure, args, "figure1_roofline", alt=alt)

# %% [markdown]
# @@PROFILE

# %%
expected = dict.fromkeys(["Linear 288 → 128", "Linear 128 → 288"], "arithmetic")
names = "BatchNorm2d", "ReLU", "Sigmoid", "Conv2d 1 → 8", "ConvTranspose2d 8 → 1"
expected |= dict.fromkeys(names, "memory")
verdict = "confirms" if expected.items() <= waits.items() else "contradicts"
print(f"This run {verdict} that the large Linear layers wait for arithmetic, and that")
print("batch norm, ReLU, sigmoid, the first and the last layer wait for memory.")

# %% [markdown]
# ## PyTorch beside it
#
# @@TORCH

# %%
racers = {"tinyae": step_on("numpy")[2]}
if args.backend != "numpy":
    racers[f"tinyae on {args.backend}"] = step_on(args.backend)[2]
try:
    import torch
    import torch_training
except ImportError:
    print("PyTorch is not installed, so it is left out. Type: pip install torch")
else:
    torch.set_num_threads(1)
    for layout, form in torch_training.LAYOUTS.items():
        theirs = torch_training.Training(Experiment(), layout)
        images = torch.tensor(np.ascontiguousarray(x)).contiguous(memory_format=form)
        racers[f"PyTorch{layout}"] = partial(theirs.train_step, images)
times = race(racers)
rows = [[n, quartiles(t), quartiles(t / times["tinyae"])] for n, t in times.items()]
table(["", "ms", "ratio to tinyae"], rows, "A training step of 256 images, one thread")

# %% [markdown]
# ## What to conclude
#
# @@END
