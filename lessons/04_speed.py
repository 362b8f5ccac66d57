# %% [markdown]
# # Lesson 4. Why plain NumPy can be fast
#
# **What you'll do and learn.** Time one convolution written four ways: why is a matrix
# product so fast, and why does the order of a tensor's axes matter? Time the layers of
# a training step, beside what the machine could do. And learn how to time code fairly.
#
# **What you need.** Lesson 0b, and a machine without other work for two minutes. The
# text has the times of one core of an AMD EPYC (Zen 4); the tables have yours.

# %%
import sys

# No module named common? In a notebook, type first: %cd FOLDER/lessons
sys.path.extend(["", "lessons", "tinyae/lessons"])

import itertools
import time
from collections import Counter
from functools import partial
from timeit import timeit

from common import np, options, plt, table  # first: it says what is missing
from figures import write_figure
from threadpoolctl import threadpool_limits

import tinyae
from tinyae import convolution
from tinyae.backend import to_numpy
from tinyae.experiment import Experiment, batches
from tinyae.models import batch_first, batch_last
from tinyae.training import Training

args = options("04_speed", "Timings, and a training step's profile.", trains=False)
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


def show(times, title, slowest):
    """Show each time, and how often it fits into that of the slowest."""
    rows = [
        [name, quartiles(found), quartiles(times[slowest] / found)]
        for name, found in times.items()
    ]
    table(["what", "ms", "times as fast"], rows, title)


def step_on(backend):
    """Return a training, 256 images, and a function that takes one step with them."""
    training = Training(Experiment(backend=backend))
    pixels = training.backend.from_numpy(rng.integers(0, 256, (256, 28, 28), "uint8"))
    x, _ = next(batches(pixels, training.experiment, None))
    return training, x, lambda: float(to_numpy(training.train_step(x, x)))


training, x, step = step_on("numpy")
racers = {"a step": step, "the same step": step}
if args.backend != "numpy":
    racers[f"a step on {args.backend}"] = step_on(args.backend)[2]
show(race(racers), "A training step of 256 images: median (quartiles)", "a step")
print("A step against itself: a difference within that spread means nothing.")

# %% [markdown]
# ## One convolution, four ways
#
# The encoder's second convolution, 8 x 14 x 14 to 16 x 7 x 7, for 256 images:
#
# 1. **Six loops**, the definition. Python handles every multiplication.
# 2. **Row by row.** The patches are the columns of a matrix (lesson 0b). Python handles
#    whole rows: it adds a row of patches, times one weight, to a row of y.
# 3. **One product, batch first**, as in most books. NumPy hands both matrices to BLAS,
#    a library of matrix products. Images are (N, C, H, W). Patches are copied in runs
#    of 7 numbers, and the product's operand and result must be transposed.
# 4. **One product, batch last**, as in `tinyae`. The same product, with (C, H, W, N).
#    Runs have 256 numbers, and nothing is transposed.

# %%
conv = tinyae.Conv2d(8, 16, 3, stride=2, padding=1, seed=args.seed)
weight, bias = conv.matrix(), conv.bias.data[:, None]
x_last = rng.standard_normal((8, 14, 14, 256), dtype="float32")
x_first = np.ascontiguousarray(batch_first(x_last))


