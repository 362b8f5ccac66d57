# %% [markdown]
# # Lesson 0. From the chain rule to a trained network
#
# **What you'll do.** Start from one weight and one number, and end at a three-layer network that learns. On the way
# you derive the backwards that `tinyae/` is made of, and check each of its layers by measuring.
#
# **What you'll learn.** Why backpropagation is two things only, *forward keeps, backward multiplies*; why convolution
# and transposed convolution are one pair of operations; what batch norm's backward takes out of a gradient; and what
# Adam does with the result.
#
# **What you need.** NumPy and the chain rule, `d/dx f(g(x)) = f'(g(x)) g'(x)`. No data and no framework; it runs in
# less than a minute.
#
# Letters: N images in the batch, C channels in, O channels out, H and W the height and width of an image (but W in a
# product is a weight matrix), OH and OW those of an output, kh and kw of the kernel, s the stride, p the padding (in
# `tinyae/` sh, sw and ph, pw, one for each axis). L is the loss, one number. For any array `v` of a
# computation, `dv` means dL/dv: how much L changes with each entry of v. So `dv` always has the shape of `v`.

# %%
from common import np, options, table
from figures import plt, save

from tinyae import (
    Adam,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
)
from tinyae.gradcheck import check_layer
from tinyae.layer import Parameter
from tinyae.patches import col2im, conv_size, im2col, transposed_size

chosen = options(
    "00_backprop", "Lesson 0: from the chain rule to a trained network.", trains=False
)
if chosen.backend != "numpy":
    print("This lesson's arrays are small and stay in NumPy all the same.")
rng = np.random.default_rng(chosen.seed)
BLUE, ORANGE, GREEN, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#777777",
)  # Okabe and Ito's, and a grey


def error(a, b):
    """The largest difference between two arrays, measured by the largest entry of b."""
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


# %% [markdown]
# ## 1. Forward keeps, backward multiplies
#
# One weight w, one number x, a target t. Three small steps lead to the loss:
#
#     u = w x            e = u - t            L = e^2
#
# The chain rule multiplies the slopes of these steps, from the loss back to the weight:
#
#     de = 2 e           du = de * 1          dw = du * x          dx = du * w
#
# Look at what the slopes are made of: e, x, w. All were there during forward. So forward *keeps* them, and backward
# *multiplies* what comes from above by the slope of its own step. Neither has to know the rest of the computation.

# %%
print("\n== 1. Forward keeps, backward multiplies ==")
x, w, t = 2.0, 0.5, 3.0

u = w * x  # forward
e = u - t
L = e**2

de = 2 * e  # backward: the same steps in reverse
du = de * 1
dw = du * x
dx = du * w

nudged = ((w + 0.001) * x - t) ** 2
print(f"L = {L}, dw = {dw}, dx = {dx}")
print(
    f"Moving w by 0.001 moves L by {nudged - L:.6f}, and dw * 0.001 = {dw * 0.001:.6f}."
)

for step in range(10):  # learning: go against the slope, again and again
    w -= 0.1 * 2 * (w * x - t) * x
print(f"Ten steps w -= 0.1 dw later w = {w:.6f}, where w x = t.")
assert abs(w - 1.5) < 1e-6

# %% [markdown]
# One rule more, and it will explain most of what follows: **a value that is used several times gets the sum of what
# comes back from its uses.** If x moves, every use moves, and their effects on L add up. In z = x x the first factor
# sends back dz * x and so does the second: dx = 2 x dz, which is the power rule.

# %%
x, dz = 3.0, 1.0
dx = dz * x  # from the first use
dx += dz * x  # from the second: added
print(f"z = x x at x = 3: the two uses send back 3 each, dx = {dx}.")
assert dx == 2 * x

# %% [markdown]
# ## 2. Linear: from the scalar rule to the matrix rule
#
# Many inputs x_k, many outputs, a weight between each two:
#
#     y_i = sum_k W_ik x_k + b_i
#
# W_ik is multiplied by x_k and lands in y_i, so dW_ik = dy_i x_k. And x_k is used in *every* y_i, so what comes back
# is added: dx_k = sum_i W_ik dy_i. A batch holds N such columns x side by side (the batch is the last axis in all of
# tinyae). The weights are used once for each, so their gradient is summed over n as well:
#
#     dW_ik = sum_n dy_in x_kn       db_i = sum_n dy_in       dx_kn = sum_i W_ik dy_in
#
# The sums of products run over an index that stands in both factors. That is what a matrix product does:
#
#     dW = dy x^T                    db = sum_n dy            dx = W^T dy
#
# A transpose appears because backward goes through W the other way, from outputs to inputs.

# %%
print("\n== 2. Linear ==")
K, O, N = 3, 2, 4
linear = Linear(K, O, dtype="float64", seed=chosen.seed)
x = rng.standard_normal((K, N))  # (K, N)
dy = rng.standard_normal((O, N))  # (O, N): whatever came from above
y = linear.forward(x)  # (O, N)
dx = linear.backward(dy)  # (K, N)

dW_loops, dx_loops = np.zeros((O, K)), np.zeros((K, N))
for i, k, n in np.ndindex(O, K, N):  # the scalar rule: three nested loops
    dW_loops[i, k] += dy[i, n] * x[k, n]
    dx_loops[k, n] += linear.weight.data[i, k] * dy[i, n]
print(
    f"x {x.shape} -> y {y.shape}; dy {dy.shape} -> dx {dx.shape}, dW {linear.weight.grad.shape}"
)
print(
    f"Scalar rule against matrix rule: dW differs by {error(dW_loops, linear.weight.grad):.0e}, "
    f"dx by {error(dx_loops, dx):.0e}."
)
assert error(dW_loops, linear.weight.grad) < 1e-14 and error(dx_loops, dx) < 1e-14

# %% [markdown]
# ## 3. A numerical check, and why its step size matters
#
# A derivative can be measured: move the input by h, see how far the output moves, divide.
#
#     one-sided   (f(x+h) - f(x)) / h            wrong by about  h   f''(x) / 2
#     central     (f(x+h) - f(x-h)) / 2h         wrong by about  h^2 f'''(x) / 6
#
# That error, *truncation*, shrinks with h, so h should be small. But a computer keeps about 16 digits of f (float32:
# 7). f(x+h) and f(x-h) agree in most of them, the subtraction removes those, and the *rounding* error that was in the
# last digit is divided by h: wrong by about eps / h, where eps is 2e-16 in float64 and 1e-7 in float32. It *grows* as
# h shrinks. The best step is where the two are equal:
#
#     one-sided: h = eps^(1/2), error eps^(1/2)          central: h = eps^(1/3), error eps^(2/3)
#
# Below, the slope of a sigmoid is measured at 300 places with many h, and compared with the formula of section 4.

