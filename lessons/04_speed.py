# %% [markdown]
# # Lesson 4. Why plain NumPy can be fast
#
# **What you'll do and learn.** Time one convolution written three ways: the order of a
# tensor's axes matters. Time the layers of a training step: some wait for memory, some
# for arithmetic. Put PyTorch beside it. And learn how to time code fairly.
#
# **What you need.** Lesson 0b, and a machine without other work for two minutes. The
# text has times from one core of an Intel Xeon (AVX-512); the tables have yours.

# %%
import os
import sys

# The folder of this file, for `import common`; python -P leaves it out.
sys.path.append(os.path.dirname(os.path.realpath(sys.argv[0])))

import itertools
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

args = options("04_speed", "Timings, a profile, PyTorch beside it.", trains=False)
rounds = 5 if args.quick else 15
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## Timing fairly
#
# - The **first call** is slower, because caches are cold. So we call once before.
# - **Other programs** take the processor away. So we repeat, and report the median and
#   the quartiles, between which half of the rounds lie.
# - A **busy minute** slows down whatever runs in it. So things to be compared run in
#   turns, and a ratio is taken within each round.
# - **Threads** without work keep a core busy for a while and slow down what is timed
#   next. So all runs on one thread, as the lessons' trainings do.

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
            seconds = timeit(function, number=counts[name])
            found[name].append(1e3 * seconds / counts[name])
    return {name: np.array(times) for name, times in found.items()}


