# %% [markdown]
# # Lesson 0c. Batch normalisation, and a better step
#
# **What you'll do.** You derive the backward pass of batch norm one line at a time, and
# collapse it to one formula. Then you replace gradient descent by Adam, and measure
# what each part of Adam does.
#
# **What you'll learn.** Why normalising helps, what batch norm removes from a gradient,
# why evaluation uses another variance than training, and why Adam divides by the size
# of the gradient, corrects its averages, and lets weights decay.
#
# **What you need.** Lesson 0a: the chain rule and the sum over all uses. The lesson
# runs in about ten seconds.
#
# **Notation.** C channels, N images in the batch, and M = height · width · N values per
# channel. Sums and means run over the M values of one channel. L is the loss, and dx is
# the gradient for x. ε is a small number that keeps a divisor from being 0.

# %%
import os
import sys

# The folder of this file, for `import common`; python -P leaves it out.
sys.path.append(os.path.dirname(os.path.realpath(sys.argv[0])))

from common import heading, np, options, plt, table
from figures import save

from tinyae import Adam, BatchNorm2d
from tinyae.layer import Parameter

args = options("00c_batchnorm_adam", "Lesson 0c: batch norm and Adam.", trains=False)
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## 1. Why normalise?
#
# The output of a layer is the input of the next one. Its scale depends on the weights
# of all layers before it, and they change with every step. If each of ten layers halves
# the scale, only a thousandth is left at the end. If each doubles it, there is a
# thousand times too much. Gradients shrink and grow in the same way, so no learning
# rate suits all layers. Batch norm stops this after each layer: it brings every channel
# to mean 0 and variance 1 over the batch. Then the scale of the weights before it does
# not matter, and a network trains with careless first weights and with larger learning
# rates.
#
# Below, a batch goes through ten layers of random weights, each followed by ReLU. If
# the weights are half or twice as large as they should be, the plain result has size
# 0.001 or 1,000. The normalised one has size 0.7 each time. (It is not 1 because ReLU
# comes last, and sets half of the values to 0.)

# %%
heading("1. Why normalise?")


def mean(a):
    return np.mean(a, axis=1, keepdims=True)  # (C, M) -> (C, 1)


rows = []
for scale in (0.5, 1.0, 2.0):
    plain = rng.standard_normal((100, 300))  # (C, M)
    normalised = plain
    for _ in range(10):
        weight = scale * 0.02**0.5 * rng.standard_normal((100, 100))
        plain = np.maximum(weight @ plain, 0)
        z = weight @ normalised
        z = z - mean(z)
        z = z / np.sqrt(mean(z**2))
        normalised = np.maximum(z, 0)
    sizes = [np.mean(out**2) ** 0.5 for out in (plain, normalised)]
    rows.append([f"{scale:g}", *sizes])
    assert 0.5 < sizes[1] < 1
header = ["scale of the weights", "plain", "normalised"]
table(header, rows, "Size (rms) after ten layers")

# %% [markdown]
# ## 2. Batch norm, one line at a time
#
# Always mean 0 and variance 1 would be a restriction: half of the values would be
# negative, whatever the next layer needs. So batch norm ends with a learned scale γ and
# a learned shift β for each channel. With them it has six stages:
#
#     mu   = mean(x)
#     xc   = x − mu
#     var  = mean(xc²)
#     s    = 1 / √(var + ε)
#     xhat = s · xc
#     y    = γ · xhat + β
#
# Every x affects every y of its channel, through mu and through var. This looks hard,
# but each stage is one line and has one line of backward. You need two rules. First, a
# value that is used several times gets the sum of the gradients of its uses; mu, s, γ
# and β are each used by all M values. Second, a mean is 1/M times a sum, so it sends
# back 1/M of its gradient to each value.
# **That is where every 1/M in batch norm comes from.**
#
# Below, γ is not 1, where a layer starts: there, a backward that forgets γ would pass.