# %%
print("\n== 3. A numerical check ==")
steps = 10.0 ** np.arange(-12, 0.1, 0.25)
values = rng.uniform(-3, 3, 300)


def error_of_step(h, sides, dtype):
    """The root mean square error of the measured slopes of a sigmoid at many x."""
    layer, x = Sigmoid(), values.astype(dtype)
    y = layer.forward(x)
    slope = layer.backward(np.ones_like(x))
    above, below = (
        layer.forward(x + dtype(h)),
        layer.forward(x - dtype(h)) if sides == 2 else y,
    )
    return np.sqrt(
        np.mean(((above - below) / (sides * dtype(h)) - slope).astype("float64") ** 2)
    )


figure, axis = plt.subplots(figsize=(8, 4.4))
curves = [
    ("one-sided, float64", 1, np.float64, ORANGE, "s"),
    ("central, float64", 2, np.float64, BLUE, "o"),
    ("central, float32", 2, np.float32, GREY, "^"),
]
rows = []
for name, sides, dtype, color, marker in curves:
    errors = np.array([error_of_step(h, sides, dtype) for h in steps])
    axis.loglog(steps, errors, color=color, marker=marker, markersize=4, label=name)
    best, eps = np.argmin(errors), np.finfo(dtype).eps
    h, least = (
        (eps ** (1 / 2), eps ** (1 / 2))
        if sides == 1
        else (eps ** (1 / 3), eps ** (2 / 3))
    )
    rows.append(
        [name, f"{steps[best]:.0e}", f"{h:.0e}", f"{errors[best]:.0e}", f"{least:.0e}"]
    )
    assert h / 30 < steps[best] < h * 30
for place, text in [
    ((1e-10, 6e-9), "rounding\n~ eps / h"),
    ((1.5e-5, 8e-6), "truncation\n~ h"),
    ((1.5e-2, 3e-9), "truncation\n~ h²"),
    ((2e-6, 0.4), "rounding\n~ eps / h"),
]:
    axis.text(*place, text, ha="center", va="center", fontsize=10)
axis.set(
    title="Error of a measured slope against the step",
    xlabel="step h",
    ylabel="error of the slope (rms)",
    ylim=(5e-13, 30),
)
axis.legend(loc="upper center", ncols=3)
save(figure, chosen, "03_step_size")
table(
    ["", "best h", "expected", "its error", "expected"],
    rows,
    "Each curve's lowest point, and where theory puts it",
)

# %% [markdown]
# (At the far left float32 stays flat: h is below the last digit of x, x + h is x, and the measured slope is 0.) Even
# at its best step float32 is about a million times worse than float64, and a small mistake could hide in that. So
# gradients are checked in float64, with central differences. The check itself is short:

# %%


def measure(f, x, h=1e-5):
    """df/dx for a function f that gives one number: two runs of f for every entry of x."""
    dx = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        dx[index] = (f(x + step) - f(x - step)) / (2 * h)
    return dx


class Forgetful(Linear):
    """A Linear whose backward forgets one of the sums over the batch."""

    def backward(self, dy, input_grad=True):
        dx = super().backward(dy, input_grad)
        self.bias.grad = dy[:, 0]
        return dx


x, dy = rng.standard_normal((K, N)), rng.standard_normal((O, N))
linear.forward(x)
dx = linear.backward(dy)
measured = measure(lambda x: np.sum(dy * linear.forward(x)), x)
print(f"Linear's dx against its measured slopes: error {error(dx, measured):.0e}")
for layer in (linear, Forgetful(K, O, dtype="float64", seed=chosen.seed)):
    errors = check_layer(layer, (K, N))
    print(
        f"tinyae.gradcheck on {type(layer).__name__}: "
        + ", ".join(f"{name} {e:.0e}" for name, e in errors.items())
    )
assert check_layer(linear, (K, N))["bias"] < 1e-8 < 1e-3 < errors["bias"]

# %% [markdown]
# Two things to note. A layer's output is an array, the check needs one number: it takes L = sum(dy * y) with a
# *random* dy, so that dL/dy is dy and every entry of y counts with a weight of its own. (Section 9 shows what an
# all-ones dy misses.) And a correct backward is off by rounding only, a wrong one hardly ever by less than 0.001: the
# gap between is wide. `tinyae.gradcheck` is this check with a better formula, wrong by h^4 only; every layer of the
# package passes it.
#
# ## 4. ReLU and sigmoid, and how slopes vanish
#
# Between Linear layers stands a function applied to each entry, y = f(x), so dx = dy * f'(x). Without one, several
# Linear layers in a row would be one matrix (section 11 tries it).
#
#     ReLU       y = max(x, 0)            slope 1 where x > 0, else 0
#     sigmoid    y = 1 / (1 + exp(-x))    slope y (1 - y): at most 1/4, and near 0 at both ends
#
# Backward multiplies slopes, layer after layer. A factor that is never above 1/4 makes the gradient shrink
# geometrically on its way down, and the first layers learn next to nothing: the *vanishing gradient*. ReLU's factor
# is 1 or 0: half of the entries are lost, but the others pass unharmed. (The W^T of the Linear layers between them
# multiply as well. In the right picture all weights are scaled so that with ReLU the size is kept; the sigmoid has
# the same weights.)

# %%
print("\n== 4. ReLU and sigmoid ==")
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6))
x = np.linspace(-6, 6, 601)
for layer, color, style in ((ReLU(), ORANGE, "--"), (Sigmoid(), BLUE, "-")):
    left.plot(
        x, layer.forward(x), color=color, linestyle=style, label=type(layer).__name__
    )
    middle.plot(x, layer.backward(np.ones_like(x)), color=color, linestyle=style)
left.set(
    title="The function",
    xlabel="x",
    ylabel="y",
    ylim=(-0.1, 2.1),
    xticks=range(-6, 7, 2),
    yticks=[0, 0.5, 1, 1.5, 2],
)
middle.set(
    title="Its slope",
    xlabel="x",
    ylabel="slope of y",
    ylim=(-0.05, 1.1),
    xticks=range(-6, 7, 2),
)
middle.axhline(0.25, color=GREY, linewidth=1, linestyle=":")
middle.text(-6, 0.27, "1/4", color="black")
left.legend()