def six_loops(image):
    """Return the convolution of one image (8, 14, 14): (16, 7, 7)."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    y = np.tile(bias[:, :, None], (1, 7, 7))
    for o, a, b, c, i, j in itertools.product(*map(range, (16, 7, 7, 8, 3, 3))):
        y[o, a, b] += conv.weight.data[o, c, i, j] * padded[c, 2 * a + i, 2 * b + j]
    return y


def patches_last():
    """Return one patch in each column: (72, 7 * 7 * 256)."""
    return convolution.im2col(x_last, *conv.geometry()).reshape(72, -1)


def row_by_row():
    cols = patches_last()
    y = np.tile(bias, (1, cols.shape[1]))
    for o, k in itertools.product(range(16), range(72)):
        y[o] += weight[o, k] * cols[k]
    return y


def patches_first():
    """Return one patch in each row: (256 * 7 * 7, 72)."""
    padded = np.pad(x_first, ((0, 0), (0, 0), (1, 1), (1, 1)))
    cols = np.empty((256, 8, 3, 3, 7, 7), "float32")
    for i, j in itertools.product(range(3), range(3)):
        cols[:, :, i, j] = padded[:, :, i : i + 13 : 2, j : j + 13 : 2]
    return cols.transpose(0, 4, 5, 1, 2, 3).reshape(-1, 72)


def batch_first_way():
    y = patches_first() @ weight.T + bias.T
    return np.ascontiguousarray(y.reshape(256, 7, 7, 16).transpose(0, 3, 1, 2))


# Times may be compared only if the results are the same.
y = conv.forward(x_last)
same = partial(np.testing.assert_allclose, atol=1e-5)
same(six_loops(x_first[0]), y[..., 0])
same(row_by_row(), y.reshape(16, -1))
same(batch_first_way(), batch_first(y))

cols = patches_last()
times = race(
    {
        "six loops": lambda: six_loops(x_first[0]),
        "row by row": row_by_row,
        "product, batch first": batch_first_way,
        "product, batch last": lambda: conv.forward(x_last),
        "only patches, batch first": patches_first,
        "only patches, batch last": patches_last,
        "only the product": lambda: weight @ cols,
    }
)
times["six loops"] *= 256  # of one image
show(
    times,
    "One convolution of 256 images (six loops: one image, times 256)",
    "six loops",
)

# %% [markdown]
# All four do the same 14 million multiplications and additions. Their times, in ms:
#
# | six loops | row by row | product, batch first | product, batch last |
# |---|---|---|---|
# | 6,200 | 4.9 | 2.5 | 0.62 |
#
# **Why is a matrix product so much faster than loops?** For the reasons of lesson 0b.
#
# - *Python has less to do.* In six loops it handles every multiplication, which takes
#   0.4 µs. Row by row it handles 1,152 rows. A loop in C goes through the 12,544
#   numbers of a row, several in one instruction. That is 1,270 times as fast.
# - *Numbers are used again.* Row by row, each multiplication moves five numbers: it
#   reads one of `cols` and writes the product; the addition reads that and y, and
#   writes y. BLAS cuts the matrices into blocks that stay in the core's cache and
#   registers, and uses each number there many times (Goto & van de Geijn 2008). The
#   product alone takes 0.42 ms, a twelfth of the time row by row.
#
# **Why is batch last faster?** It copies its patches in 0.15 ms, batch first in 1.6.
#
# ## What the machine could do
#
# How many operations per second can one core do? A product of large matrices comes
# close to that limit. And how many numbers per second can it move? We copy one array of
# 4 MB into another.

# %%
a, b = rng.standard_normal((2, 1024, 1024), dtype="float32")
times = race({"product": lambda: a @ b, "copy": lambda: np.copyto(a, b)})
# The best round counts. Operations, and numbers read or written, per millisecond:
peak = 2 * 1024**3 / times["product"].min()
speed = 2 * 1024**2 / times["copy"].min()
print(f"One core can do {peak / 1e6:.0f} billion operations per second, or move")
print(f"{speed / 1e6:.1f} billion numbers: {peak / speed:.1f} operations for each.")

# %% [markdown]
# ## Where the time of a step goes
#
# We time every layer, forward and backward together, and compare it with both limits.
#
# - *Of the peak.* How much of the time would the operations take at the peak? A product
#   of an m x k and a k x n matrix does 2mkn operations. A layer with weights has three
#   such products, for y, dx and dW.
# - *Of a copy.* How much of the time would a copy take that moves as many numbers as
#   the layer reads and writes? For ReLU they are 7.5 for each number of y. Forward:
#   `clip` reads x and writes y; `x > 0` reads x and writes a byte, a quarter of a
#   number. Backward: `astype` reads that byte and writes the slope; `dx *= dy` reads
#   two numbers and writes one. In the same way, line by line, the sigmoid has 18 and
#   batch norm 24 (10 forward, 14 backward).

# %%
PASSES = {"BatchNorm2d": 24, "ReLU": 7.5, "Sigmoid": 18}


def least(layer, x, y):
    """Return the least milliseconds of a layer: at the peak, and as fast as a copy."""
    name = type(layer).__name__
    if name in PASSES or not hasattr(layer, "weight"):
        return 0, PASSES.get(name, 0) * y.size / speed
    small = y if name == "Conv2d" else x
    positions = small.size // small.shape[0]
    return 6 * layer.weight.data.size * positions / peak, 0


def describe(layer):
    sizes = [str(v) for n, v in vars(layer).items() if n.startswith(("in_", "out_"))]
    return f"{type(layer).__name__} {' → '.join(sizes)}".strip()


spent = Counter()
now = {}


def watch(owner, names, part, label=None):
    """Replace functions of `owner` by ones that add their time to spent.

    part: "all", or a part of a layer. label: the layer's; None: that of the layer that
    is running.
    """

    def timed(original, *arguments, **options):
        now["label"] = label or now["label"]
        start = time.perf_counter()
        result = original(*arguments, **options)
        spent[now["label"], part] += 1e3 * (time.perf_counter() - start)
        return result

    for name in names.split():
        setattr(owner, name, partial(timed, getattr(owner, name)))


limits = Counter()
values = batch_last(x)
for name, layer in training.model.named_layers():
    if isinstance(layer, tinyae.Sequential):
        continue
    label, before, values = describe(layer), values, layer.forward(values)
    at_peak, as_copy = least(layer, before, values)
    if name == "encoder.encoder_cnn.0":
        at_peak *= 2 / 3  # nothing before it needs an input gradient
    limits[label, "peak"] += at_peak
    limits[label, "copy"] += as_copy
    if isinstance(layer, tinyae.Linear):
        watch(layer, "forward backward", "products")
    watch(layer, "forward backward", "all", label)
watch(training.loss, "forward backward", "all", "loss")
watch(training.optimizer, "step", "all", "Adam")
watch(convolution, "product outer_sum", "products")
watch(convolution, "im2col col2im", "patches")

steps = []
for _ in range(8 * rounds):
    spent.clear()
    start = time.perf_counter()
    step()
    spent["total", "all"] = 1e3 * (time.perf_counter() - start)
    steps.append(dict(spent))
found = Counter({key: np.median([s[key] for s in steps]) for key in steps[0]})
total = found.pop(("total", "all"))
labels = [label for label, part in found if part == "all"]
labels.sort(key=lambda label: -found[label, "all"])
rows = []
reached = {}
for label in labels:
    ms = found[label, "all"]
    row = [label, f"{ms:.2f}"]
    for limit in ("peak", "copy"):
        share = limits[label, limit] / ms
        reached[label, limit] = share
        row.append(f"{share:.0%}" if share else "-")
    rows.append(row)
table(["layer", "ms", "of the peak", "of a copy"], rows, f"A step: {total:.1f} ms")
narrow = max(reached[label, "peak"] for label in labels if "Conv" in label)
wide = max(reached[label, "peak"] for label in labels if "Linear" in label)
verdict = "confirms" if narrow < wide else "contradicts"
print(f"This run {verdict} that no convolution comes as close to the peak as the")
print("best Linear.")

bars = {}
for part in ("products", "patches", "all"):
    bars[part] = np.array([found[label, part] for label in labels])
bars["the rest"] = bars.pop("all") - bars["products"] - bars["patches"]
figure, axis = plt.subplots(figsize=(7, 5.5))
left = 0
for part, ms in bars.items():
    name = f"{part}: {ms.sum() / total:.0%} of the step"
    print(name)
    axis.barh(labels, ms, left=left, label=name)
    left = left + ms
axis.invert_yaxis()
axis.set(xlabel="milliseconds of a step")
axis.legend(loc="lower right")
print("\nFigure 13: where the time of a step goes.")
alt = "Bars of each layer's time, divided into products, patches and the rest."
write_figure(figure, args, "figure13_profile", alt=alt)

# %% [markdown]
# A step took 15 to 16 ms. **Matrix products** took 55% of it, **patches** 15%, **batch
# norm, ReLU and the sigmoid** 18%, Adam 3%. The rest goes to biases, the loss, and what
# is between the layers. Python takes little: a step with 2 images, which starts the
# same work, takes 1.8 ms (exercise 1).
#
# Only the large **Linear** layers come close to the peak (three quarters or more). The
# **convolutions** reach less, the fewer channels they have: 48 to 49% between 16 and 32
# channels, 34 to 36% between 8 and 16, 13 to 14% between 1 and 8. Their matrices are
# narrower, so a number that was read is used fewer times. And patches cost time but are
# no operations; figure 13 shows how much.
#
# **Batch norm, ReLU and the sigmoid** move their numbers half as fast as a copy. By
# this count, half of their time is moving numbers. The sigmoid is not slower than the
# others, although it computes exponentials. We did not take the rest apart.
#
# ## PyTorch beside it
#
# `python tests/benchmarks/benchmark.py` trains epochs in PyTorch 2.13 (eager) beside
# tinyae. On one core of the same machine PyTorch's epoch takes 1.54 times as long (with
# its channels last in memory, its faster layout here), with four times the channels
# 1.07 times. On two cores the first is 1.25, with a spread from 0.9 to 1.8, and the
# second 0.88: there PyTorch wins with the wide network.
#
# ## What to conclude
#
# - Hand whole arrays to NumPy, and **matrix products** to BLAS.
# - The **layout** matters. With the batch last, copies run along memory, and nothing is
#   transposed. `tests/benchmarks/README.md` lists what else was tried.
# - A framework computes the same products with the same kind of library. Its advantage
#   lies elsewhere: it has every layer, it differentiates what you write, and with four
#   times the channels tinyae's lead is nearly gone on one core, and lost on two.
#
# ## On your own
#
# 1. Give `Experiment` in `step_on` a `batch_size` of 2, 32, then 1024, and draw as many
#    images: the first number in `(256, 28, 28)`. What does an image cost?
# 2. `model=partial(tinyae.AnelloAutoencoder, width=32)` has four times the channels: 16
#    times the operations in most layers, 4 times the numbers. How long is a step?
# 3. Write the convolution with the channels last, (N, H, W, C). How long are the runs
#    of a copy, and how long does forward take?
#
# ### Answers
#
# 1. With 32 images it costs 1.7 times as much, as runs are shorter and fewer images
#    share a call; with 1,024 images 1.1 times as much.
# 2. 6.2 times as long. Convolutions between many channels come closer to the peak.
# 3. Runs have 8 numbers, and forward takes twice as long as batch last, 0.6 times as
#    long as batch first. If a row of a patch is copied at once, runs have 24 numbers,
#    and it takes 1.2 to 1.5 times, and 0.4 times, as long.
