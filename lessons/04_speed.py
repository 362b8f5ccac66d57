# %% [markdown]
# # Lesson 4. Why plain NumPy can be fast
#
# **What you'll do.** Time one convolution written three ways, take the training step apart layer by layer, undo one
# by one what makes it fast, and put PyTorch beside it. Everything is measured here, on your machine, now.
#
# **What you'll learn.** How to time code without fooling yourself; why the order of a tensor's axes decides more than
# the formula; and why this network waits for memory, not for arithmetic, so that a framework has little to add.
#
# **What you need.** Lesson 0 (a convolution as a matrix product), two minutes, and a machine with nothing else to do:
# close the browser. Written for the CPU; if a GPU answers, it is timed at the end.

# %%
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from unittest.mock import patch

import joblib
from board import Group, new_board
from common import (
    ROOT,
    np,
    options,
    table,
)  # before all others: it says what is not installed
from figures import plt, save
from sweep import huge_pages, workers
from threadpoolctl import threadpool_limits

from tinyae import (
    Adam,
    AnelloAutoencoder,
    Conv2d,
    Linear,
    MSELoss,
    ReLU,
    Sigmoid,
    convolution,
)
from tinyae.backend import choose, to_numpy
from tinyae.patches import conv_size, links
from tinyae.training import Experiment, Training, batches

chosen = options(
    "04_speed",
    "Why it is fast: timings, a profile, the machine's limits.",
    trains=False,
)
rounds = 5 if chosen.quick else 15

# %% [markdown]
# ## Timing without fooling yourself
#
# A single timing is worth little: the first call warms caches, the clock rate drifts, another program wakes up. So
# here things to be compared run **in turns**, many rounds, another first in each round. What is reported is the
# median and the quartiles, in which half of the rounds lie; and a ratio is taken within each round, where both sides
# had the same weather.
#
# All runs on **one core**. The lessons' trainings do so too, one each, since several trainings side by side use the
# cores better than one that tries to use them all.

# %%
threadpool_limits(1)


def race(functions, rounds=rounds, least=0.02, warm_up=0):
    """Call {name: function} in turns; {name: milliseconds a call, one number a round}. A turn lasts `least` seconds, after
    `warm_up` that are not counted.
    """
    calls = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = 1 + int(least / max(time.perf_counter() - start, 1e-6))
    found, order = {name: [] for name in functions}, list(functions)
    for _ in range(rounds):
        for name in order:
            until = time.perf_counter() + warm_up
            while time.perf_counter() < until:
                functions[name]()
            start = time.perf_counter()
            for _ in range(calls[name]):
                functions[name]()
            found[name].append(1e3 * (time.perf_counter() - start) / calls[name])
        order = order[1:] + order[:1]
    return {name: np.array(times) for name, times in found.items()}


def quartiles(values, digits=2):
    """The median and, in brackets, the quartiles, as text."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


rng = np.random.default_rng(chosen.seed)
pixels = rng.integers(
    0, 256, (4 * 256, 28, 28), dtype="uint8"
)  # speed does not depend on what is in the pictures
training = Training(Experiment())
training.model.train()
x, _ = next(training.train_batches(pixels, epoch=1))  # one batch, (256, 1, 28, 28)


def step():
    """One training step on one batch: forward, loss, backward, Adam."""
    return training.train_step(x, x)


times = race({"a step": step, "the same step": step})
same = times["the same step"] / times["a step"]
table(
    ["raced", "ms", "ratio"],
    [
        ["a training step, 256 images", quartiles(times["a step"]), "1"],
        ["against itself", quartiles(times["the same step"]), quartiles(same, 3)],
    ],
    "How exact timings are here: median (quartiles)",
)
print("A difference smaller than that last spread is no difference.")
if np.quantile(same, 0.75) - np.quantile(same, 0.25) > 0.1:
    print(
        "That is a wide spread: something else is running here. Close it and start again for sharper numbers."
    )

# %% [markdown]
# ## What the machine could do
#
# Two numbers bound everything below. How many floating-point operations a second can one core do? A product of large
# square matrices comes as close to that as anything (n^3 multiplications and as many additions on only 3 n^2
# numbers). And how many bytes a second can it move? That depends on where they are: in main memory, or, if the arrays
# are small enough, still in the processor's cache.

# %%
n = 1024 if chosen.quick else 2048
square = rng.standard_normal((2, n, n), dtype="float32")
large, small = (
    np.ones(64 << 20, "uint8"),
    np.ones(1 << 20, "uint8"),
)  # 64 MiB are more than most caches hold
large_copy, small_copy = large.copy(), small.copy()
times = race(
    {
        "product": lambda: square[0] @ square[1],
        "large": lambda: np.copyto(large_copy, large),
        "small": lambda: np.copyto(small_copy, small),
    }
)
gflops = 2 * n**3 / times["product"] / 1e6
bandwidth = {
    size: 2 * 2**20 * mebibytes / times[size] / 1e6  # read and written
    for size, mebibytes in (("large", 64), ("small", 1))
}
table(
    ["one core", "measured"],
    [
        [f"product of two {n} x {n} matrices, GFLOP/s", quartiles(gflops, 0)],
        ["copying 64 MiB, GB/s read and written", quartiles(bandwidth["large"], 1)],
        ["copying 1 MiB, GB/s read and written", quartiles(bandwidth["small"], 1)],
    ],
    "The machine's limits",
)
peak, speed = (
    gflops.max(),
    {size: found.max() for size, found in bandwidth.items()},
)  # a limit is the best there was
print(
    f"In the time it takes to fetch or store one float32 from main memory, it could do "
    f"{4 * peak / speed['large']:.0f} operations."
)

# %% [markdown]
# ## One convolution, three ways
#
# The encoder's second convolution: 8 channels of 14 x 14 pixels to 16 of 7 x 7, a batch of 256 images.
#
# 1. **The definition**, as loops: every single multiplication goes through Python's interpreter.
# 2. **im2col, batch first.** Patches become the rows of a matrix, and one product does all the arithmetic. Images are
#    kept as most books keep them, (N, C, H, W). The product wants a patch in a row and gives an output pixel's
#    channels in a row, so what goes in and what comes out must be transposed; and the copies run along W, where at
#    most 7 numbers follow each other.
# 3. **im2col, batch last**, what `tinyae` does: (C, H, W, N). The same product, but patches are copied in runs of 256
#    numbers that lie next to each other, and the result *is* the next layer's input: nothing is transposed.

# %%
spent = {}


def timed(kind, function):
    """`function`, with the time it takes added to spent[kind]."""

    def watched(*arguments, **named):
        start = time.perf_counter()
        result = function(*arguments, **named)
        spent[kind] = spent.get(kind, 0.0) + 1e3 * (time.perf_counter() - start)
        return result

    return watched


def by_definition(x, weight, bias, stride, pad):
    """y[n, o, a, b] = bias[o] + sum_{c,i,j} weight[o, c, i, j] x[n, c, a*s + i - p, b*s + j - p]"""
    (N, C, H, W), (O, _, K, _) = x.shape, weight.shape
    size = conv_size(H, K, stride, pad)
    y = np.zeros((N, O, size, size), x.dtype)
    for n in range(N):
        for o in range(O):
            for a in range(size):
                for b in range(size):
                    total = float(bias[o])
                    for c in range(C):
                        for i in range(K):
                            for j in range(K):
                                h, w = a * stride + i - pad, b * stride + j - pad
                                if 0 <= h < H and 0 <= w < W:
                                    total += float(weight[o, c, i, j]) * float(
                                        x[n, c, h, w]
                                    )
                    y[n, o, a, b] = total
    return y


def gather(x, K, stride, pad):
    """Batch first: the patches of x (N, C, H, W) as the rows of a matrix (N*OH*OW, C*K*K)."""
    N, C, H, W = x.shape
    size = conv_size(H, K, stride, pad)
    reach = stride * (size - 1) + 1
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    patches = np.empty((N, C, K, K, size, size), x.dtype)
    for i in range(K):
        for j in range(K):
            patches[:, :, i, j] = padded[
                :, :, i : i + reach : stride, j : j + reach : stride
            ]
    return patches.transpose(0, 4, 5, 1, 2, 3).reshape(N * size * size, -1)


def scatter(rows, shape, K, stride, pad):
    """Batch first, gather's adjoint: rows (N*OH*OW, C*K*K) added up into an image of `shape` (N, C, H, W)."""
    N, C, H, W = shape
    size = conv_size(H, K, stride, pad)
    reach = stride * (size - 1) + 1
    patches = rows.reshape(N, size, size, C, K, K).transpose(0, 3, 4, 5, 1, 2)
    padded = np.zeros((N, C, H + 2 * pad, W + 2 * pad), rows.dtype)
    for i in range(K):
        for j in range(K):
            padded[:, :, i : i + reach : stride, j : j + reach : stride] += patches[
                :, :, i, j
            ]
    return padded[:, :, pad : pad + H, pad : pad + W]