depth, width = 20, 256
shrunk = {}
for kind, color, style, marker in (
    (ReLU, ORANGE, "--", "s"),
    (Sigmoid, BLUE, "-", "o"),
):
    layers = []
    for k in range(depth):
        linear = Linear(width, width, dtype="float64", seed=chosen.seed + k)
        linear.weight.data *= (
            6**0.5
        )  # variance 2/width: what a ReLU halves, this doubles (He et al. 2015)
        layers += [linear, kind()]
    stack = Sequential(*layers)
    stack.forward(rng.standard_normal((width, 100)))  # (width, N)
    dy = rng.standard_normal((width, 100))
    sizes = [1.0]
    for linear, activation in zip(
        layers[-2::-2], layers[-1::-2]
    ):  # backward, from the last layer to the first
        dy = linear.backward(activation.backward(dy))
        sizes.append(np.sqrt(np.mean(dy**2)))
    right.semilogy(
        range(depth + 1),
        sizes,
        color=color,
        linestyle=style,
        marker=marker,
        markersize=4,
    )
    shrunk[kind.__name__] = sizes[-1]
right.set(
    title="Gradient on its way down",
    xlabel="layers passed, from the loss",
    ylabel="size of dx (rms)",
)
right.xaxis.get_major_locator().set_params(integer=True)
save(figure, chosen, "04_slopes")
print(
    f"A gradient of size 1 has size {shrunk['ReLU']:.2f} after {depth} times Linear and ReLU, "
    f"{shrunk['Sigmoid']:.0e} after {depth} times Linear and Sigmoid."
)
assert shrunk["Sigmoid"] < 1e-6 < 0.1 < shrunk["ReLU"]

# %% [markdown]
# ## 5. Convolution: six loops, then one matrix product
#
# A convolution looks at an image through a small window, the kernel, with the same weights at every position. Output
# channel o at position (a, b) is a weighted sum over the patch that the window shows there, in all input channels:
#
#     y[o, a, b, n] = bias[o] + sum_{c,i,j} weight[o, c, i, j] x[c, a*s + i - p, b*s + j - p, n]
#
# (pixels off the image count as 0; how many positions OH x OW there are, `conv_size` says, and section 8 explains).
# That is six loops, over o, a, b, c, i, j, while the images n go along as the last axis. Now write each patch as a
# column. The six loops become what they were all along, a matrix times a matrix: `W`, of O rows and `C*kh*kw` columns,
# times the patches. Gathering the patches is called *im2col*, image to columns.

# %%
print("\n== 5. Convolution ==")


def conv_loops(x, weight, bias, s, p):
    """The definition, word for word. x (C, H, W, N), weight (O, C, kh, kw), bias (O,) -> y (O, OH, OW, N)."""
    (C, H, W, N), (O, _, kh, kw) = x.shape, weight.shape
    x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))  # (C, H+2p, W+2p, N)
    y = (
        np.zeros((O, conv_size(H, kh, s, p), conv_size(W, kw, s, p), N))
        + bias[:, None, None, None]
    )
    for o, a, b, c, i, j in np.ndindex(*y.shape[:3], C, kh, kw):  # six nested loops
        y[o, a, b] += (
            weight[o, c, i, j] * x[c, a * s + i, b * s + j]
        )  # for all N images at once
    return y


def patches(x, kh, kw, s, p):
    """The patch at every position as a column: x (C, H, W, N) -> (C*kh*kw, OH, OW, N)."""
    C, H, W, N = x.shape
    x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    cols = np.zeros((C * kh * kw, conv_size(H, kh, s, p), conv_size(W, kw, s, p), N))
    for a, b in np.ndindex(cols.shape[1:3]):
        cols[:, a, b] = x[:, a * s : a * s + kh, b * s : b * s + kw].reshape(
            C * kh * kw, N
        )
    return cols


C, O, N, kh, kw, s, p = 2, 3, 5, 3, 2, 2, 1
conv = Conv2d(C, O, (kh, kw), stride=s, padding=p, dtype="float64", seed=chosen.seed)
weight, bias = conv.weight.data, conv.bias.data
x = rng.standard_normal((C, 6, 7, N))  # (C, H, W, N)

y_loops = conv_loops(x, weight, bias, s, p)  # (O, OH, OW, N)
cols = patches(x, kh, kw, s, p)  # (C*kh*kw, OH, OW, N)
W = weight.reshape(O, -1)  # (O, C*kh*kw)
y_matrix = (W @ cols.reshape(C * kh * kw, -1)).reshape(y_loops.shape) + bias[
    :, None, None, None
]
print(f"x {x.shape} -> patches {cols.shape} -> y {y_loops.shape}")
print(
    f"Against the six loops: one matrix product differs by {error(y_matrix, y_loops):.0e}, "
    f"tinyae.Conv2d by {error(conv.forward(x), y_loops):.0e}."
)
assert error(y_matrix, y_loops) < 1e-14 and error(conv.forward(x), y_loops) < 1e-14
assert np.array_equal(
    cols, im2col(x, (kh, kw), (s, s), (p, p))
)  # tinyae's loops over the kernel, not over positions

# %% [markdown]
# Here is im2col on an image of 4 x 4 pixels, numbered, with a kernel of 3 x 3. It has four positions, so four
# columns. Pixel 6 lies under the kernel in all four: it was copied four times.

# %%


def draw(axis, a, title, shade=None, labels=None, top=None):
    """A matrix (rows, columns) as squares with its numbers written in; the shade is that of `shade`, or white."""
    shade = np.zeros(a.shape) if shade is None else shade
    axis.imshow(shade, cmap="Blues", vmin=0, vmax=top or max(2.2 * np.max(shade), 1))
    for (r, q), value in np.ndenumerate(a):
        axis.text(
            q,
            r,
            f"{value:g}",
            ha="center",
            va="center",
            color="black" if value else "#999999",
        )
    axis.set_xticks(np.arange(a.shape[1] + 1) - 0.5, [], minor=True)
    axis.set_yticks(np.arange(a.shape[0] + 1) - 0.5, [], minor=True)
    axis.grid(which="minor", color=GREY, linewidth=0.8)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set(visible=True, color=GREY)
    axis.set(title=title)
    axis.set_xticks(range(a.shape[1]) if labels else [], labels[1] if labels else [])
    axis.set_yticks(range(a.shape[0]) if labels else [], labels[0] if labels else [])


numbered = np.arange(1.0, 17).reshape(1, 4, 4, 1)  # (C, H, W, N) = (1, 4, 4, 1)
cols = im2col(numbered, (3, 3), (1, 1), (0, 0)).reshape(9, 4)  # (kh*kw, OH*OW)
figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 4.6), width_ratios=[1.5, 1])
image = numbered[0, :, :, 0]
draw(left, image, "image x, and the kernel's positions", image == 6)
draw(
    right,
    cols,
    "im2col(x)",
    cols == 6,
    (
        [f"i={i} j={j}" for i, j in np.ndindex(3, 3)],
        [f"a={a}\nb={b}" for a, b in np.ndindex(2, 2)],
    ),
)
for column, (edge, style) in enumerate(
    zip((BLUE, ORANGE, GREEN, RED), ("-", "--", ":", "-."))
):
    (a, b), inset = divmod(column, 2), 0.05 + 0.05 * column
    left.add_patch(
        plt.Rectangle(
            (b - 0.5 + inset, a - 0.5 + inset),
            3 - 2 * inset,
            3 - 2 * inset,
            fill=False,
            edgecolor=edge,
            linestyle=style,
            linewidth=2,
        )
    )
    right.add_patch(
        plt.Rectangle(
            (column - 0.42, -0.42),
            0.84,
            8.84,
            fill=False,
            edgecolor=edge,
            linestyle=style,
            linewidth=2,
        )
    )
