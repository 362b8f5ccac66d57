# %% [markdown]
# # Lesson 0a. The chain rule, and a network that learns
#
# **What you'll do.** You start with one weight and one number. You derive the backward
# pass of a matrix product, of ReLU and of the sigmoid, and check each by measuring.
# Then you train a network of three layers.
#
# **What you'll learn.** Backpropagation is two rules. First, forward saves what the
# slopes are made of, and backward multiplies slopes. Second, if a value is used several
# times, the gradients from its uses are added.
#
# **What you need.** NumPy and the chain rule, d/dx f(g(x)) = f′(g(x)) g′(x). You need
# no data and no framework. The lesson runs in a few seconds.
#
# **Where to begin.** Here. Read no file of the package first: lessons 0a to 0c say at
# their end which of them you can read next. The run draws the pictures. Copies of the
# most important ones are in `lessons/figures`: 00a_graph.png belongs to this lesson.
#
# **Notation.** L is the loss, one number that says how wrong a result is. For any array
# v, dv means ∂L/∂v: how fast L changes with each entry of v. So dv has the shape of v.
# It is called the gradient for v. `tinyae` is the package whose layers you derive here.

# %%
import sys

# No module named common? In a notebook, type first: %cd FOLDER/lessons
sys.path.extend(["", "lessons", "tinyae/lessons"])

from common import heading, np, options, plt, table
from figures import write_figure

from tinyae import Linear, MSELoss, ReLU, Sequential, Sigmoid
from tinyae.gradcheck import check_layer

args = options("00a_backprop", "Lesson 0a: backpropagation.", trains=False)
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## 1. Forward saves, backward multiplies
#
# Take one weight w, one number x and a target t. Three small steps lead to the loss:
#
#     u = w x
#     e = u − t
#     L = e²
#
# The chain rule multiplies the slopes of these steps, from the loss back to the weight:
#
#     dL = 1
#     de = dL · 2e
#     du = de · 1
#     dt = de · (−1)
#     dw = du · x
#     dx = du · w
#
# The slopes are made of e, x and w. All three existed during forward. So forward
# *saves* them, and backward *multiplies* the gradient it receives by the slope of its
# own step. No step needs to know the rest of the computation.

# %%
heading("1. Forward saves, backward multiplies")
x, w, t = 2.0, 0.5, 3.0

u = w * x  # forward
e = u - t
L = e**2

dL = 1.0  # backward: the same steps in reverse order
de = dL * 2 * e
du = de * 1
dt = de * -1
dw = du * x
dx = du * w

moved = ((w + 0.001) * x - t) ** 2
print(f"L = {L}, dw = {dw}, dx = {dx}")
print(f"If w moves by 0.001, L moves by {moved - L:.6f}; dw predicts {dw * 0.001:.6f}.")
assert abs(moved - L - dw * 0.001) < 1e-5

# %% [markdown]
# The picture is the graph of this computation. Each circle holds a value, and below it
# the gradient for that value. Each arrow has the slope of its step. Forward goes along
# the arrows. Backward goes against them: the gradient at the arrow's start is the one
# at its end times the slope.

# %%
nodes = {  # name: column, row, value, gradient
    "w": (0, 1, w, dw),
    "x": (0, 0, x, dx),
    "u": (1, 1, u, du),
    "t": (1, 0, t, dt),
    "e": (2, 1, e, de),
    "L": (3, 1, L, dL),
}
slopes = {"wu": "x = 2", "xu": "w = 0.5", "ue": "1", "te": "-1", "eL": "2e = -4"}
figure, axis = plt.subplots(figsize=(9, 3.4))
middle = {"ha": "center", "va": "center"}
for name, (column, row, value, gradient) in nodes.items():
    axis.plot(column, row, "o", markersize=65, color="white", markeredgecolor="grey")
    axis.text(column, row, f"{name} = {value:g}\n", middle, color="#0072B2")
    axis.text(column, row, f"\nd{name} = {gradient:g}", middle, color="#C04000")