def images(rows, N, size):
    """Batch first: rows (N*size*size, C) -> images (N, C, size, size)."""
    return np.ascontiguousarray(rows.reshape(N, size, size, -1).transpose(0, 3, 1, 2))


def rows(images):
    """Batch first, the way back: (N, C, H, W) -> (N*H*W, C)."""
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


def product(a, b):
    return a @ b


def batch_first_forward(x, weight, bias, stride, pad):
    patches = gather(x, weight.shape[-1], stride, pad)
    y = product(patches, weight.reshape(len(weight), -1).T) + bias
    return images(
        y, len(x), conv_size(x.shape[2], weight.shape[-1], stride, pad)
    ), patches


def batch_first_backward(dy, patches, x_shape, weight, stride, pad):
    """dx, dW, db"""
    dy = rows(dy)
    dw = product(dy.T, patches).reshape(weight.shape)
    dx = scatter(
        product(dy, weight.reshape(len(weight), -1)),
        x_shape,
        weight.shape[-1],
        stride,
        pad,
    )
    return dx, dw, dy.sum(axis=0)


conv = Conv2d(8, 16, 3, stride=2, padding=1, seed=chosen.seed)
weight, bias = conv.weight.data, conv.bias.data
x_last = rng.standard_normal((8, 14, 14, 256), dtype="float32")  # (C, H, W, N)
dy_last = rng.standard_normal((16, 7, 7, 256), dtype="float32")
x_first, dy_first = (
    np.ascontiguousarray(np.moveaxis(a, -1, 0)) for a in (x_last, dy_last)
)  # (N, C, H, W)


def batch_first():
    y, patches = batch_first_forward(x_first, weight, bias, 2, 1)
    return y, *batch_first_backward(dy_first, patches, x_first.shape, weight, 2, 1)


def batch_last():
    y = conv.forward(x_last)
    dx = conv.backward(dy_last)
    return y, dx, conv.weight.grad, conv.bias.grad


# They compute the same: only then their times may be compared.
for first, last in zip(batch_first(), batch_last()):
    last = np.moveaxis(last, -1, 0) if last.shape[-1] == 256 else last
    np.testing.assert_allclose(first, last, rtol=0, atol=1e-5 * abs(last).max())
np.testing.assert_allclose(
    by_definition(x_first[:2], weight, bias, 2, 1),
    batch_first()[0][:2],
    rtol=0,
    atol=1e-5,
)

few = 1 if chosen.quick else 4
forward = race(
    {
        "definition": lambda: by_definition(x_first[:few], weight, bias, 2, 1),
        "batch first": lambda: batch_first_forward(x_first, weight, bias, 2, 1),
        "batch last": lambda: conv.forward(x_last),
    }
)
forward["definition"] *= 256 / few  # each image costs the same
both = race({"batch first": batch_first, "batch last": batch_last})
multiplications = 256 * 16 * 49 * 72