right.set(xlabel="position of the kernel", ylabel="offset in the kernel")
save(figure, chosen, "05_im2col")

# %% [markdown]
# ## 6. Convolution's backward, read off the matrix form
#
# With the patches `cols` as columns, convolution is Linear: y = W cols + bias. Section 2 has the derivatives:
#
#     dW = dy cols^T          dbias = sum of dy over positions and images          dcols = W^T dy
#
# One step is left, from dcols to dx. An entry of `cols` is a copy of one pixel, so its gradient goes to that pixel (or it
# is padding, and nobody asks for it). A pixel that lies in several overlapping patches was copied several times. It was
# *used* several times, and by section 1 it gets the **sum** of what comes back from its copies. That adding is *col2im*:
#
#     dx = col2im(W^T dy)
#
# How many gradients does each pixel collect? Send back a 1 from every entry of cols, and count.

# %%
print("\n== 6. Convolution's backward ==")
figure, axes = plt.subplots(1, 4, figsize=(11, 3.5))
for axis, (k, stride, padding) in zip(
    axes, [(3, 1, 0), (3, 2, 0), (3, 2, 1), (3, 3, 0)]
):
    geometry = (k, k), (stride, stride), (padding, padding)
    ones = np.ones_like(im2col(np.zeros((1, 7, 7, 1)), *geometry))  # (kh*kw, OH, OW, 1)
    count = col2im(ones, (1, 7, 7, 1), *geometry)[0, :, :, 0]  # (7, 7)
    draw(axis, count, f"stride {stride}, padding {padding}", count, top=16)
figure.suptitle(
    "Kernel 3 x 3 on 7 x 7 pixels: how many patches hold each pixel", fontsize=12
)
save(figure, chosen, "06_overlaps")

dy = rng.standard_normal(y_loops.shape)  # (O, OH, OW, N)
cols = patches(x, kh, kw, s, p)  # (C*kh*kw, OH, OW, N)
dW = dy.reshape(O, -1) @ cols.reshape(C * kh * kw, -1).T  # (O, C*kh*kw)
dcols = (W.T @ dy.reshape(O, -1)).reshape(cols.shape)  # (C*kh*kw, OH, OW, N)


def scatter(dcols, add):
    """Patches back into an image: added up, or each overwriting what an earlier one left."""
    dx = np.zeros((C, 6 + 2 * p, 7 + 2 * p, N))
    for a, b in np.ndindex(dcols.shape[1:3]):
        window = dx[
            :, a * s : a * s + kh, b * s : b * s + kw
        ]  # a view: writing into it writes into dx
        patch = dcols[:, a, b].reshape(window.shape)
        window[...] = window + patch if add else patch
    return dx[:, p:-p, p:-p]  # what fell on the padding is no gradient of any pixel


true_dx = measure(
    lambda x: np.sum(dy * conv_loops(x, weight, bias, s, p)), x
)  # on the definition, no formula used
true_dW = measure(lambda weight: np.sum(dy * conv_loops(x, weight, bias, s, p)), weight)
conv.forward(x)
conv_dx = conv.backward(dy)
table(
    ["error of", "against the measured slopes"],
    [
        ["dW = dy cols^T", f"{error(dW.reshape(weight.shape), true_dW):.0e}"],
        [
            "dx, overlapping patches added",
            f"{error(scatter(dcols, add=True), true_dx):.0e}",
        ],
        [
            "dx, the last patch overwriting",
            f"{error(scatter(dcols, add=False), true_dx):.0e}",
        ],
        ["tinyae.Conv2d's dW", f"{error(conv.weight.grad, true_dW):.0e}"],
        ["tinyae.Conv2d's dx", f"{error(conv_dx, true_dx):.0e}"],
    ],
    "Convolution's backward",
)
assert error(conv_dx, true_dx) < 1e-8 and error(conv.weight.grad, true_dW) < 1e-8
assert (
    error(scatter(dcols, add=True), true_dx)
    < 1e-8
    < 0.01
    < error(scatter(dcols, add=False), true_dx)
)

# %% [markdown]
# ## 7. Transposed convolution: the same pair, exchanged
#
# Without its bias, a convolution is linear in x: there is a matrix A with y = A x, if images are written as long
# vectors. Its backward is then dx = A^T dy. A **transposed convolution** is that backward taken as a layer of its
# own: it takes a small image and makes a large one, y = A^T x = col2im(W^T x). Every input pixel lays a patch, the
# kernel times its value, on the output; where patches overlap they add.
#
# With the matrix form of sections 5 and 6, the two layers are one pair with forward and backward exchanged:
#
#     Conv2d             y = W im2col(x)         dx = col2im(W^T dy)       dW = dy im2col(x)^T
#     ConvTranspose2d    y = col2im(W^T x)       dx = W im2col(dy)         dW = x im2col(dy)^T
#
# A^T is called A's *adjoint*, and one equation defines it, for any large image u and any small image v:
#
#     <A u, v> = <u, A^T v>          where <a, b> = sum of all a * b
#
# (The last dW comes from it. With dy held fixed, dW is the gradient of <y, dy> = <col2im(W^T x), dy> = <W^T x, im2col(dy)>,
# and W_ik stands there as the factor of x_i im2col(dy)_k, summed over positions and images: dW = x im2col(dy)^T.)
#
# So if ConvTranspose2d with the same weights is the adjoint of Conv2d, both sides agree to rounding, for random u and
# v.

# %%
print("\n== 7. Transposed convolution ==")
down = Conv2d(
    2, 4, 3, stride=2, dtype="float64", seed=chosen.seed
)  # weight (4, 2, 3, 3)
up = ConvTranspose2d(
    4, 2, 3, stride=2, dtype="float64"
)  # weight (4, 2, 3, 3) as well: here rows belong to its input
up.weight.data = down.weight.data
down.bias.data, up.bias.data = np.zeros(4), np.zeros(2)  # a bias is not linear