# %%
heading("2. Batch norm, one line at a time")
EPSILON = 1e-5


def total(a):
    return np.sum(a, axis=1, keepdims=True)  # (C, M) -> (C, 1)


def staged_forward(x, gamma, beta, held):
    """Return {stage: value}. A stage in the dict `held` takes its value from there."""
    values = {}

    def stage(name, value):
        values[name] = held.get(name, value)
        return values[name]

    x = stage("x", x)  # (C, M)
    mu = stage("mu", mean(x))  # (C, 1)
    xc = stage("xc", x - mu)  # (C, M)
    var = stage("var", mean(xc**2))  # (C, 1)
    s = stage("s", 1 / np.sqrt(var + EPSILON))  # (C, 1)
    xhat = stage("xhat", s * xc)  # (C, M)
    gamma = stage("gamma", gamma)  # (C, 1)
    beta = stage("beta", beta)  # (C, 1)
    stage("y", gamma * xhat + beta)  # (C, M)
    return values


images = rng.normal(2.0, 3.0, (3, 2, 5, 4))  # (C, height, width, N)
x = images.reshape(3, -1)  # (C, M)
gamma = rng.uniform(0.5, 2.0, (3, 1))
beta = rng.uniform(0.5, 2.0, (3, 1))
values = staged_forward(x, gamma, beta, held={})
print("The mean of y in each channel is β:", beta[:, 0])
assert np.allclose(mean(values["y"]), beta)

# %% [markdown]
# Backward has the same lines in reverse order. To check a stage, hold it at a value,
# move that value, and run forward: only the stages after it change. L is Σ dy · y with
# a random dy, as in lesson 0a. We move all entries of the stage at once, by a small
# step times a random direction. Then L should change by the step times Σ gradient ·
# direction.

# %%


def staged_backward(dy, xc, s, xhat, gamma):
    """Return {stage: its gradient}: the lines of staged_forward in reverse order."""
    M = dy.shape[1]
    d = {"beta": total(dy)}  # used by all M values
    d["gamma"] = total(dy * xhat)  # used by all M values
    d["xhat"] = gamma * dy
    d["s"] = total(d["xhat"] * xc)  # used by all M values
    d["var"] = d["s"] * -(s**3) / 2  # the slope of (var + ε)^(−1/2)
    d["xc"] = d["xhat"] * s + d["var"] * 2 * xc / M  # used in xhat, and in a mean
    d["mu"] = -total(d["xc"])  # subtracted from all M values
    d["x"] = d["xc"] + d["mu"] / M  # used in xc, and in a mean
    return d


dy = rng.standard_normal(x.shape)
xc = values["xc"]
s = values["s"]
xhat = values["xhat"]
d = staged_backward(dy, xc, s, xhat, gamma)
rows, errors = [], []
for name, gradient in d.items():
    direction = rng.standard_normal(gradient.shape)
    losses = []
    for step in (1e-5, -1e-5):
        held = {name: values[name] + step * direction}
        y = staged_forward(x, gamma, beta, held)["y"]
        losses.append(np.sum(dy * y))
    measured = (losses[0] - losses[1]) / 2e-5
    predicted = np.sum(gradient * direction)
    rows.append([name, f"{predicted:.6f}", f"{measured:.6f}"])
    errors.append(abs(predicted - measured) / max(1, abs(predicted)))
table(["stage", "gradient", "measured"], rows, "Each stage in a random direction")
assert max(errors) < 1e-6