names = {
    "definition": "the definition, as loops",
    "batch first": "im2col, batch first (N, C, H, W)",
    "batch last": "im2col, batch last (C, H, W, N)",
}
table(
    ["", "forward, ms", "GFLOP/s", "forward and backward, ms"],
    [
        [
            text,
            quartiles(forward[name]),
            f"{2 * multiplications / np.median(forward[name]) / 1e6:.3g}",
            quartiles(both[name]) if name in both else "-",
        ]
        for name, text in names.items()
    ],
    f"One convolution, 256 images (the loops: {few} of them, times {256 // few})",
)

# %% [markdown]
# Where do the two spend it? The functions that multiply and those that copy are replaced, for a moment, by ones that
# look at the clock. The products do the same arithmetic in both; what differs is how the numbers get there.

# %%
here = sys.modules[__name__]


def parts(function, watch):
    """How long `function` spends in each kind of work, medians of several calls: {kind: ms}; "rest" is what is left."""
    calls = []
    with watch:
        for _ in range(rounds * 4):
            spent.clear()
            start = time.perf_counter()
            function()
            total = 1e3 * (time.perf_counter() - start)
            calls.append(dict(spent, rest=total - sum(spent.values())))
    return {
        kind: float(np.median([call.get(kind, 0.0) for call in calls]))
        for kind in ("products", "copies", "rest")
    }


def watched(module, kinds):
    """In `module`, while this lasts, time every function in {kind: [names]}."""
    return patch.multiple(
        module,
        **{
            name: timed(kind, getattr(module, name))
            for kind, found in kinds.items()
            for name in found
        },
    )


KINDS = {"products": ["product", "outer_sum"], "copies": ["im2col", "col2im"]}
split = {
    "batch first": parts(
        batch_first,
        watched(
            here,
            {
                "products": ["product"],
                "copies": ["gather", "scatter", "images", "rows"],
            },
        ),
    ),
    "batch last": parts(batch_last, watched(convolution, KINDS)),
}

COLORS = {
    "products": "#0072B2",
    "copies": "#E69F00",
    "rest": "#999999",
}  # Okabe and Ito's, as everywhere
LABELS = {
    "products": "matrix products",
    "copies": "copies (patches, transposes)",
    "rest": "element-wise passes",
}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=[1, 1.1])
for place, (name, times) in enumerate(forward.items()):
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    left.errorbar(
        middle,
        place,
        xerr=[[middle - low], [high - middle]],
        fmt="ko",
        capsize=4,
        markersize=8,
    )
    left.annotate(
        f"{middle:,.{0 if middle > 100 else 2}f} ms",
        (middle, place),
        (0, 10),
        textcoords="offset points",
        ha="center",
    )
left.set(
    xscale="log",
    xlabel="milliseconds for 256 images (logarithmic)",
    yticks=range(3),
    yticklabels=[
        "the definition,\nas loops",
        "im2col,\nbatch first",
        "im2col,\nbatch last",
    ],
    ylim=(2.5, -0.7),
    xlim=(np.median(forward["batch last"]) / 4, 4 * np.median(forward["definition"])),
    title="Forward",
)
left.xaxis.set_major_formatter("{x:,g}")
left.grid(axis="x", color="#DDDDDD", lw=0.8)
left.set_axisbelow(True)
for place, times in enumerate(split.values()):
    start = 0.0
    for kind, value in times.items():
        right.barh(
            place,
            value,
            left=start,
            color=COLORS[kind],
            height=0.6,
            label=LABELS[kind] if place == 0 else None,
        )
        start += value
right.set(
    xlabel="milliseconds for 256 images",
    title="Forward and both gradients",
    yticks=range(2),
    yticklabels=["im2col,\nbatch first", "im2col,\nbatch last"],
    ylim=(1.5, -1.1),
)
right.legend(loc="upper right")
print("\nFigure 1: one convolution, three ways.")
save(figure, chosen, "figure1_three_ways")

# %% [markdown]
# ## Memory that is fresh is not free
#
# Every layer but Flatten and Unflatten returns a new array: that keeps it honest, nobody's array changes under his
# feet. But fresh memory comes from the operating system in pages of 4 kB, each filled with zeros at its first touch, and
# the C library (here glibc) hands large arrays back as soon as they are freed, so the next step has to fetch and clear
# them again.
#
# glibc learns: when an array of up to 32 MiB is freed, it will keep blocks of that size, and twice as much, for the
# next who asks. So freeing one array of just under 32 MiB, once, is enough. Each of the processes below takes
# training steps before and after that. Where there is another C library, nothing is lost.
#
# Even memory that is kept has a price. At every access the processor must find out where in its chips a page lies, and
# it remembers the places of some thousand pages. A step has up to 25 MB in use, 6,000 pages of 4 kB. Linux also has
# pages of 2 MB, which glibc asks for if an environment variable says so when a process starts. `lessons/sweep.py` sets
# it for the processes it trains in. Here half of the processes have it; as many run at a time as there are cores (four
# at most), since it is then, when they share the way to memory, that it pays.

# %%
CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from threadpoolctl import threadpool_limits
from tinyae import Adam, AnelloAutoencoder, MSELoss
try:
    from resource import getrusage, RUSAGE_SELF
    faults = lambda: getrusage(RUSAGE_SELF).ru_minflt
except ImportError:  # Windows does not count them this way
    faults = lambda: 0
threadpool_limits(1)
model, loss = AnelloAutoencoder(4, seed=1), MSELoss()
adam = Adam(model.parameters(), weight_decay=1e-5)
x = np.moveaxis(np.random.default_rng(1).random((1, 28, 28, 256), dtype="float32"), -1, 0)

def steps(n):
    fault, start = faults(), time.perf_counter()
    for _ in range(n):
        loss.forward(model.forward(x), x)
        model.backward(loss.backward(), input_grad=False)
        adam.step()
    print(1e3 * (time.perf_counter() - start) / n, (faults() - fault) / n, end=" ")