for (start, end), slope in slopes.items():
    ends = np.array([nodes[start][:2], nodes[end][:2]])
    arrow = {"arrowstyle": "->", "shrinkA": 34, "shrinkB": 34}
    axis.annotate("", ends[1], ends[0], arrowprops=arrow)
    axis.text(*np.mean(ends, axis=0), slope, middle, backgroundcolor="white")
axis.margins(0.1, 0.4)
axis.axis("off")
alt = "w and x lead to u, u and t to e, e to L; each with its value and its gradient."
write_figure(figure, args, "01_graph", alt=alt)

# %% [markdown]
# To learn is to move the weight against its slope, again and again. This is *gradient
# descent*. The factor 0.1 is the *learning rate*. It says how far a step goes.

# %%
for _ in range(10):
    dw = 2 * (w * x - t) * x
    w = w - 0.1 * dw
print(f"After ten steps w = {w:.6f}, so w x = {w * x:.6f}. The target is {t}.")
assert abs(w * x - t) < 1e-5

# %% [markdown]
# The second rule explains most of what follows: **if a value is used several times, its
# gradient is the sum of the gradients from all its uses.** When x moves, every use
# moves, and their effects on L add up. Take z = x · x. Each of the two factors sends
# back dz · x. Together that is 2 x dz, which is the power rule.
#
# ## 2. Linear: from the scalar rule to the matrix rule
#
# Now there are K inputs, M outputs, and a weight between every input and every output:
#
#     yᵢ = Σₖ Wᵢₖ xₖ + bᵢ
#
# Wᵢₖ is multiplied by xₖ and added to yᵢ, so its gradient is dyᵢ xₖ. Each xₖ is used in
# *every* yᵢ, so the gradients from all of them are added. A *batch* is a set of N
# examples that are computed together. They are the columns of x, so the batch is the
# last axis, here and inside tinyae's models. Each weight and each bias is used once
# for every example n, so their gradients are added over n as well:
#
#     dWᵢₖ = Σₙ dyᵢₙ xₖₙ
#     dbᵢ  = Σₙ dyᵢₙ
#     dxₖₙ = Σᵢ Wᵢₖ dyᵢₙ
#
# A sum of products over a shared index is a matrix product (ᵀ is the transpose, which
# exchanges rows and columns):
#
#     dW = dy xᵀ
#     db = dy summed over the batch
#     dx = Wᵀ dy
#
# Forward goes through W from inputs to outputs. Backward goes from outputs to inputs,
# so it needs the transpose. The layers of tinyae keep an array and its gradient
# together: `linear.weight.data` is W, and after backward `linear.weight.grad` is dW.

# %%
heading("2. Linear")
K, M, N = 3, 2, 4
linear = Linear(K, M, dtype="float64", seed=args.seed)
W = linear.weight.data  # (M, K)
x = rng.standard_normal((K, N))
dy = rng.standard_normal((M, N))  # random, in place of the rest of a network
y = linear.forward(x)
dx = linear.backward(dy)
print(f"x {x.shape} -> y {y.shape}, then dy {dy.shape} -> dx {dx.shape}")

dW_loops = np.zeros((M, K))
dx_loops = np.zeros((K, N))
for i, k, n in np.ndindex(M, K, N):  # the scalar rule: three nested loops
    dW_loops[i, k] += dy[i, n] * x[k, n]
    dx_loops[k, n] += W[i, k] * dy[i, n]
assert np.allclose(linear.weight.grad, dW_loops, 1e-7, 1e-12)
assert np.allclose(dx, dx_loops, 1e-7, 1e-12)
print("The three loops and the matrix products of tinyae.Linear agree to rounding.")

# %% [markdown]
# ## 3. The numerical check
#
# You can measure a derivative without any calculus. Move the input by h, see how far
# the output moves, and divide.
#
#     one-sided    (f(x+h) − f(x)) / h         error about h f″(x) / 2
#     central      (f(x+h) − f(x−h)) / 2h      error about h² f‴(x) / 6
#
# This error shrinks with h. But a computer stores only about 16 digits of f (7 digits
# in float32). The two values agree in most of their digits. The subtraction removes
# those, and what remains has a rounding error of about eps. The division by h makes
# that eps / h, which *grows* as h shrinks. Here eps is the relative spacing of numbers,
# 2e-16 in float64 and 1e-7 in float32. The best step is where the two errors are equal,
# up to a constant factor:
#
#     one-sided    h = √eps     error √eps
#     central      h = ∛eps     error (∛eps)²
#
# Below, the slope of f(x) = 1 / (1 + exp(−x)) is measured at 300 places with many h.
# The error is the root mean square over the places (rms): square, average, take the
# root.