u, v = rng.standard_normal((2, 7, 7, 5)), rng.standard_normal((4, 3, 3, 5))
one, other = (
    np.sum(down.forward(u) * v),
    np.sum(u * up.forward(v)),
)  # u 7x7 -> 3x3;  v 3x3 -> 7x7
print(f"<Conv2d(u), v>          = {one:.15f}\n<u, ConvTranspose2d(v)> = {other:.15f}")
print(f"difference {abs(one - other):.0e}")
assert abs(one - other) < 1e-12 * np.sum(np.abs(u * up.forward(v)))
down.forward(u)
assert np.array_equal(
    down.backward(v), up.forward(v)
)  # one layer's backward is the other's forward
up.forward(v)
assert error(up.backward(u), down.forward(u)) < 1e-14  # and the reverse


def spread(weight):
    up.weight.data = weight
    return np.sum(u * up.forward(v))


measured = measure(spread, down.weight.data)
up.weight.data = down.weight.data
print(
    f"ConvTranspose2d's dW = x im2col(dy)^T against measured slopes: error {error(up.weight.grad, measured):.0e}"
)
assert error(up.weight.grad, measured) < 1e-8
print(
    "Conv2d's backward is ConvTranspose2d's forward, and ConvTranspose2d's backward is Conv2d's forward."
)

# %% [markdown]
# Small enough to follow by hand: 3 x 3 pixels, kernel 3, stride 2. The patches begin 2 apart and are 3 wide, so the
# output is (3 - 1) * 2 + 3 = 7 pixels wide, and neighbours share a line. The darker the square, the more patches were
# added there.

# %%
up = ConvTranspose2d(1, 1, 3, stride=2, dtype="float64")
up.weight.data, up.bias.data = (
    np.array([[1, 2, 0], [0, 3, 1], [2, 0, 1.0]]).reshape(1, 1, 3, 3),
    np.zeros(1),
)
x = np.array([[1, 2, 3], [4, 1, 2], [2, 3, 1.0]]).reshape(1, 3, 3, 1)  # (C, H, W, N)
figure, axes = plt.subplots(1, 4, figsize=(11, 3.6), width_ratios=[3, 3, 7, 7])
draw(axes[0], x[0, :, :, 0], "x, 3 x 3")
draw(axes[1], up.weight.data[0, 0], "weight, 3 x 3")
only = np.zeros_like(x)
only[0, 0, 1, 0] = x[0, 0, 1, 0]
draw(axes[2], up.forward(only)[0, :, :, 0], "what the framed pixel lays down")
count = col2im(np.ones((9, 3, 3, 1)), (1, 7, 7, 1), (3, 3), (2, 2), (0, 0))[0, :, :, 0]
draw(
    axes[3],
    up.forward(x)[0, :, :, 0],
    "y, 7 x 7: all nine patches added",
    count,
    top=12,
)
axes[0].add_patch(
    plt.Rectangle((0.5, -0.5), 1, 1, fill=False, edgecolor=RED, linewidth=2.5)
)
for axis in axes[2:]:
    axis.add_patch(
        plt.Rectangle((1.5, -0.5), 3, 3, fill=False, edgecolor=RED, linewidth=2.5)
    )
save(figure, chosen, "07_transposed")
assert up.forward(x).shape == (1, 7, 7, 1)

# %% [markdown]
# *Transposed* is not *inverse*: it brings back the shape of the large image, not its contents.
#
# ## 8. Stride, padding, output_padding: arithmetic of shapes
#
# All axes work alike, so one axis is enough. The kernel takes positions every s pixels, from the first that fits to
# the last:
#
#     Conv2d              OH = (H + 2p - kh) // s + 1
#
# A stride of 2 halves the size, roughly. Padding puts p zeros at each end, so that the kernel can reach over the edge:
# without it the image shrinks faster, and the pixels there are in fewer patches still. The transposed layer takes the
# same pictures read upwards: it is given the positions, and makes the pixels.
#
# The division forgets a remainder. With kernel 3, stride 2, padding 1, an image of 7 and one of 8 both shrink to 4.
# Going back from 4, which of the two is meant? **output_padding decides.** It is the forgotten remainder, (large size +
# 2p - kh) mod s, given by hand, and so it is below s:
#
#     ConvTranspose2d     OH = (H - 1) s - 2p + kh + output_padding
#
# It only makes the output larger at the far end: the first p of the new pixels get what the padding had cut off the
# patches, any more are just the bias. In the last picture pixel 7 gets the end of the last patch, which in the one
# before is cut off.

# %%
print("\n== 8. Shapes ==")


def draw_axis(axis, size, k, s, p, title, transposed=False):
    """One axis: pixels as squares above, padding hatched, and below a bar for each position of the kernel."""
    positions, color = conv_size(size, k, s, p), ORANGE if transposed else BLUE
    for pixel in range(-1, 9):
        if -p <= pixel < size + p:
            real = 0 <= pixel < size
            axis.add_patch(
                plt.Rectangle(
                    (pixel - 0.5, 0),
                    1,
                    0.9,
                    facecolor="white",
                    linewidth=1.2,
                    edgecolor="black" if real else GREY,
                    hatch=None if real else "////",
                )
            )
            axis.text(pixel, 0.43, pixel if real else "", ha="center", va="center")
    for a in range(positions):
        axis.add_patch(
            plt.Rectangle(
                (a * s - p - 0.42, -0.75 * (a + 1)),
                k - 0.16,
                0.55,
                facecolor=color,
                alpha=0.85,
            )
        )
        axis.text(
            a * s - p + (k - 1) / 2,
            -0.75 * (a + 1) + 0.26,
            a,
            ha="center",
            va="center",
            color="black" if transposed else "white",
        )
    axis.set(title=title, xlim=(-1.7, 8.7), ylim=(-3.9, 1))
    axis.axis("off")


figure, axes = plt.subplots(3, 2, figsize=(10, 7))
figure.suptitle(
    "Squares: pixels, hatched: padding. Bars: the patches, by their position in the small image",
    fontsize=12,
)
draw_axis(axes[0, 0], 7, 3, 1, 0, "kernel 3, stride 1: 7 → 5")
draw_axis(axes[0, 1], 7, 3, 2, 0, "kernel 3, stride 2: 7 → 3")
draw_axis(axes[1, 0], 7, 3, 2, 1, "stride 2, padding 1: 7 → 4")
draw_axis(axes[1, 1], 8, 3, 2, 1, "stride 2, padding 1: 8 → 4 as well")
draw_axis(
    axes[2, 0],
    7,
    3,
    2,
    1,
    "transposed, output_padding 0: 4 → 7, both ends cut off",
    transposed=True,
)
draw_axis(
    axes[2, 1],
    8,
    3,
    2,
    1,
    "transposed, output_padding 1: 4 → 8, the last end kept",
    transposed=True,
)
save(figure, chosen, "08_shapes")