n = int(sys.argv[2])
steps(5); steps(n)
np.empty((32 << 20) - (1 << 16), "uint8")  # made and, as nobody keeps it, freed
steps(5); steps(n)
"""
found, at_once = {"4 kB": [], "2 MB": []}, min(joblib.cpu_count(), 4)
for _ in range(2 if chosen.quick else 5):
    arguments = [sys.executable, "-c", CHILD, str(ROOT), "10" if chosen.quick else "40"]
    child = lambda _: (
        subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    )
    for page, setting in (("4 kB", nullcontext), ("2 MB", huge_pages)):
        with setting(), ThreadPoolExecutor(at_once) as side_by_side:
            found[page] += [
                [float(word) for word in printed.split()]
                for printed in side_by_side.map(child, range(at_once))
            ]
begins, lines = np.array(found["4 kB"])[:, 2], []
for page in found:
    _, _, before, faults_before, _, _, after, faults_after = np.array(found[page]).T
    for when, ms, fetched in (
        ("as a process begins", before, faults_before),
        ("after an array of 32 MiB was freed", after, faults_after),
    ):
        lines.append(
            [
                f"{when}, pages of {page}",
                quartiles(ms),
                quartiles(fetched, 0),
                quartiles(ms / begins, 3),
            ]
        )
table(
    ["one step", "ms", "pages fetched", "ratio"],
    lines,
    f"The cost of memory, {2 * len(begins)} processes, {at_once} at a time",
)
# (In this process a Training was made at the start, and `tinyae.training.Training` does just that.)

# %% [markdown]
# ## Undoing it, one thing at a time
#
# Now the whole training step. Each line changes one thing, for a moment, and is timed in turns with the step as it
# is. A number above 1 is slower. The first group are things that were found to pay and are in the source, **undone**;
# the second group things that sound good, **tried**.
#
# * *weight gradient as one product*: dW = dy im2col(x)^T has 16 x 72 entries, each a sum over 12,544 terms. As one
#   product that is a skinny shape which some libraries are slow at; `outer_sum` makes a product for each row of
#   positions and adds them. (A product *for each position* beat the one product on one processor, lost on another.)
# * *patches all added, none copied*: `col2im` stores the first patch that reaches a pixel and adds the later ones.
#   Adding all of them to zeros reads the image once more.
# * *padding as a copy*: the textbook pads the image first. `im2col` writes into zeroed columns instead, and copies
#   only what exists.
# * *input gradient of layer 1*: nobody asks how the loss changes with the pictures.
# * *float64*: twice the bytes. Gradient checks need it, training does not.
# * *ReLU by where*, and the like: the same result by another of NumPy's functions. Which one is fast can only be
#   measured.


# %%
def one_product(a, b):
    return a.reshape(len(a), -1) @ b.reshape(len(b), -1).T


def position_products(a, b):
    a = a.reshape(len(a), -1, a.shape[-1]).transpose(1, 2, 0)
    b = b.reshape(len(b), -1, b.shape[-1]).transpose(1, 0, 2)
    return (b @ a).sum(axis=0).T


def col2im_by_adding(cols, shape, kernel_size, stride, padding):
    x, cols = (
        np.zeros(shape, cols.dtype),
        cols.reshape(shape[0], *kernel_size, *cols.shape[1:]),
    )
    for i, j, a, b, h, w in links(*shape[1:3], kernel_size, stride, padding):
        x[:, h, w] += cols[:, i, j, a, b]
    return x


def padded_im2col(x, kernel_size, stride, padding):
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    OH, OW = conv_size(x.shape[1], kh, sh, ph), conv_size(x.shape[2], kw, sw, pw)
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    cols = np.empty((len(x), kh, kw, OH, OW, x.shape[-1]), x.dtype)
    for i in range(kh):
        for j in range(kw):
            cols[:, i, j] = padded[
                :, i : i + sh * (OH - 1) + 1 : sh, j : j + sw * (OW - 1) + 1 : sw
            ]
    return cols.reshape(-1, OH, OW, x.shape[-1])


model_backward = AnelloAutoencoder.backward


def with_input_gradient(self, dy, input_grad):
    return model_backward(self, dy)


def relu_maximum(self, x):
    y = np.maximum(x, 0)
    return self.keep(y, y)


def relu_backward(self, dy):
    (y,) = self.kept(dy)
    return dy * (y > 0)


def window_im2col(x, kernel_size, stride, padding):
    padded = np.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, kernel_size, axis=(1, 2)
    )[:, :: stride[0], :: stride[1]]
    C, OH, OW, N, *_ = windows.shape
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(-1, OH, OW, N)


def relu_where(self, x):
    return self.keep(np.where(x > 0, x, np.float32(0)), x)


def relu_where_backward(self, dy):
    (x,) = self.kept(dy)
    return np.where(x > 0, dy, np.float32(0))


def sigmoid_tanh(self, x):
    y = np.tanh(x * np.float32(0.5))
    y *= 0.5
    y += 0.5
    return self.keep(y, y * (1 - y))


def bias_product(self, dy, dw):
    """The bias's gradient as a product with a vector of ones, in place of a sum."""
    self.weight.grad = dw.reshape(self.weight.data.shape)
    self.bias.grad = (dy.reshape(len(dy), 1, -1) @ np.ones((dy[0].size, 1), dy.dtype))[
        :, 0, 0
    ]


class SeparateAdams:
    """An Adam for each parameter, in place of one vector for all."""

    def __init__(self, parameters):
        self.adams = [Adam([p], weight_decay=1e-5) for p in parameters]

    def step(self, group):
        for adam in self.adams:
            adam.step(group)


separate = SeparateAdams(training.model.parameters())
double = Training(Experiment())
double.model = AnelloAutoencoder(4, dtype="float64", seed=1)
double.optimizer = Adam(double.model.parameters(), weight_decay=1e-5)
x_double = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1), "float64"), -1, 0)