# %% [markdown]
# ## 3. The closed form
#
# Now substitute the lines into each other:
#
#     dvar = −s³/2 · sum(γ dy xc)
#          = −s²/2 · γ sum(dy xhat)                    as s xc = xhat
#     dxc  = γ s dy + 2 dvar xc / M
#          = γ s dy − γ s² xc mean(dy xhat)            as sum / M = mean
#          = γ s (dy − xhat mean(dy xhat))             as s xc = xhat
#     dmu  = −sum(dxc)
#          = −γ s sum(dy)                              as sum(xhat) = 0
#     dx   = dxc + dmu / M
#          = γ s (dy − mean(dy) − xhat mean(dy xhat))
#
# `tinyae/batchnorm.py` computes the last line. Each term has a meaning. γ s dy is the
# gradient if mu and s were constants. mean(dy) is removed because adding a number to a
# whole channel does not change y. The part along xhat is removed because (except for ε)
# scaling a channel does not change y either.

# %%
heading("3. The closed form")
layer = BatchNorm2d(3, eps=EPSILON, dtype="float64")
layer.weight.data = gamma[:, 0]
layer.bias.data = beta[:, 0]
y = layer.forward(images).reshape(x.shape)
dx = layer.backward(dy.reshape(images.shape)).reshape(x.shape)
np.testing.assert_allclose(y, values["y"], atol=1e-12)
np.testing.assert_allclose(dx, d["x"], atol=1e-12)
np.testing.assert_allclose(layer.weight.grad, d["gamma"][:, 0], atol=1e-12)
np.testing.assert_allclose(layer.bias.grad, d["beta"][:, 0], atol=1e-12)
print("tinyae.BatchNorm2d and the stages agree: y, dx, dgamma and dbeta.")

# %% [markdown]
# A gradient check uses a random dy, and here is the reason. If dy is all ones, L is the
# sum of y. Batch norm keeps this sum constant, so dx is 0. A backward that forgets the
# term of the variance returns 0 as well, and the mistake is not seen. With a random dy,
# it is wrong by 0.07.

# %%
ones = np.ones_like(dy)
for name, upstream in (("all ones", ones), ("random", dy)):
    right = staged_backward(upstream, xc, s, xhat, gamma)["x"]
    wrong = gamma * s * (upstream - mean(upstream))
    error = np.max(np.abs(wrong - right))
    print(f"Without the variance's term, dy {name}: dx is wrong by {error:.0e}")
    assert (error < 1e-12) == (name == "all ones")

# %% [markdown]
# ## 4. What evaluation uses
#
# After training, the result for an image must not depend on the other images in its
# batch. So training keeps running averages of mu and of the variance, and evaluation
# uses these constants. (Then only γ s dy remains of dx.)
#
#     running = running + 0.1 (batch − running)
#
# Training divides by the variance of the batch itself, mean(xc²), so that xhat has
# variance 1. But a batch varies less around its own mean than around the true mean: its
# variance is (M − 1)/M times the true one, on average. Evaluation needs the variance of
# all images, so the running average stores var · M/(M − 1), the *unbiased* estimate.
# With thousands of values per channel this changes little. With five values it does:

# %%
heading("4. What evaluation uses")
batches = rng.normal(2.0, 3.0, (50_000, 5))  # the true variance is 3² = 9
biased = np.var(batches, axis=1)
print(f"Mean variance within 50,000 batches of M = 5: {np.mean(biased):.2f}")
print(f"The same times M / (M - 1): {np.mean(biased) * 5 / 4:.2f}. The true one is 9.")

layer = BatchNorm2d(1, momentum=1, dtype="float64")
layer.forward(batches[0].reshape(1, 1, 1, 5))
assert np.isclose(layer.running_var.data[0], biased[0] * 5 / 4)
assert abs(np.mean(biased) * 5 / 4 - 9) < 0.3
print("tinyae.BatchNorm2d stores the second kind.")