rows = []
for size, k, s, p in [
    (7, 3, 1, 0),
    (7, 3, 2, 0),
    (7, 3, 2, 1),
    (8, 3, 2, 1),
    (28, 3, 2, 1),
    (14, 3, 2, 1),
]:
    small = conv_size(size, k, s, p)
    back = {extra: transposed_size(small, k, s, p, extra) for extra in range(s)}
    remainder = (size + 2 * p - k) % s
    rows.append(
        [
            f"kernel {k}, stride {s}, padding {p}",
            str(size),
            str(small),
            ", ".join(map(str, back.values())),
            str(remainder),
        ]
    )
    assert back[remainder] == size
    assert Conv2d(1, 1, k, s, p).forward(
        np.zeros((1, size, size, 1), "float32")
    ).shape == (1, small, small, 1)
    layer = ConvTranspose2d(1, 1, k, s, p, remainder)
    assert layer.forward(np.zeros((1, small, small, 1), "float32")).shape == (
        1,
        size,
        size,
        1,
    )
table(
    ["", "size", "becomes", "back, output_padding 0, 1", "remainder"],
    rows,
    "Sizes there and back: output_padding = remainder returns the size one came from",
)

# %% [markdown]
# ## 9. Batch norm's backward, one line at a time
#
# Batch norm takes the `M = H*W*N` values that one channel has in a batch, shifts and scales them to mean 0 and variance
# 1, then multiplies by a learnt gamma and adds a learnt beta. Every x reaches every y of its channel, through the
# mean and through the variance, so backward looks frightening. It is not, if each stage is one line and has one line
# of backward.
#
# The rules needed: a value used several times gets a sum (section 1), and mu and s are used by all M values; a sum or
# mean over M values sends the same gradient to each of them, **and a mean, being 1/M times the sum, sends 1/M of it.
# That is where every 1/M in batch norm comes from**: moving one x by h moves the mean by h/M only. (Often written
# 1/N; here N counts images, and M the values that are averaged.)
#
# In the code `v` holds the value of each stage and `d` its gradient; s is 1/sqrt(var + eps), no longer a stride, and eps
# only keeps its root, a divisor, from 0. gamma and beta start away from 1 and 0: with gamma = 1 nobody would notice if
# backward forgot it.

# %%
print("\n== 9. Batch norm ==")


def staged_forward(x, gamma, beta, eps, held=()):
    """x (C, M), gamma and beta (C, 1) -> {stage: value}. A stage in the dict `held` takes its value from there."""
    v = {}

    def stage(name, value):
        v[name] = held[name] if name in held else value

    stage("x", x)  # (C, M)
    stage("mu", np.mean(v["x"], axis=1, keepdims=True))  # (C, 1)
    stage("xc", v["x"] - v["mu"])  # (C, M)
    stage("sq", v["xc"] ** 2)  # (C, M)
    stage("var", np.mean(v["sq"], axis=1, keepdims=True))  # (C, 1)
    stage("s", 1 / np.sqrt(v["var"] + eps))  # (C, 1)
    stage("xhat", v["s"] * v["xc"])  # (C, M)
    stage("gamma", gamma)  # (C, 1)
    stage("beta", beta)  # (C, 1)
    stage("y", v["gamma"] * v["xhat"] + v["beta"])  # (C, M)
    return v


def staged_backward(dy, v):
    """dy (C, M) and forward's stages -> {stage: its gradient}: forward's lines in reverse."""
    M = dy.shape[1]
    d = {"y": dy}
    d["beta"] = np.sum(dy, axis=1, keepdims=True)  # (C, 1): used by all M
    d["gamma"] = np.sum(dy * v["xhat"], axis=1, keepdims=True)  # (C, 1)
    d["xhat"] = v["gamma"] * dy  # (C, M)
    d["s"] = np.sum(
        d["xhat"] * v["xc"], axis=1, keepdims=True
    )  # (C, 1): one s, used by all M
    d["var"] = d["s"] * (-(v["s"] ** 3) / 2)  # the slope of (var + eps)^(-1/2)
    d["sq"] = (
        d["var"] / M * np.ones_like(dy)
    )  # (C, M): var is a mean, here is the first 1/M
    d["xc"] = (
        d["xhat"] * v["s"] + d["sq"] * 2 * v["xc"]
    )  # used twice, in xhat and in sq: a sum
    d["mu"] = -np.sum(d["xc"], axis=1, keepdims=True)  # (C, 1): subtracted from all M
    d["x"] = (
        d["xc"] + d["mu"] / M
    )  # used twice, in xc and in mu; mu is a mean, the second 1/M
    return d


C, M, eps = 3, 2 * 5 * 4, 1e-5
images = rng.normal(2.0, 3.0, (C, 2, 5, 4))  # (C, H, W, N)
x = images.reshape(C, M)  # (C, M)
gamma, beta = rng.uniform(0.5, 2.0, (C, 1)), rng.uniform(0.5, 2.0, (C, 1))
dy = rng.standard_normal((C, M))

v = staged_forward(x, gamma, beta, eps)
d = staged_backward(dy, v)
rows = []
for name in reversed(
    list(v)
):  # hold one stage at a value, move that value, and run the stages after it
    L = lambda value: np.sum(
        dy * staged_forward(x, gamma, beta, eps, held={name: value})["y"]
    )
    measured = measure(L, v[name])
    rows.append(["d" + name, str(d[name].shape), f"{error(d[name], measured):.0e}"])
    assert error(d[name], measured) < 1e-6, name
table(
    ["stage", "shape", "error"],
    rows,
    "Batch norm's backward, stage by stage, against measured slopes",
)

# %% [markdown]
# Now put the lines into one another. With g = dxhat = gamma dy, and sums and means over the channel:
#
#     dvar = -s^3/2 sum(g xc) = -s^2/2 sum(g xhat)                       since xc = xhat / s
#     dxc  = s g + dvar 2 xc / M = s g - s xhat mean(g xhat)             sum / M is a mean
#     dmu  = -sum(dxc) = -s sum(g)                                       since sum(xhat) = 0
#     dx   = dxc + dmu / M = s (g - mean(g) - xhat mean(g xhat))
#
# and as gamma is one number for the channel,
#
#     dx = gamma s (dy - mean(dy) - xhat mean(dy xhat))
#
# which is what `tinyae/batchnorm.py` computes. Each term has a meaning: gamma s dy is the plain slope; mean(dy) is
# taken out since shifting the whole channel changes nothing in y; and the part along xhat since stretching the
# channel changes nothing (but for eps). All this while training: in evaluation mu and var are remembered constants, and
# only gamma s dy is left.