UNDONE = {
    "weight gradient as one product": lambda: patch.multiple(
        convolution, outer_sum=one_product
    ),
    "patches all added, none copied": lambda: patch.multiple(
        convolution, col2im=col2im_by_adding
    ),
    "padding as a copy": lambda: patch.multiple(convolution, im2col=padded_im2col),
    "input gradient of layer 1": lambda: patch.multiple(
        AnelloAutoencoder, backward=with_input_gradient
    ),
    "float64": nullcontext,
}
TRIED = {
    "ReLU by maximum": lambda: patch.multiple(
        ReLU, forward=relu_maximum, backward=relu_backward
    ),
    "ReLU by where": lambda: patch.multiple(
        ReLU, forward=relu_where, backward=relu_where_backward
    ),
    "sigmoid by tanh": lambda: patch.multiple(Sigmoid, forward=sigmoid_tanh),
    "patches by sliding_window_view": lambda: patch.multiple(
        convolution, im2col=window_im2col
    ),
    "weight gradient for each position": lambda: patch.multiple(
        convolution, outer_sum=position_products
    ),
    "bias gradients as products": lambda: patch.multiple(
        convolution._Convolution, store_gradients=bias_product
    ),
    "an Adam for each parameter": lambda: patch.multiple(training, optimizer=separate),
}


def steps(change, n=3, who=training, x=x):
    """A function that takes n training steps with a change in place."""

    def run():
        with change():
            for _ in range(n):
                who.train_step(x, x)

    return run


# A change may be timed only if it changes nothing but the time: the same loss and the same gradients.
def gradients(change):
    with change():
        loss = training.loss.forward(training.model.forward(x), x)
        training.model.backward(training.loss.backward(), input_grad=False)
        return np.concatenate(
            [[loss], *(g.ravel() for g in training.model.gradients().values())]
        )


for name, change in (UNDONE | TRIED).items():
    np.testing.assert_allclose(
        gradients(change), gradients(nullcontext), rtol=0, atol=1e-5, err_msg=name
    )

changes = {"as it is": nullcontext, "again": nullcontext} | UNDONE | TRIED
racers = {name: steps(change) for name, change in changes.items()}
racers["float64"] = steps(nullcontext, who=double, x=x_double)
times = race(racers, rounds=2 * rounds)
as_it_is = times.pop("as it is")
ratios = {name: found / as_it_is for name, found in times.items()}
same = ratios.pop("again")
table(
    ["change", "what", "step time, ratio"],
    [["none", "against itself", quartiles(same, 3)]]
    + [
        [name, "undone" if name in UNDONE else "tried", quartiles(found, 3)]
        for name, found in ratios.items()
    ],
    f"One change at a time; the step as it is takes {quartiles(as_it_is / 3)} ms",
)

figure, axis = plt.subplots(figsize=(8.5, 4.2))
for place, (name, found) in enumerate(ratios.items()):
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    color = "#0072B2" if name in UNDONE else "#E69F00"
    axis.errorbar(
        middle,
        place,
        xerr=[[middle - low], [high - middle]],
        fmt="o",
        color=color,
        capsize=4,
        markersize=7,
    )
    axis.annotate(
        f"{middle:.2f}",
        (middle, place),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=10,
    )
axis.axvspan(
    *np.quantile(same, [0.25, 0.75]),
    color="#CCCCCC",
    alpha=0.7,
    lw=0,
    label="the step against itself",
)
axis.axvline(1, color="black", lw=1)
axis.plot([], [], "o", color="#0072B2", label="in the source, undone here")
axis.plot([], [], "o", color="#E69F00", label="not in the source, tried here")
axis.set(
    yticks=range(len(ratios)),
    yticklabels=list(ratios),
    xlabel="time of a training step, ratio (quartiles)",
)
axis.set_ylim(len(ratios) - 0.5, -0.8)
axis.legend(loc="lower right")
print("\nFigure 2: one change at a time.")
save(figure, chosen, "figure2_one_change")

# %% [markdown]
# ## Where the time goes
#
# The step taken apart: for every layer, forward and backward together, the time in matrix products, in copies
# (gathering patches and adding them back) and in what is left: biases, normalisation, activations, each a pass over
# the whole array.
#
# Beside it the **roofline** (Williams, Waterman & Patterson 2009). A computation that does I operations for each byte
# it moves cannot be faster than I times the bandwidth, nor than the machine's peak: a roof with a slope and a flat
# part. Each convolution and Linear, but for the two smallest, stands there twice, at the operations for each byte
# that its products do, reading both operands and writing the result: a filled mark for the products alone, and below it, hollow, the layer
# as a whole. What lies between the two are copies and passes, which do no operations that count.


# %%
def describe(layer):
    names = "in_channels", "out_channels", "in_features", "out_features", "num_features"
    sizes = [getattr(layer, name) for name in names if hasattr(layer, name)]
    kind = type(layer).__name__.removesuffix("2d").replace("ConvTranspose", "ConvT")
    return f"{kind} {' → '.join(map(str, sizes))}".strip()