# %% [markdown]
# ## 5. Adam against gradient descent
#
# A gradient says which way is down, not how far to go. Gradient descent, θ − lr · g,
# uses one learning rate lr for all parameters θ. Take a valley that is 50 times steeper
# across than along:
#
#     L = (θ₀² + 50 θ₁²) / 2
#     g = (θ₀, 50 θ₁)
#
# Across the valley, a step multiplies θ₁ by 1 − 50 lr. With lr > 2/50 that diverges.
# With an lr that is safe across, each step covers less than 4% of the way along. Adam
# divides the step of each parameter by the usual size of *its own* gradient, so both
# directions move at a similar speed. At step t, with β₁ = 0.9 and β₂ = 0.999:
#
#     m = β₁ m + (1 − β₁) g             running mean of g: the direction
#     v = β₂ v + (1 − β₂) g²            running mean of g²: the size
#     θ = θ − lr (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

# %%
heading("5. Adam against gradient descent")
STEEP = np.array([1.0, 50.0])


def descend(with_adam, lr):
    """Return 80 steps from (-8, 1.5), as an array (81, 2)."""
    theta = Parameter(np.array([-8.0, 1.5]))
    adam = Adam([theta], lr=lr)
    path = [theta.data]
    for _ in range(80):
        theta.grad = STEEP * theta.data
        if with_adam:
            adam.step()
        else:
            theta.data = theta.data - lr * theta.grad
        path.append(theta.data)
    return np.array(path)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, mark, path in [
    ("gradient descent, lr 0.036", "s-", descend(False, 0.036)),
    ("Adam, lr 0.4", "o-", descend(True, 0.4)),
]:
    losses = path**2 @ STEEP / 2
    left.plot(*path.T, mark, markersize=4, label=name)
    right.semilogy(losses, mark, markersize=4)
    print(f"{name}: loss {losses[0]:.0f}, after 80 steps {losses[-1]:.2g}")
theta0 = np.linspace(-9, 4, 200)
theta1 = np.linspace(-2, 2, 200)[:, None]
valley = (theta0**2 + 50 * theta1**2) / 2
levels = [2, 8, 20, 40, 80]
left.contour(theta0, theta1[:, 0], valley, levels, colors="lightgrey", zorder=0)
left.set(title="80 steps down a valley", xlabel="θ₀ (flat)", ylabel="θ₁ (steep)")
left.legend()
right.set(title="loss", xlabel="step")
alt = "Gradient descent zigzags and then creeps; Adam is faster, and swings."
save(figure, args, "05_valley", alt=alt)

# %% [markdown]
# After 80 steps the loss of gradient descent is 0.091, and Adam's is 0.0055. Gradient
# descent jumps from side to side and then creeps. Adam travels in both directions at
# once. It overshoots and swings, because m remembers the direction of earlier steps.
#
# ## 6. Why the averages are corrected
#
# m and v start at 0, so their first values are averages of gradients and zeros. After t
# steps the weights of the real gradients add up to 1 − βᵗ only. Dividing by it makes
# them true averages. With the same gradient g at every step,
#
#     m = (1 − β₁ᵗ) g
#     v = (1 − β₂ᵗ) g²
#
# so a corrected step has length lr. Without the correction, m is 10 times too small at
# the first step, but √v is 32 times too small. So the step is 3.2 times too long. Step
# 12 is 6.6 times too long, and after a thousand steps it is still 26% too long.

# %%
heading("6. Why the averages are corrected")
t = np.arange(1, 3001)
length = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
for step in (1, 10, 100, 1000, 3000):
    print(f"step {step}: {length[step - 1]:.2f} times lr")
print(f"The longest is step {t[np.argmax(length)]}: {np.max(length):.2f} times lr")

theta = Parameter(np.zeros(1))
adam = Adam([theta], lr=0.001)
for _ in range(100):
    theta.grad = np.array([0.5])
    adam.step()
assert np.isclose(theta.data[0], -100 * 0.001)
print("tinyae.Adam moves by lr in each of 100 steps.")