# %%
layer = BatchNorm2d(C, eps=eps, dtype="float64")
layer.weight.data, layer.bias.data = gamma[:, 0], beta[:, 0]
y = layer.forward(images)  # (C, H, W, N)
dx = layer.backward(dy.reshape(images.shape)).reshape(C, M)
print(
    f"The closed form, tinyae.BatchNorm2d, against the stages: y differs by {error(y.reshape(C, M), v['y']):.0e}, "
    f"dx by {error(dx, d['x']):.0e},\ndgamma by {error(layer.weight.grad, d['gamma'][:, 0]):.0e}, "
    f"dbeta by {error(layer.bias.grad, d['beta'][:, 0]):.0e}. dx has mean {np.max(np.abs(dx.mean(1))):.0e}."
)
assert error(dx, d["x"]) < 1e-12

for name, upstream in (("all ones", np.ones((C, M))), ("random", dy)):
    correct = staged_backward(upstream, v)["x"]
    wrong = (
        gamma * v["s"] * (upstream - upstream.mean(1, keepdims=True))
    )  # the variance's term left out
    print(
        f"Without the variance's term, dy {name}: dx is off by {np.max(np.abs(wrong - correct)):.0e}"
    )
    assert (np.max(np.abs(wrong - correct)) < 1e-12) == (name == "all ones")

# %% [markdown]
# The last two lines are why gradient checks use a random dy. With dy all ones L is the sum of y, which batch norm
# keeps constant whatever x is: dx is 0 and a backward without the variance's term gets that right, too.
#
# ## 10. Adam against plain gradient descent
#
# A gradient says which way is down, not how far to go. Plain gradient descent, theta -= lr * g, uses one lr for all
# parameters. Take a valley that is 50 times steeper across than along:
#
#     L = (theta_0^2 + 50 theta_1^2) / 2          g = (theta_0, 50 theta_1)
#
# Across, a step multiplies theta_1 by 1 - 50 lr, which runs away if lr > 2/50. With an lr that is safe there, every
# step along the valley covers only the fraction lr of the way, below 4 percent. Adam divides each parameter's step by
# the usual size of *its own* gradient:
#
#     m = beta1 m + (1 - beta1) g             running mean of g
#     v = beta2 v + (1 - beta2) g^2           running mean of g^2
#     theta -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
#
# At first both parameters move by about lr a step (eps = 1e-8 only guards against 0 / 0), so steep and flat directions
# are travelled alike. m remembers where it was going, so Adam overshoots and swings in, and its loss rises and falls on
# the way down. (This valley runs along an axis, the case Adam is made for. Exercise 4 turns it.)

# %%
print("\n== 10. Adam ==")
STEEP = np.array([1.0, 50.0])


def descend(how, lr, steps=80):
    """The way from (-8, 1.5): theta before every step and after the last, (steps + 1, 2)."""
    p = Parameter(np.array([-8.0, 1.5]))
    adam, way = Adam([p], lr=lr), [p.data]
    for _ in range(steps):
        p.grad = STEEP * p.data
        if how == "adam":
            adam.step()
        else:
            p.data = p.data - lr * p.grad
        way.append(p.data)
    return np.array(way)


ways = {
    "gradient descent, lr 0.036": (descend("plain", 0.036), ORANGE, "s"),
    "Adam, lr 0.4": (descend("adam", 0.4), BLUE, "o"),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[1.7, 1])
a, b = np.meshgrid(np.linspace(-9, 4, 300), np.linspace(-2, 2, 200))
left.contour(
    a,
    b,
    (a**2 + 50 * b**2) / 2,
    levels=[0.3, 2, 8, 20, 40, 80, 130],
    colors="#BBBBBB",
    linewidths=1,
)
rows = []
for name, (way, color, marker) in ways.items():  # way: (81, 2)
    loss = np.sum(STEEP * way**2, axis=1) / 2
    left.plot(
        *way.T, color=color, marker=marker, markersize=4, linewidth=1.2, label=name
    )
    right.semilogy(loss, color=color, marker=marker, markersize=3, label=name)
    rows.append([name, *(f"{loss[t]:.2g}" for t in (0, 10, 20, 40, 80))])
left.plot(0, 0, marker="*", color="black", markersize=12)
left.set(
    title="80 steps down a valley, from the left",
    xlabel="theta_0 (flat)",
    ylabel="theta_1 (steep)",
)
right.set(title="Loss", xlabel="step", ylabel="L")
left.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="white")
save(figure, chosen, "10_valley")
table(["loss after step", "0", "10", "20", "40", "80"], rows, "Down the valley")

# %% [markdown]
# **Why the divisions by 1 - beta^t?** m and v start at 0, so early on they average gradients and zeros. After t steps
# the weights of the real gradients sum to 1 - beta^t only; dividing by it makes true means of them. Leave it out, and
# at the first step m is 10 times too small, but sqrt(v), with beta2 = 0.999, is sqrt(1000) = 32 times too small. A
# step is their quotient: 3 times too long at first, over 6 times soon after, and still too long after a thousand. So
# lr would not mean what it says, and the longest steps would come when v has seen the fewest gradients. With a small
# lr that may pass for a fast start. With a larger one the first steps throw the weights so far that the sigmoid
# saturates and no gradient is left: exercise 3.

# %%
g, lr, beta1, beta2 = 0.5, 0.001, 0.9, 0.999  # the same gradient at every step
p = Parameter(np.zeros(1))
adam, m, v, lengths = Adam([p], lr=lr, betas=(beta1, beta2)), 0.0, 0.0, []
for _ in range(3000):
    before, p.grad = p.data, np.array([g])
    adam.step()
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    lengths.append(
        [(before - p.data)[0] / lr, m / (np.sqrt(v) + 1e-8)]
    )  # in units of lr
lengths = np.array(lengths)
table(
    ["step t", *(str(t) for t in (1, 2, 3, 10, 100, 1000, 3000))],
    [
        [name, *lengths[[0, 1, 2, 9, 99, 999, 2999], i]]
        for i, name in enumerate(("tinyae.Adam", "uncorrected"))
    ],
    "Length of a step, divided by lr, when the gradient is always the same",
)
assert np.allclose(lengths[:, 0], 1, atol=1e-6) and np.isclose(
    lengths[0, 1], 0.1 / 0.001**0.5
)
print(
    f"The longest is step {np.argmax(lengths[:, 1]) + 1}: {np.max(lengths[:, 1]):.1f} times lr."
)