# %%
heading("3. The numerical check")


def f(x):
    return 1 / (1 + np.exp(-x))


def one_sided(x, h):
    return (f(x + h) - f(x)) / h


def central(x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


places = rng.uniform(-3, 3, 300)
steps = 10.0 ** np.arange(-12, 0.1, 0.25)
figure, axis = plt.subplots(figsize=(8, 4))
rows = []
for slope, dtype, mark in [
    (one_sided, "float64", "s-"),
    (central, "float64", "o-"),
    (central, "float32", "^-"),
]:
    x = places.astype(dtype)
    y = f(x)
    errors = []
    for h in steps.tolist():
        error = slope(x, h) - y * (1 - y)  # section 4 has this formula
        errors.append(np.sqrt(np.mean(error**2)))
    name = f"{slope.__name__}, {dtype}"
    axis.loglog(steps, errors, mark, label=name)
    best = np.argmin(errors)
    rows.append([name, f"{steps[best]:.0e}", f"{errors[best]:.0e}"])
axis.set(xlabel="step h", ylabel="error of the slope (rms)")
axis.legend()
alt = "Each error falls as the step shrinks, reaches a lowest point, and rises again."
write_figure(figure, args, "03_step_size", alt=alt)
table(["slope", "best h", "its error"], rows, "The lowest point of each curve")

# %% [markdown]
# The curves have their lowest points where the theory says, within a factor of three.
# (The float32 curve is flat on the left: there x + h rounds to x, and the measured
# slope is 0.) Even at its best step float32 is 600,000 times worse than float64, and a
# small mistake could hide in that. So we check gradients in float64 with central
# differences.
#
# A layer returns an array, but the check needs one number. It takes L = Σ dy · y with a
# *random* dy. Then dy is the gradient for y, and every entry of y counts with a weight
# of its own. (Lesson 0c shows what an all-ones dy misses.) `check_layer` does this for
# the input and every parameter of a layer.
#
# Here it checks a Linear that is right and one that has a mistake.

# %%


class Forgetful(Linear):
    """A Linear whose backward forgets to add the bias's gradients over the batch."""

    def backward(self, dy, input_grad=True):
        dx = super().backward(dy, input_grad)
        self.bias.grad = dy[:, 0]
        return dx


for kind in (Linear, Forgetful):
    errors = check_layer(kind(K, M, seed=args.seed), (K, N))
    print(f"{kind.__name__}: error of dx {errors['x']:.0e}, of db {errors['bias']:.0e}")
assert errors["x"] < 1e-8
assert errors["bias"] > 1e-3

# %% [markdown]
# A correct backward differs from the measurement by rounding only, about 1e-12. Every
# layer of tinyae passes this check.
#
# ## 4. ReLU and sigmoid, and how gradients vanish
#
# Between two Linear layers there is a function y = f(x) that acts on each entry by
# itself, so dx = dy · f′(x).
#
#     ReLU       y = max(x, 0)            slope 1 where x > 0, else 0
#     sigmoid    y = 1 / (1 + exp(−x))    slope y (1 − y)
#
# The sigmoid's slope is at most 1/4, and near 0 at both ends. Backward multiplies such
# slopes, layer after layer, so the gradient shrinks geometrically on its way to the
# first layers, and they learn almost nothing. This is the *vanishing gradient*. ReLU's
# slope is 1 or 0. It drops about half of the entries and leaves the others as they are.
#
# At x = 0 ReLU has a kink, and no slope. `check_layer` must not measure across it, so
# it also computes the fourth difference y(2h) − 4 y(h) + 6 y(0) − 4 y(−h) + y(−2h),
# where y(h) is the output with the input moved by h. It is about h⁴ where y is smooth,
# but about h near a kink, because the slopes on its two sides differ however small h
# is. The checker computes a slope as
#
#     (8 (y(h) − y(−h)) − (y(2h) − y(−2h))) / 12h
#
# (exercise 2). So the fourth difference, divided by 12 h too, is about the error that a
# kink makes in the slope. An entry is left out if this is not tiny compared to the
# slope.
#
# The picture sends a random gradient back through 20 Linear layers with one of the two
# functions after each. The weights have the variance 2 / width: ReLU halves the mean
# square, forward and backward, and this makes up for it (He et al. 2015).

# %%
heading("4. ReLU and sigmoid")
figure, axis = plt.subplots(figsize=(8, 3.6))
depth, width = 20, 256
x = rng.standard_normal((width, 100))  # (width, N)
dy = rng.standard_normal((width, 100))
last = {}
for kind in (ReLU, Sigmoid):
    layers = []
    for _ in range(depth):
        linear = Linear(width, width, dtype="float64", seed=rng)
        linear.weight.data *= 6**0.5  # tinyae starts at variance 1 / (3 width)
        layers += [linear, kind()]
    Sequential(*layers).forward(x)
    gradient = dy
    sizes = [1.0]
    for layer in reversed(layers):
        gradient = layer.backward(gradient)
        sizes.append(np.sqrt(np.mean(gradient**2)))
    axis.semilogy(sizes[::2], ".-", label=kind.__name__)
    last[kind] = sizes[-1]
    print(f"{kind.__name__}: size 1 becomes {last[kind]:.1g} after {depth} layers.")
axis.set(ylabel="size of the gradient (rms)", xlabel="layers passed on the way back")
axis.set(xticks=range(0, 21, 5))
axis.legend()
alt = "Through 20 layers the gradient keeps its size with ReLU, not with the sigmoid."
write_figure(figure, args, "04_vanishing", alt=alt)
assert last[Sigmoid] < 1e-6
assert 0.1 < last[ReLU] < 10

# %% [markdown]
# ## 5. A network of three layers
#
# You have all the parts. The data are two spirals of points in the plane, wound around
# each other. The network receives the two coordinates of a point and returns a number
# between 0 and 1. The target is 0 for one spiral and 1 for the other. `MSELoss` is
# section 1's e², averaged over all outputs. `Sequential` runs its layers one after the
# other, and their backwards in reverse order. A second network has no ReLUs.

# %%
heading("5. A network of three layers")


def spirals(count):
    """Return points (2, count) on two noisy spirals, and which spiral (1, count)."""
    which = rng.integers(0, 2, (1, count))
    radius = rng.uniform(0.03, 1, (1, count)) ** 0.5
    angle = 3 * np.pi * radius + np.pi * which  # up to one and a half turns
    points = radius * np.concat([np.cos(angle), np.sin(angle)])
    return points + rng.normal(0, 0.025, (2, count)), which.astype("float64")


def make_linear(inputs, outputs):
    return Linear(inputs, outputs, dtype="float64", seed=rng)


points, which = spirals(800)
with_relu = Sequential(
    make_linear(2, 32),  # (2, N) -> (32, N)
    ReLU(),
    make_linear(32, 32),  # -> (32, N)
    ReLU(),
    make_linear(32, 1),  # -> (1, N)
    Sigmoid(),
)
without = Sequential(
    make_linear(2, 32),
    make_linear(32, 32),
    make_linear(32, 1),
    Sigmoid(),
)

errors = check_layer(with_relu, (2, 3))
error = max(errors.values())
count = sum(p.data.size for p in with_relu.parameters())
print(f"{count:,} weights and biases. Gradient check: error {error:.0e}.")
assert error < 1e-5

# %% [markdown]
# Training is the loop of section 1 with more weights: forward, loss, backward, step. An
# *epoch* is one pass through all points, in a new random order and in batches of 50.
#
# If you know PyTorch, you may miss `zero_grad`. There, backward adds to the gradients
# that are already stored, so you must set them to zero before each step. In tinyae
# backward overwrites them. That is enough because a network holds each layer once.

# %%


def fit(model, learning_rate=1.0, epochs=150):
    """Train by gradient descent; return the loss on all points after each epoch."""
    loss = MSELoss()
    history = []
    for _ in range(epochs):
        for batch in rng.permutation(800).reshape(-1, 50):
            y = model.forward(points[:, batch])  # (1, 50)
            loss.forward(y, which[:, batch])
            model.backward(loss.backward(), input_grad=False)  # no gradient for points
            for p in model.parameters():
                p.data = p.data - learning_rate * p.grad
        y = model.forward(points)
        history.append(loss.forward(y, which))
    return history


new_points, new_which = spirals(800)
grid = np.linspace(-1.1, 1.1, 200)
plane = np.stack(np.meshgrid(grid, grid))  # (2, 200, 200)
figure, (curve, *maps) = plt.subplots(1, 3, figsize=(9.2, 3.6))
losses = []
for name, model, axis in [
    ("with ReLU", with_relu, maps[0]),
    ("without ReLU", without, maps[1]),
]:
    history = fit(model)
    losses.append(history[-1])
    share = np.mean((model.forward(new_points) > 0.5) == new_which)
    print(f"{name}: loss {history[-1]:.4f}, {share:.1%} of 800 new points are right.")
    curve.semilogy(history, label=name)
    answer = model.forward(plane.reshape(2, -1)).reshape(200, 200)
    axis.pcolormesh(grid, grid, answer, cmap="cividis")
    axis.scatter(*new_points, 3, new_which, cmap="gray_r")
    axis.axis("off")
    axis.set_title(f"answer {name}")
curve.set(title="mean squared error", xlabel="epoch")
curve.legend()
alt = "With ReLU the network separates the spirals; without it, it draws a line."
write_figure(figure, args, "05_spirals", alt=alt)
assert losses[0] < 0.01
assert losses[1] > 0.15

# %% [markdown]
# With ReLU the loss falls to 0.0007, and all 800 new points are right. (With seeds 2
# and 3 it is 0.0004 and 0.0011, and at most one point is wrong.) Without ReLU the three
# matrices are one matrix, so the network can only cut the plane with a straight line.
# Its loss stays at 0.21, little better than the 0.25 of always answering 1/2.
#
# So a network learns with nothing but the chain rule. You can now read `layer.py`,
# `layers.py` and `losses.py` in the folder `tinyae`. In lesson 0b you derive
# convolution, and in lesson 0c batch norm and better steps than gradient descent's.
#
# ## On your own
#
# 1. By hand: give section 1 a bias, u = w x + c, with w = 0.5, x = 2, c = 1 and t = 3.
#    What are dc and dw?
# 2. Section 3: add the slope (4 D(h) − D(2h)) / 3, where D is the central one. In this
#    combination the two errors in h² cancel. `check_layer` uses it. Which h is best
#    now, and what is its error? Write the formula with the four values of f: what is
#    its divisor?
# 3. Section 4: delete the line with `6**0.5`. Which assertion fails, and why?
# 4. Write a layer Tanh with y = tanh(x) and dx = dy (1 − y²): a subclass of
#    `tinyae.layer.Layer` with `forward(x)` and `backward(dy, input_grad=True)`. The
#    manual (lessons/README.md) has one under "A layer of your own". Check yours with
#    `check_layer`, and put it in the place of the ReLUs in section 5.
# 5. Section 5: in both networks give both hidden layers 8 units in place of 32. What is
#    lost?
#
# ### Answers
#
# Where numbers are given, the seed is 1.
#
# 1. dc = du = −2 and dw = du · x = −4.
# 2. The best h is 1e-3, and the error there is 4e-14, 84 times smaller. The slope is (8
#    (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h.
# 3. The last one, because with ReLU the gradient has size 1e-8 after 20 layers. Each
#    layer now multiplies the mean square by 1/3 · 1/2.
# 4. The error is below 1e-11. The loss falls to 0.003, and all new points are right.
# 5. The loss stays at 0.12, and 79% of the new points are right. Seeds 2 to 4 reach
#    0.01, 0.02 and 0.09: a small network depends on its first weights.