# %% [markdown]
# So the longest steps would come when v has seen few gradients. With a small lr
# that may look like a fast start. With a larger lr the first steps throw the weights so
# far that a sigmoid saturates, and no gradient remains (exercise 3).
#
# ## 7. Why weights decay
#
# Many sets of weights fit the training images equally well. With smaller weights the
# output changes less when the input changes, and such a network is more likely to be
# right on new images. *Weight decay* pulls each weight towards 0, so it stays large
# only if the loss needs it.
#
# `torch.optim.Adam` and `tinyae.Adam` add weight_decay · θ to the gradient g, as if L
# had a term weight_decay/2 · |θ|². Then Adam divides this pull by √v as well, so
# weights with large gradients decay less. *AdamW* subtracts lr · weight_decay · θ from
# θ directly, so all weights decay at the same rate (Loshchilov and Hutter 2019). (We
# use the first because the report that this project rebuilds used it.) Here 1,000
# weights start at 1. Their gradients are random with mean 0, so only the decay moves
# them on average.

# %%
heading("7. Why weights decay")
size = np.repeat([0.1, 10.0], 500)  # of the gradients
coupled = Parameter(np.ones(1000))
decoupled = Parameter(np.ones(1000))
adam = Adam([coupled], lr=0.001, weight_decay=0.1)
plain_adam = Adam([decoupled], lr=0.001)
for _ in range(1000):
    coupled.grad = size * rng.standard_normal(1000)
    decoupled.grad = coupled.grad
    adam.step()
    plain_adam.step()
    decoupled.data = decoupled.data * (1 - 0.001 * 0.1)
rows = []
for name, theta in (("Adam", coupled.data), ("AdamW", decoupled.data)):
    small = np.mean(theta[:500])
    large = np.mean(theta[500:])
    rows.append([name, small, large])
header = ["", "gradients of size 0.1", "of size 10"]
table(header, rows, "Mean weight after 1,000 steps with weight decay 0.1")
assert rows[0][1] < 0.7
assert rows[0][2] > 0.95
assert abs(small - large) < 0.01

# %% [markdown]
# After 1,000 steps Adam has pulled the weights with small gradients from 1 to 0.46, and
# those with large gradients to 0.99 only. AdamW has pulled both to 0.90, which is
# 0.9999¹⁰⁰⁰.
#
# You have now derived everything that lesson 1 uses: convolution, batch norm, Linear,
# ReLU, sigmoid and Adam.
#
# ## On your own
#
# 1. In `tinyae/batchnorm.py` delete the line `dx -= ...`, which removes the mean, and
#    run `python -m tinyae.gradcheck`. Which rows fail, and why does
#    `BatchNorm2d.eval()` not? (Expected: BatchNorm2d, Sequential and AnelloAutoencoder
#    fail, the three with a batch norm in training mode. In evaluation the mean is a
#    constant.)
# 2. In `staged_backward` forget gamma: write `d["xhat"] = dy`. In which rows do the two
#    numbers differ? Then also set gamma to ones. (Expected: in xhat and all rows after
#    it, but not in beta and gamma. With gamma = 1 nothing fails, and the mistake is
#    hidden.)
# 3. Write Adam yourself from the three formulas of section 5, with an m and a v for
#    each parameter, and use it in `fit` of lesson 0a, with ReLU and
#    `learning_rate=0.005`. Then
#    leave out the two corrections. Then do both with `learning_rate=0.1`. (Expected:
#    with the corrections the losses of `tinyae.Adam`, 0.178 after five epochs. Without
#    them 0.059: here the longer steps happen to help. With 0.1 the corrected one
#    reaches 0.0001 after 20 epochs. The other stays at 0.48, because it answers 0 or 1
#    for all points, where the sigmoid is flat.)
# 4. Turn the valley of section 5 by 45 degrees: with a rotation matrix R, the loss is
#    now that of Rᵀθ, and the path starts at R (−8, 1.5). (Expected: gradient descent
#    has 0.091 after 80 steps, as before. Adam goes from 0.0055 to 0.10, because it
#    scales each axis by itself, and the valley no longer lies along an axis.)