# %% [markdown]
# ## 11. A network of three layers
#
# All the parts are there. Two spirals of points in the plane, wound around one another; the network is given a
# point's two coordinates and answers with a number between 0 and 1, the target being 0 for one spiral and 1 for the
# other. MSELoss is section 1's e^2, averaged over all outputs. Training is the loop of section 1, with more letters:
# forward, loss, backward, step.
#
# Beside it trains the same network without its ReLUs. Three matrices in a row are one matrix, so it can only cut the
# plane in two by a straight line, and the loss shows it. (Always answering 1/2 costs 0.25.)

# %%
print("\n== 11. A network of three layers ==")


def spirals(count, rng):
    """Points (2, count) of two noisy spirals, and which one each belongs to (1, count): float32, batch last."""
    which = rng.integers(0, 2, count)
    turn = (
        np.sqrt(rng.uniform(0.03, 1, count)) * 1.5 * 2 * np.pi
    )  # up to one and a half turns
    around = turn + np.pi * which
    points = np.stack([turn * np.cos(around), turn * np.sin(around)]) / 10 + rng.normal(
        0, 0.025, (2, count)
    )
    return points.astype("float32"), which[None].astype("float32")


def network(activation, seed):
    seeds = np.random.default_rng(seed)
    return Sequential(
        Linear(2, 32, seed=seeds),
        *activation(),
        Linear(32, 32, seed=seeds),
        *activation(),
        Linear(32, 1, seed=seeds),
        Sigmoid(),
    )  # (2, N) -> (32, N) -> (32, N) -> (1, N)


def fit(model, x, target, lr=0.005, epochs=150, batch=50):
    """Train with Adam; returns the loss before training and after every epoch."""
    loss, adam, order = (
        MSELoss(),
        Adam(model.parameters(), lr=lr),
        np.random.default_rng(chosen.seed),
    )
    history = [float(loss.forward(model.forward(x), target))]
    for _ in range(epochs):
        for some in np.split(order.permutation(x.shape[1]), x.shape[1] // batch):
            y = model.forward(x[:, some])  # (1, batch)
            loss.forward(y, target[:, some])
            model.backward(
                loss.backward(), input_grad=False
            )  # nobody asks for the points' gradient
            adam.step()
        history.append(float(loss.forward(model.forward(x), target)))
    return history


points, which = spirals(800, rng)
new_points, new_which = spirals(800, rng)
models = {
    "with ReLU": network(lambda: [ReLU()], chosen.seed),
    "without": network(lambda: [], chosen.seed),
}
checked = max(check_layer(models["with ReLU"], (2, 3)).values())
count = sum(p.data.size for p in models["with ReLU"].parameters())
print(
    f"{count:,} weights and biases. The whole network's gradient check: worst error {checked:.0e}."
)
assert checked < 1e-5

rows, histories = [], {}
for name, model in models.items():
    history = histories[name] = fit(model, points, which)
    right = [
        np.mean((model.forward(x) > 0.5) == target)
        for x, target in ((points, which), (new_points, new_which))
    ]
    rows.append(
        [
            name,
            f"{history[0]:.4f}",
            f"{history[-1]:.4f}",
            *(f"{share:.1%}" for share in right),
        ]
    )
table(
    ["three layers", "loss before", "loss after", "right", "right, new points"],
    rows,
    "Two spirals, trained on 800 points",
)
assert histories["with ReLU"][-1] < 0.03 < 0.15 < histories["without"][-1]

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), width_ratios=[1.1, 1, 1])
for (name, history), color, style in zip(
    histories.items(), (BLUE, ORANGE), ("-", "--")
):
    axes[0].semilogy(history, color=color, linestyle=style, label=name)
axes[0].set(title="Loss while training", xlabel="epoch", ylabel="mean squared error")
axes[0].legend()
grid = np.linspace(-1.1, 1.1, 200, dtype="float32")
plane = np.stack(np.meshgrid(grid, grid)).reshape(2, -1)  # (2, 200*200)
for axis, (name, model) in zip(axes[1:], models.items()):
    shade = axis.imshow(
        model.forward(plane).reshape(200, 200),
        origin="lower",
        extent=(-1.1, 1.1, -1.1, 1.1),
        cmap="cividis",
        vmin=0,
        vmax=1,
    )
    for side, color, marker in ((0, "white", "o"), (1, "black", "^")):
        axis.scatter(
            *new_points[:, new_which[0] == side][:, :150],
            s=12,
            color=color,
            marker=marker,
            linewidths=0,
        )
    axis.set(
        title=f"Its answer, {name}",
        xlabel="x_0",
        ylabel="x_1" if axis is axes[1] else "",
    )
figure.colorbar(shade, ax=axes[2], label="output: 0 for ○, 1 for ▲")
save(figure, chosen, "11_spirals")

# %% [markdown]
# That is all there is. The autoencoder of lesson 1 has convolutions in place of some of the matrices, and 87,125
# weights and biases in place of 1,185. Its training loop is the one above.
#
# ## On your own
#
# 1. By hand: give section 1 a bias, u = w x + c, with w = 0.5, x = 2, c = 1, t = 3. What are dc and dw?
#    (Expected: dc = du = -2 and dw = du * x = -4.)
# 2. Break a layer. In `tinyae/batchnorm.py` delete the line `dx -= ...`, the mean's term, and run
#    `python -m tinyae.gradcheck`. Which rows fail, and why is `BatchNorm2d(3).eval()` not one of them? (Expected: the
#    three with a batch norm in training mode. In evaluation the mean is a constant, and no gradient goes through it.)
# 3. Write Adam yourself from the three formulas of section 10, with an m and a v for each p of `model.parameters()`,
#    and use it in `fit`. Then leave out the two corrections. (Expected: with them and lr=0.005 the losses of
#    `tinyae.Adam`, to four decimals. Without them the loss is *lower* after five epochs, about 0.07 instead of 0.17:
#    longer steps happen to help. With lr=0.1 the corrected one still goes to 0.000; the other stays at 0.50 for ever,
#    since it answers 0 everywhere or 1 everywhere, where the sigmoid is flat.)
# 4. Turn the valley of section 10 by 45 degrees: L = theta^T A theta / 2 with A = R diag(1, 50) R^T, R the rotation,
#    and start from R (-8, 1.5). (Expected after 80 steps: gradient descent has 0.091 as before, since it knows no axes.
#    Adam goes from 0.0055 to 0.10: it scales each axis for itself, and the valley no longer lies along one.)
# 5. Implement MaxPool2d(2), for x (C, H, W, N) with even H and W: y is the largest of every 2 x 2 block. Whom does dy
#    belong to? Write the layer into `my_maxpool.py` with a list `CHECKS = [(MaxPool2d(2), (3, 4, 6, 5))]`, and pass
#    `python -m tinyae.gradcheck my_maxpool.py`. (Expected: ok, with an error below 1e-9. Giving each of the four pixels
#    dy / 4 fails: that is the backward of the *mean* of a block.)