def quartiles(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def show(times, title):
    first = next(iter(times.values()))
    rows = [[name, quartiles(t), quartiles(t / first)] for name, t in times.items()]
    table(["", "ms", "ratio"], rows, title)


def step_on(backend):
    """Return a training, 256 images, and a function that takes one step with them."""
    training = Training(Experiment(backend=backend))
    pixels = training.backend.from_numpy(rng.integers(0, 256, (256, 28, 28), "uint8"))
    x, _ = next(batches(pixels, training.experiment, None))
    return training, x, lambda: float(to_numpy(training.train_step(x, x)))


training, x, step = step_on("numpy")
times = race({"a training step of 256 images": step, "the same step": step})
show(times, "How exact timings are here: median (quartiles)")
print("A step against itself: a difference within that spread means nothing.")

# %% [markdown]
# ## One convolution, three ways
#
# The encoder's second convolution, 8 x 14 x 14 to 16 x 7 x 7, for 256 images:
#
# 1. **Six loops**, the definition. Python handles every multiplication.
# 2. **im2col, batch first**, as in most books (`tests/benchmarks/nchw.py`). One product
#    does all the arithmetic. Images are (N, C, H, W). Patches are copied in runs of 7
#    numbers, and the product's operand and result must be transposed.
# 3. **im2col, batch last**, as in `tinyae`. The same product, with (C, H, W, N). Runs
#    have 256 numbers, and nothing is transposed.

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
    y = np.tile(conv.bias.data[:, None, None], (1, 7, 7))
    for o, a, b, c, i, j in itertools.product(*map(range, (16, 7, 7, 8, 3, 3))):
        y[o, a, b] += weight[o, c, i, j] * padded[c, 2 * a + i, 2 * b + j]
    return y


# Times may be compared only if the results are the same.
y, same = textbook.forward(x_first), np.testing.assert_allclose
same(batch_first(conv.forward(x_last)), y, atol=1e-5)
same(batch_first(conv.backward(dy_last)), textbook.backward(dy_first), atol=1e-5)
same(six_loops(x_first[0]), y[0], atol=1e-5)

times = race(
    {
        "loops": lambda: six_loops(x_first[0]),
        "patches, first": lambda: nchw.im2col(x_first, 3, 2, 1),
        "forward, first": lambda: textbook.forward(x_first),
        "backward, first": lambda: textbook.backward(dy_first),
        "patches, last": lambda: patches.im2col(x_last, *conv.geometry()),
        "forward, last": lambda: conv.forward(x_last),
        "backward, last": lambda: conv.backward(dy_last),
    }
)
rows = [["six loops", "-", f"{256 * np.median(times['loops']):,.0f}", "-"]]
header = ["milliseconds", "patches", "forward", "backward"]
for way in ("first", "last"):
    found = [quartiles(times[f"{part}, {way}"]) for part in header[1:]]
    rows.append([f"im2col, batch {way}", *found])
table(header, rows, "One convolution, 256 images (the loops: 1 image, times 256)")
ratio = times["forward, first"] + times["backward, first"]
ratio /= times["forward, last"] + times["backward, last"]
print(f"Batch first takes {quartiles(ratio)} times as long as last (the text: 2.7).")

# %% [markdown]
# The loops need 7 seconds, im2col a few milliseconds. Both kinds of im2col do the same
# product, but gathering the patches takes 2.0 ms with the batch first, and 0.4 ms with
# the batch last. Forward and backward together are 2.7 times as fast.
#
# ## What the machine could do
#
# How many operations per second can one core do? A product of large matrices comes
# close to that limit. And how many numbers per second can it move? The patches of one
# layer, up to 4 MB, fit into the cache; those of a whole step, 25 MB, perhaps do not.

# %%
a, b = rng.standard_normal((2, 1024, 1024), dtype="float32")
sizes = {"cache": 2**20, "main memory": 2**24}  # 4 MB and 64 MB
pairs = {where: np.ones((2, numbers), "float32") for where, numbers in sizes.items()}
copying = {where: partial(np.copyto, *pair) for where, pair in pairs.items()}
times = race({"product": lambda: a @ b} | copying)
# The best round counts. Operations, and numbers read or written, per millisecond:
peak = 2 * 1024**3 / times["product"].min()
speed = {where: pair.size / times[where].min() for where, pair in pairs.items()}
ridge = {where: peak / numbers for where, numbers in speed.items()}
print(f"One core can do {peak / 1e6:.0f} billion operations per second. In the time")
for where, limit in ridge.items():
    print(f"of moving one number in the {where}, it could do {limit:.0f} operations.")

# %% [markdown]
# ## Where the time of a step goes
#
# We time every layer, forward and backward together, and count its operations and the
# numbers it moves (reads or writes).
#
#     intensity = operations / numbers moved
#
# If the intensity is less than the operations that fit into the time of one move, the
# layer waits for memory; if it is more, for arithmetic; between the limits of cache and
# main memory, for both. This is the **roofline** (Williams, Waterman & Patterson 2009).
#
# A product of an m x k and a k x n matrix does 2mkn operations. A layer has three such
# products, for y, dx and dW. The patches of a convolution are moved 9 times: set to
# zero, copied (read, written), read by two products, written by one, added up (read;
# sums read and written).

# %%
PASSES = {"BatchNorm2d": 24, "ReLU": 8, "Sigmoid": 18, "Flatten": 0, "Unflatten": 0}


def count(layer, x, y):
    """Return (operations, numbers moved) of forward and backward."""
    if type(layer).__name__ in PASSES:  # how often its array is read or written
        moved = PASSES[type(layer).__name__] * y.size
        return moved // 2, moved  # an operation reads one number and writes one
    small = y if isinstance(layer, tinyae.Conv2d) else x
    weights = layer.weight.data.size
    positions = small.size // small.shape[0]
    moved = 3 * weights + 4 * (x.size + y.size)  # in products, copies and sums
    if not isinstance(layer, tinyae.Linear):
        moved += 9 * weights // small.shape[0] * positions
    return 6 * weights * positions, moved


def describe(layer):
    sizes = [str(v) for n, v in vars(layer).items() if n.startswith(("in_", "out_"))]
    return f"{type(layer).__name__} {' → '.join(sizes)}".strip()


spent = Counter()


def watch(label, owner, *names):
    """Replace functions of `owner` by ones that add their time to spent[label]."""

    def timed(original, *arguments, **options):
        start = time.perf_counter()
        result = original(*arguments, **options)
        spent[label] += 1e3 * (time.perf_counter() - start)
        return result

    for name in names:
        setattr(owner, name, partial(timed, getattr(owner, name)))


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
watch("total", training, "train_step")

steps = []
for _ in range(8 * rounds):
    spent.clear()
    step()
    steps.append(dict(spent))
found = {label: np.median([s[label] for s in steps]) for label in steps[0]}
total, copies, products = (found.pop(n) for n in ("total", "copies", "products"))
products += sum(ms for label, ms in found.items() if label.startswith("Linear"))
rows, waits = [], {}
for label in sorted(found, key=found.get, reverse=True):
    ms = found[label]
    row = [label, f"{ms:.2f}", f"{ms / total:.0%}", "-", "-", "-"]
    if moved[label] and ms > 0.01 * total:
        intensity = operations[label] / moved[label]
        above = sum(intensity > limit for limit in ridge.values())
        waits[label] = ("memory", "both", "arithmetic")[above]
        rate = operations[label] / ms / peak
        row[3:] = [f"{intensity:.1f}", f"{rate:.0%}", waits[label]]
    rows.append(row)
header = ["layer", "ms", "share", "intensity", "of the peak", "waits for"]
table(header, rows, f"A training step: {total:.1f} ms")
print(f"Of it, matrix products take {products / total:.0%}, copying patches and adding")
print(f"them back {copies / total:.0%}; the rest are passes over whole arrays.")
names = "BatchNorm2d", "ReLU", "Sigmoid", "Conv2d 1 → 8", "ConvTranspose2d 8 → 1"
expected = dict.fromkeys(names, "memory") | {"Linear 288 → 128": "arithmetic"}
verdict = "confirms" if expected.items() <= waits.items() else "contradicts"
print(f"This run {verdict} what the text below says about waiting.")

figure, axis = plt.subplots(figsize=(8, 5.5))
x_axis = np.geomspace(0.3, 200, 100)
for where, style in ("cache", "--"), ("main memory", "-"):
    roof = np.minimum(peak, x_axis * speed[where]) / 1e6
    axis.loglog(x_axis, roof, style, color="black", label=f"limit, {where}")
for label, mark in zip(waits, "osD^v<>PX*h", strict=False):
    rate = operations[label] / found[label] / 1e6
    axis.loglog(operations[label] / moved[label], rate, mark, ms=9, label=label)
axis.set(xlabel="operations per number moved", ylabel="billion operations per second")
axis.legend(fontsize=9, loc="lower right")
print("\nFigure 1: what each layer reaches, and the two limits.")
alt = "Layers below a roof: its slope is the speed of memory, its top the peak."
save(figure, args, "figure1_roofline", alt=alt)

# %% [markdown]
# While one number was moved, this machine had time for 23 (cache) or 39 (main memory)
# operations. **Batch norm, ReLU and sigmoid** do one operation for two numbers. They
# wait for memory, and reach 2% of the peak. So do the **first and the last layer** with
# 3.3 operations per number, because one side has a single channel: they reach 7%. The
# other **convolutions**, with 8 and 16 operations per number, wait for memory too, and
# reach 18 and 27%. Only the large **Linear** layers wait for arithmetic. They do 106
# operations per number, reach 67% of the peak, and take 3% of the time each. (On an AMD
# EPYC, Zen 3, with time for 7 or 20, the other convolutions wait for both.)
#
# Matrix products took 44% of the step, patches 20%, passes over whole arrays the rest:
# so at least 56% of the time goes into moving numbers.
#
# ## PyTorch beside it
#
# In PyTorch 2.13 a step took 1.34 times as long, 1.19 times with the channels last in
# memory (Zen 3: 2.0 and 1.6). `tests/benchmarks/benchmark.py` compares epochs.

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
show(race(racers), "A training step of 256 images, one thread")

# %% [markdown]
# ## What to conclude
#
# - The **layout** matters most. With the batch last, copies run along memory, and
#   nothing is transposed. `lessons/README.md` lists what else was tried.
# - A **small network waits for memory**. Moving numbers costs the same in every
#   language, so Python, which only starts the work, does not slow it down.
# - A framework's advantage lies elsewhere: it has every layer, it differentiates what
#   you write, and the larger the network, the smaller is tinyae's lead.
#
# ## On your own
#
# 1. Give `Experiment` in `step_on` a `batch_size` of 32, then 1024, and draw as many
#    images. What does an image cost? (Expected: with 32 it costs 1.6 times as much, as
#    runs are shorter and fewer images share a call; with 1024 as much as with 256.)
# 2. `model=partial(tinyae.AnelloAutoencoder, width=32)` has four times the channels: 16
#    times the operations in most layers, 4 times the numbers. How long is a step?
#    (Expected: 4.3 times as long. Convolutions between many channels use the processor
#    better.)
# 3. Write the convolution with the channels last, (N, H, W, C). (Expected: runs of 8
#    numbers. Forward takes 0.9 times as long as batch first, 3.3 times as batch last.)