def profile(n):
    """n training steps, every layer timed: {layer: {kind: ms}}, medians over the steps, and {layer: (x's, y's shape)}.

    Among the layers are the names of what else a step does: the loss, Adam, fetching the next batch.
    """
    seen, shapes = [], {}

    def watch(name, target, method):
        original = getattr(target, method)

        def watched(*arguments, **named):
            spent.clear()
            start = time.perf_counter()
            result = original(*arguments, **named)
            total = 1e3 * (time.perf_counter() - start)
            entry = seen[-1].setdefault(
                name, {"products": 0.0, "copies": 0.0, "rest": 0.0}
            )
            if isinstance(target, Linear):
                spent["products"] = total  # its bias is a hundredth of it
            for kind in ("products", "copies"):
                entry[kind] += spent.get(kind, 0.0)
            entry["rest"] += (
                total - spent.get("products", 0.0) - spent.get("copies", 0.0)
            )
            if method == "forward" and name in layers:
                shapes[name] = arguments[0].shape, result.shape
            return result

        return patch.object(target, method, watched)

    layers = [layer for _, layer in training.model.leaves()]
    watches = [
        watch(layer, layer, method)
        for layer in layers
        for method in ("forward", "backward")
    ]
    watches += [
        watch("loss", training.loss, "forward"),
        watch("loss", training.loss, "backward"),
        watch("Adam", training.optimizer, "step"),
        watched(convolution, KINDS),
    ]
    for each in watches:
        each.start()
    try:
        for _ in range(n):
            seen.append({})
            start = time.perf_counter()
            ((x, target),) = islice(training.train_batches(pixels, epoch=1), 1)
            seen[-1]["next batch"] = {
                "products": 0.0,
                "copies": 0.0,
                "rest": 1e3 * (time.perf_counter() - start),
            }
            training.train_step(x, target)
    finally:
        for each in reversed(watches):
            each.stop()
    return {
        name: {
            kind: float(np.median([one[name][kind] for one in seen[n // 5 :]]))
            for kind in COLORS
        }
        for name in seen[-1]
    }, shapes


found, shapes = profile(rounds * 8)
order = [*(layer for _, layer in training.model.leaves()), "loss", "Adam", "next batch"]
total = sum(sum(found[layer].values()) for layer in order)
shown = [layer for layer in order if sum(found[layer].values()) > 0.004 * total]
share = {kind: sum(found[layer][kind] for layer in order) / total for kind in COLORS}
table(
    ["kind of work", "ms a step", "share"],
    [[LABELS[kind], share[kind] * total, f"{share[kind]:.0%}"] for kind in COLORS],
    "A training step, by kind of work",
)


def work(layer):
    """(operations, bytes) of the layer's products in a step: forward, weight gradient, input gradient."""
    before, after = shapes[layer]
    N = before[-1]
    if isinstance(layer, Linear):
        height, width, positions = layer.out_features, layer.in_features, N
    else:
        small = after if isinstance(layer, Conv2d) else before
        height, positions = small[0], small[1] * small[2] * N
        width = (
            layer.weight.data.size // height
        )  # the weight as a matrix: height x width
    one = (
        2 * height * width * positions,
        layer.weight.data.itemsize * (height * width + (height + width) * positions),
    )
    times = 2 if layer is order[0] else 3  # the first layer has no input gradient
    return times * one[0], times * one[1]


figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.6), width_ratios=[1.15, 1])
for place, layer in enumerate(shown):
    start = 0.0
    for kind in COLORS:
        left.barh(
            place,
            found[layer][kind],
            left=start,
            color=COLORS[kind],
            height=0.75,
            label=LABELS[kind] if place == 0 else None,
        )
        start += found[layer][kind]
left.set(
    yticks=range(len(shown)),
    xlabel="milliseconds, forward + backward",
    title=f"A step: {total:.1f} ms",
    yticklabels=[
        layer if isinstance(layer, str) else describe(layer) for layer in shown
    ],
)
left.set_ylim(len(shown) - 0.4, -0.6)
left.legend(loc="lower right")

intensity = np.geomspace(0.8, 100, 200)
for size, style, where in (("small", "--", "cache"), ("large", "-", "main memory")):
    right.plot(
        intensity,
        np.minimum(peak, intensity * speed[size]),
        style,
        color="black",
        lw=1.5,
        label=f"roof, {where} ({speed[size]:.0f} GB/s)",
    )
weighted = [
    layer
    for layer in order
    if layer in shapes and hasattr(layer, "weight") and layer.weight.data.ndim > 1
]
large = [
    layer for layer in weighted if work(layer)[0] > 1e7
]  # the two smallest, 128 to 4 and back, are all overhead
marks = dict(zip(large, "osD^vPXp"))
for layer, mark in marks.items():
    operations, moved = work(layer)
    alone, whole = (
        operations / found[layer]["products"] / 1e6,
        operations / sum(found[layer].values()) / 1e6,
    )
    color = {Conv2d: "#0072B2", Linear: "#009E73"}.get(type(layer), "#D55E00")
    right.plot(
        [operations / moved] * 2, [alone, whole], "-", color=color, lw=1, alpha=0.6
    )
    right.plot(
        operations / moved,
        alone,
        mark,
        color=color,
        markersize=8,
        label=describe(layer),
    )
    right.plot(
        operations / moved,
        whole,
        mark,
        color=color,
        markersize=8,
        markerfacecolor="white",
    )
right.set(
    xscale="log",
    yscale="log",
    xlabel="operations for each byte moved",
    ylabel="GFLOP/s, one core",
    xlim=(0.8, 100),
    ylim=(peak / 30, 1.5 * peak),
    title="The roofline: products alone (filled), the whole layer (hollow)",
)
right.set_xticks(ticks := [1, 3, 10, 30, 100], ticks)
right.set_yticks(
    ticks := [t for t in (1, 3, 10, 30, 100, 300, 1000) if peak / 30 < t < 1.5 * peak],
    ticks,
)
right.minorticks_off()
right.annotate(
    f"peak, {peak:.0f} GFLOP/s",
    (90, peak),
    (0, 5),
    textcoords="offset points",
    ha="right",
)
right.legend(loc="lower right", fontsize=10)
print("\nFigure 3: a training step, layer by layer, and the machine's roof.")
save(figure, chosen, "figure3_profile")

operations = sum(work(layer)[0] for layer in weighted)
print(
    f"The products of a step are {operations / 1e6:.0f} MFLOP. At the machine's peak they alone would take "
    f"{operations / peak / 1e6:.1f} ms; the step takes {total:.1f} ms, {total * peak * 1e6 / operations:.1f} times "
    "that."
)

# %% [markdown]
# ## PyTorch beside it
#
# The same network, batch and optimiser in PyTorch, where it is installed: in its usual layout and in channels_last,
# on one core and on all. (It runs in this process, so it profits from the memory kept above, too. `python
# tests/benchmark.py` compares whole epochs, each in a process of its own, and lesson 1's work.)
#
# On several cores there is a trap. When the threads of one library have nothing more to do, they do not go to sleep at
# once but watch for the next product, and hold their cores meanwhile. A library whose turn comes then finds no core free:
# PyTorch's first three steps after ours took 42, 37 and 30 ms on the Intel machine named below, those that followed 16.
# So each turn begins with steps that are not counted.

# %%
try:
    import torch
except ImportError:
    torch = None
    print(
        "PyTorch is not installed, so it is left out here: pip install torch, and run this again."
    )

cores = joblib.cpu_count()


@contextmanager
def threads(n):
    with threadpool_limits(n):
        if torch:
            torch.set_num_threads(n)
        yield


def torch_step(layout):
    """A function that takes one training step of the same network in PyTorch."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 128),
        nn.ReLU(),
        nn.Linear(128, 4),
        nn.Linear(4, 128),
        nn.ReLU(),
        nn.Linear(128, 288),
        nn.ReLU(),
        nn.Unflatten(1, (32, 3, 3)),
        nn.ConvTranspose2d(32, 16, 3, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1),
        nn.Sigmoid(),
    ).to(memory_format=layout)
    adam, loss = (
        torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5),
        nn.MSELoss(),
    )
    batch = torch.tensor(np.ascontiguousarray(x)).contiguous(memory_format=layout)

    def step():
        adam.zero_grad()
        loss(model(batch), batch).backward()
        adam.step()

    return step


racers = {"tinyae": step}
if torch:
    racers["PyTorch"] = torch_step(torch.contiguous_format)
    racers["PyTorch, channels_last"] = torch_step(torch.channels_last)
lines = []
for n in sorted({1, cores}):
    with threads(n):
        times = race(racers, least=0.1, warm_up=0.2 if n > 1 else 0)
    lines += [
        [name, str(n), quartiles(found), quartiles(found / times["tinyae"])]
        for name, found in times.items()
    ]
table(
    ["a training step", "cores", "ms", "ratio to tinyae"],
    lines,
    "256 images: forward, loss, backward, Adam",
)

# %% [markdown]
# ## One model on several cores
#
# On several cores only the products of a step run faster, and short ones not by much: the passes over memory stay on
# one core, and threads that have nothing to multiply wait. *Processes* share those passes, too. Each keeps a copy of the
# model and takes every second image of each batch (of four processes, every fourth). Images meet others of their batch
# in two places only: batch norm, which takes means, and the gradient, a mean as well. So the processes exchange means,
# 13 times a step (two forward and two backward in each of three batch norms, and the gradient), through memory that
# they share (`lessons/board.py`); then all make the same step, and their copies stay equal. Several trainings of one
# process each, as in the other lessons, need not wait for each other at all and are faster still.


# %%
def epochs(rank, size, blas_threads, board):
    """Milliseconds a step of an epoch, for a few epochs, as a member of a group, or alone."""
    with threadpool_limits(blas_threads):
        member = Training(Experiment(processes=size))
        if size > 1:
            member.join(Group(rank, board))
        some, took = np.tile(pixels, (5, 1, 1)), []
        for epoch in range(1, 2 + rounds // 3):
            start = time.perf_counter()
            member.train_epoch(some, epoch)
            took.append(1e3 * (time.perf_counter() - start) / (len(some) / 256))
        return took[1:]  # in the first, some are still starting


size = 2 ** int(np.log2(min(cores, 8)))  # parts of a batch must be of one size
if size == 1:
    print("Left out: there is one core here.")
else:
    names = [
        "one process, products on one core",
        f"one process, products on {size} cores",
        f"{size} processes",
    ]
    found = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        workers(size) as carry_out,
    ):
        for turn in range(3):
            for name, members, blas_threads in zip(names, (1, 1, size), (1, size, 1)):
                board = new_board(members, f"{folder}/{turn}-{members}-{blas_threads}")
                jobs = (
                    joblib.delayed(epochs)(rank, members, blas_threads, board)
                    for rank in range(members)
                )
                found[name] += list(
                    np.max(list(carry_out(jobs)), axis=0)
                )  # an epoch is done when the last is
    table(
        ["a training step of 256 images", "ms", "ratio"],
        [
            [
                name,
                quartiles(found[name]),
                quartiles(np.array(found[name]) / found[names[0]]),
            ]
            for name in names
        ],
        "One model on several cores: shuffling and normalising included",
    )

# %% [markdown]
# ## On a GPU
#
# The layers ask the array in hand which library made it, so the same lines run on a GPU through CuPy. A GPU's time
# for a small batch is the time to *launch* some hundred small computations one after the other; it hardly grows until
# the batch is large enough to fill the device. (A launch returns at once: a timing must read something back, here the
# loss.)


# %%
def step_on(backend, N):
    """A function that takes one training step on N images on that device, and waits for it."""
    on = Training(Experiment(backend=backend, batch_size=N))
    on.model.train()
    some = on.backend.from_numpy(rng.integers(0, 256, (N, 28, 28), dtype="uint8"))
    batch, _ = next(batches(some, on.experiment, None))
    return lambda: float(to_numpy(on.train_step(batch, batch)))


if chosen.backend == "numpy":
    print(f"Left out. {choose('auto')[1]}")
else:
    lines = []
    for N in (256, 1024, 4096):
        times = race(
            {name: step_on(name, N) for name in ("numpy", chosen.backend)}, rounds=5
        )
        lines.append(
            [
                f"{N:,} images",
                *(quartiles(found) for found in times.values()),
                quartiles(times["numpy"] / times[chosen.backend], 1),
            ]
        )
    table(
        [
            "a training step",
            "NumPy, one core, ms",
            f"{chosen.backend}, ms",
            "times as fast",
        ],
        lines,
        "The same lines on a GPU",
    )

# %% [markdown]
# ## What was tried, and what it gained
#
# The tables above can be made anew on any machine. What needs another process, or was tried on the way, kept or left
# out, is written down here as it was measured, with where and when. A line that begins with *and* includes those above
# it, and is compared with the code before all of them.

# %%
RECORDED = {  # when and where: [(what, step time compared with the code without it, verdict), ...]
    "23 November 2026: one core of an AMD EPYC (Zen 5)": [
        (
            "free one array of 32 MiB once, so that glibc keeps memory",
            "0.91",
            "fetched pages 430 to 0 a step",
        ),
        (
            "the same through glibc's mallopt, both thresholds",
            "0.92",
            "the same gain, needs ctypes",
        ),
        (
            "mallopt, M_MMAP_THRESHOLD 32 MiB alone",
            "1.35",
            "left out: it stops glibc from learning",
        ),
        (
            "mallopt, M_TRIM_THRESHOLD 1 GiB alone",
            "3.9",
            "left out: the same, and worse",
        ),
        (
            "im2col: zeros only where the padding is",
            "1.00",
            "left out (the same on the Zen 3 machine)",
        ),
        ("im2col: only the edges zeroed", "1.03", "left out"),
        ("products in chunks that fit the cache", "1.00", "left out"),
        (
            "no checks of shapes and types",
            "0.98",
            "left out: they catch a beginner's every mistake",
        ),
    ],
    "24 November 2026: two cores of an AMD EPYC (Zen 3, no AVX-512)": [
        (
            "weight gradient for each row of positions, not for each position",
            "0.98",
            "kept",
        ),
        (
            "and geometry worked out once, ReLU by clip and mask, first patches copied, fewer checks",
            "0.92",
            "kept",
        ),
        (
            "what was kept given up as backward passes",
            "0.99",
            "left out: a second backward would fail",
        ),
        (
            "two Python threads, each with half the batch",
            "0.88",
            "left out: batch norm would have to wait for both",
        ),
        (
            "col2im by channels, or rows and columns apart",
            "1.0 to 1.7 of col2im",
            "left out",
        ),
        (
            "products by kernel row or offset, patches never whole",
            "1.0 to 1.2 of the layer",
            "left out",
        ),
    ],
    "25 November 2026: two cores of an AMD EPYC (Zen 4, AVX-512)": [
        (
            "weight gradient for each position, not for each row of them",
            "0.99",
            "left out: no clear difference",
        ),
        (
            "sums over the batch as products with ones",
            "0.97 to 0.99",
            "left out: little, and less exact",
        ),
        (
            "two processes, each with half of every batch, through local sockets",
            "0.90 of an epoch",
            "too slow: see the next",
        ),
        (
            "the same through memory that they share",
            "0.77 of an epoch",
            "kept: lessons/board.py",
        ),
        (
            "products for each position, not for all at once",
            "1.00; two threads 1.1",
            "left out",
        ),
        ("(H, W, C, N) instead of (C, H, W, N)", "1.01; two threads 1.17", "left out"),
        (
            "products of the first and last layer for each row of positions",
            "0.98 of lesson 1",
            "left out: a second way",
        ),
        (
            "what was kept given up as backward passes, again",
            "1.00 of lesson 1",
            "left out",
        ),
        (
            "one pool of workers for all rounds of a sweep",
            "0.97 of lesson 1",
            "kept: images are handed over once",
        ),
        (
            "pages of 2 MB, two processes at once",
            "0.94; one alone 1.00",
            "kept for a sweep's workers",
        ),
        (
            "in them, weight gradient for each position",
            "0.99",
            "left out: no clear difference, again",
        ),
        (
            "in them, that and most products for each position, into given memory",
            "0.94",
            "left out: only with AVX-512",
        ),
    ],
    "26 November 2026: two cores of an Intel Xeon (AVX-512), two processes at once": [
        (
            "weight gradient for each position, not for each row of them",
            "0.99",
            "left out: no clear difference, once more",
        ),
        (
            "and most products for each position, into given memory",
            "0.97",
            "left out: less than on the Zen 4 machine",
        ),
        (
            "convolutions in parts of 64 images, patches made again in backward",
            "1.19",
            "left out (parts of 128: 1.14)",
        ),
        ("the same in one part: what making patches again costs", "1.06", "left out"),
        (
            "OpenBLAS's kernels without AVX-512, one process",
            "1.06",
            "OpenBLAS chooses rightly by itself",
        ),
    ],
}
for where, lines in RECORDED.items():
    table(
        ["what", "step time, ratio", "verdict"],
        lines,
        f"Recorded on {where}, NumPy 2.4.6, OpenBLAS 0.3.31",
    )

# %% [markdown]
# ## What to conclude
#
# * A framework's speed is the speed of its matrix products and of its passes over memory. NumPy's products come from
#   the same kind of library, and passes over memory cost the same in every language.
# * So for a network this small the *layout* decides: with the batch last, every copy runs along memory and nothing is
#   ever transposed. That one decision is worth more than all the others together.
# * Several cores are used best by processes that work each on its own images; threads help the products only.
# * After that each further step gains a few per cent, and most good ideas gain nothing. Only a measurement can tell
#   them apart, and only one that was repeated, in turns, and shown with its spread.
#
# ## In practice
#
# A framework's advantage lies elsewhere: it differentiates what you write, it has every layer there is, and on large
# networks, where products dominate, everybody reaches the same roof.

# %% [markdown]
# ## On your own
#
# 1. Write `Experiment(batch_size=32)` in the second cell, then `batch_size=1024`. What does an image cost? (Expected:
#    with 32 nearly twice as much: the runs are shorter, and the calls' own cost is shared by fewer; with 1,024 again
#    a little more, since the arrays outgrow the cache.)
# 2. `AnelloAutoencoder(4, width=32)` has four times the channels. From the roofline, will a step take 4 times as
#    long, or 16? (Expected: between the two, near 6: operations grow 16 times, bytes only 4 times.)
# 3. Undo two things at once: the weight gradient as one product *and* the padding as a copy. Do their ratios
#    multiply? (Expected: nearly; they are different parts of the step, so rather their differences add.)
# 4. Write the convolution with the channels last, (N, H, W, C), a fourth way. What becomes of the transposes, and how
#    long are the runs that are copied? (Expected: no transposes, but runs of 8 numbers: faster than batch first,
#    slower than batch last.)
# 5. Run this lesson twice at the same time. Which numbers change? (Expected: with a core for each, the products'
#    hardly, the copying from main memory's a little, since the cores share it. With too few cores, everything, and
#    the spreads.)
