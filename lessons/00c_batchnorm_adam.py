# %% [markdown]
# # Lesson 0c. Batch normalisation, and better steps
#
# **What you'll do.** You derive the backward pass of batch norm one line at a time, and
# collapse it to one formula. Then you go from gradient descent to momentum and Adam,
# and measure what each part of Adam does.
#
# **What you'll learn.** Why we normalise, what batch norm removes from a gradient, why
# evaluation uses another variance than training, why Adam divides by the size of the
# gradient and corrects its averages, and what weight decay does.
#
# **What you need.** Lesson 0a: the chain rule and the sum over all uses. The lesson
# runs in a few seconds. (`lessons/figures/00c_removed.png` is a copy of a picture.)
#
# **Notation.** C channels, N images in the batch, and M = height · width · N values per
# channel. Sums and means run over the M values of one channel. L is the loss, and dx is
# the gradient for x. ε is a small number that keeps a divisor from being 0.

# %%
import sys

# No module named common? In a notebook, type first: %cd FOLDER/lessons
sys.path.extend(["", "lessons", "tinyae/lessons"])

from functools import partial

from common import heading, np, options, plt, table
from figures import write_figure

from data_tools import load_sample
from tinyae import SGD, Adam, BatchNorm2d
from tinyae.layer import Parameter

args = options("00c_batchnorm_adam", "Lesson 0c: batch norm and Adam.", trains=False)
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## 1. Why normalise?
#
# The output of a layer is the input of the next one. Its scale depends on the weights
# of all layers before it, and they change with every step. If each of ten layers halves
# the scale, only a thousandth is left at the end. If each doubles it, there is a
# thousand times too much. Gradients shrink and grow in the same way. Batch norm stops
# this after each layer: it brings every channel to mean 0 and variance 1 over the
# batch. So the scale of the weights before it does not matter.
#
# Networks then train with larger learning rates and with careless first weights (Ioffe
# and Szegedy 2015). Why this helps so much is still debated. Ioffe and Szegedy's reason
# was that each layer gets steadier inputs. Santurkar et al. (2018) made the inputs
# unsteady again, by adding noise after each batch norm. The network still trained much
# better than without batch norm. They found that with it the loss is smoother: along a
# step the gradient changes less.
#
# Below, a batch goes through ten layers of random weights, each followed by ReLU. If
# the weights are half or twice as large as they should be, the plain result has size
# 0.001 or 1,000. The normalised one has size 0.7 each time. (It is not 1 because ReLU
# comes last, and sets half of the values to 0. Size is the root mean square, rms.)

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
    plain_size = np.mean(plain**2) ** 0.5
    size = np.mean(normalised**2) ** 0.5
    rows.append([f"{scale:g}", plain_size, size])
    assert 0.5 < size < 1
header = ["scale of the weights", "plain", "normalised"]
table(header, rows, "Size after ten layers")

# %% [markdown]
# ## 2. Batch norm, one line at a time
#
# Always mean 0 and variance 1 would be a restriction: some of the values would be
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
# A new layer has γ = 1, and there a backward that forgets γ would pass. So γ is not 1
# below. (With `held` a stage can be set to another value. That checks it, further
# down.)

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
assert np.allclose(mean(values["y"]), beta, 1e-7, 1e-12)

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
rows = []
errors = []
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
    errors.append(abs(predicted - measured))
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
# `tinyae/batchnorm.py` computes the last line. γ may stand before the bracket because
# all values of a channel have the same γ: mean(γ dy) = γ mean(dy). (A *layer norm*
# takes its means over the channels, and each channel has its own γ. There this formula
# is wrong: exercise 3.)

# %%
heading("3. The closed form")
layer = BatchNorm2d(3, eps=EPSILON, momentum=1, dtype="float64")
layer.weight.data = gamma[:, 0]
layer.bias.data = beta[:, 0]
y = layer.forward(images).reshape(x.shape)
dx = layer.backward(dy.reshape(images.shape)).reshape(x.shape)
assert np.allclose(y, values["y"], 1e-7, 1e-12)
assert np.allclose(dx, d["x"], 1e-7, 1e-12)
assert np.allclose(layer.weight.grad, d["gamma"][:, 0], 1e-7, 1e-12)
assert np.allclose(layer.bias.grad, d["beta"][:, 0], 1e-7, 1e-12)
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
assert error > 0.01  # the random dy shows it

# %% [markdown]
# Each term of dx has a meaning. γ s dy is the gradient if mu and s were constants.
# mean(dy) is removed because adding a number to a whole channel does not change y. The
# part along xhat is removed because (except for ε) scaling a channel does not change y
# either. The picture removes them one after the other, for a channel of 8 values. The
# line is the part that the next panel no longer has. The titles have two sums: that of
# the bars, and that of the products, each bar times its xhat. At the end both are 0:
# what is left of dy has no mean, and no slope along xhat.

# %%
eight = np.arange(8.0)[None]  # (C, M) = (1, 8)
xhat = staged_forward(eight, 1, 0, held={})["xhat"]
left = rng.standard_normal((1, 8)) + xhat + 1  # dy, with a mean and a slope to remove
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), sharey=True)
removed = {
    "dy": mean(left) + 0 * xhat,
    "less its mean": xhat * mean(left * xhat),
    "less its part along xhat": 0 * xhat,
}
for axis, (title, part) in zip(axes, removed.items(), strict=True):
    axis.bar(xhat[0], left[0], 0.3)
    axis.plot(xhat[0], part[0], "C1")
    along = np.sum(left * xhat)
    sums = f"sum {np.sum(left):z.2f}, of products {along:z.2f}"  # z: never -0.00
    axis.set(title=f"{title}\n{sums}", xlabel="xhat")
    left = left - part
alt = "Eight bars: first their mean is removed, then their slope; both sums become 0."
write_figure(figure, args, "03_removed", alt=alt)

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
# variance 1. But a batch varies less around its own mean than around the mean of all
# images. The variance of all values is the mean variance within the batches, plus the
# variance of the batches' means. Evaluation needs the variance of all images. For M
# *independent* values the second term is 1/M of the whole. So PyTorch, and tinyae with
# it, stores var · M/(M − 1), the *unbiased* estimate.
#
# But the pixels of an image are not independent: some images are bright, some dark.
# Below, one channel holds all pixels of the 6,000 images of garments that come with the
# project (a part of Fashion-MNIST). For batches of images the correction is far too
# small. It is right when the same pixels are mixed at random over all images.

# %%
heading("4. What evaluation uses")
images = rng.permutation(load_sample().train_images) / 255  # (6000, 28, 28)
pixels = images.ravel()
mixed = rng.permutation(pixels)


def lack(pixels, M):
    """Return how much too small the mean variance within batches of M values is."""
    within = np.var(pixels.reshape(-1, M), axis=1)
    share = 1 - np.mean(within) / np.var(pixels)
    return f"{share:.4%}"


rows = []
for N in (1, 4, 25, 250):
    M = 28 * 28 * N
    rows.append([str(N), lack(pixels, M), lack(mixed, M), f"{1 / M:.4%}"])
header = ["images in a batch", "too small by", "pixels mixed", "correction"]
table(header, rows, "Variance within a batch, compared with that of all pixels")

# Section 3's layer has momentum 1, so it stored this batch's var · M/(M − 1).
assert np.allclose(layer.running_var.data, np.var(x, axis=1, ddof=1), 1e-7, 1e-12)

# %% [markdown]
# Within 4 images the variance is 3% too small, and the correction adds 0.03%. Within
# 250 it is about 0.05% too small. So large batches matter more than the correction.
# Inside a network the values of a channel come from the same images, so they are not
# independent either. (We did not measure how far off their variance is.)
#
# ## 5. From gradient descent to Adam
#
# **SGD.** A gradient says which way is down, not how far to go. Gradient descent,
# θ − lr · g, uses one learning rate lr for all parameters θ. (With the gradient of one
# batch at a time it is called *stochastic* gradient descent, SGD.) Take a valley that
# is 50 times steeper across than along:
#
#     L = (θ₀² + 50 θ₁²) / 2
#     g = (θ₀, 50 θ₁)
#
# Across the valley, a step multiplies θ₁ by 1 − 50 lr. With lr > 2/50 that diverges.
# With an lr that is safe across, each step covers less than 4% of the way along.
#
# **Momentum.** Let the gradients add up, and forget the old ones slowly:
#
#     v = 0.9 v + g
#     θ = θ − lr v
#
# Along the valley all gradients point the same way, and v grows towards ten times g,
# because 1 + 0.9 + 0.9² + … = 10. Across it they change sign, and cancel in part.
#
# **Adam** also has this running sum, as a mean. And it divides the step of each
# parameter by the usual size of *its own* gradient, so both directions move at a
# similar speed. At step t, with β₁ = 0.9 and β₂ = 0.999:
#
#     m = β₁ m + (1 − β₁) g             running mean of g: the direction
#     v = β₂ v + (1 − β₂) g²            running mean of g²: the size
#     θ = θ − lr (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

# %%
heading("5. From gradient descent to Adam")
STEEP = np.array([1.0, 50.0])


def descend(optimizer):
    """Return 80 steps from (-8, 1.5), as an array (81, 2)."""
    theta = Parameter(np.array([-8.0, 1.5]))
    method = optimizer([theta])
    path = [theta.data]
    for _ in range(80):
        theta.grad = STEEP * theta.data
        method.step()
        path.append(theta.data)
    return np.array(path)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, mark, optimizer in [
    ("SGD, lr 0.036", "s-", partial(SGD, lr=0.036)),
    ("momentum, lr 0.006", "^-", partial(SGD, lr=0.006, momentum=0.9)),
    ("Adam, lr 0.4", "o-", partial(Adam, lr=0.4)),
]:
    path = descend(optimizer)
    losses = path**2 @ STEEP / 2
    left.plot(*path.T, mark, markersize=4, label=name)
    right.semilogy(losses)
    print(f"{name}: loss {losses[0]:.0f}, after 80 steps {losses[-1]:.2g}")
theta0 = np.linspace(-9, 4, 200)
theta1 = np.linspace(-2, 2, 200)
valley = (theta0**2 + 50 * theta1[:, None] ** 2) / 2
levels = [2, 8, 20, 40, 80]
left.contour(theta0, theta1, valley, levels, colors="lightgrey", zorder=0)
left.set(title="80 steps down a valley", xlabel="θ₀ (flat)", ylabel="θ₁ (steep)")
left.legend()
right.set(title="loss", xlabel="step")
alt = "SGD zigzags and then creeps; momentum and Adam are faster, and swing."
write_figure(figure, args, "05_valley", alt=alt)

# %% [markdown]
# After 80 steps the loss of SGD is 0.091, with momentum 0.0042, and Adam's is 0.0055.
# SGD jumps from side to side and then creeps. The other two overshoot and swing,
# because they remember the direction of earlier steps. So at step 80 neither Adam nor
# momentum is clearly better. (With other learning rates, either may win.) But a
# learning rate for SGD or momentum must fit the steepness of the valley. If L is 100
# times as large, both diverge, and Adam takes the same path (exercise 5).
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
# the first step, but √v is 32 times too small. So the step is 3.2 lr long. Step 12 is
# 6.6 lr long, and after a thousand steps it is still 1.26 lr.

# %%
heading("6. Why the averages are corrected")
t = np.arange(1, 3001)
length = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
for step in (1, 1000):
    print(f"step {step}: {length[step - 1]:.2f} times lr")
print(f"The longest is step {t[np.argmax(length)]}: {np.max(length):.2f} times lr")

# %% [markdown]
# So the longest steps would come when v has seen few gradients. With a small lr that
# may look like a fast start. With a larger lr the first steps throw the weights so far
# that a sigmoid saturates, and no gradient remains (exercise 4).
#
# ## 7. What weight decay does
#
# Many sets of weights fit the training images equally well. With smaller weights the
# output changes less when the input changes, and the hope is that such a network is
# right more often on new images. *Weight decay* pulls each weight towards 0, so it
# stays large only if the loss needs it.
#
# Where batch norm follows, smaller weights do not help in this way. There the scale
# does not matter (except for ε): L(a w) = L(w) for every a > 0. The derivative of this
# equation with respect to w is a · L′(a w) = L′(w), so at half the weights the gradient
# is twice as large. And a step of the same length turns smaller weights further. So
# there decay acts like a larger learning rate (van Laarhoven 2017). In PyTorch and
# tinyae the biases, γ and β decay too. We use decay because the report that this
# project rebuilds used it. We did not test what it gains.
#
# `torch.optim.Adam` and `tinyae.Adam` add weight_decay · θ to the gradient g, as if L
# had a term weight_decay/2 · |θ|². Then Adam divides this pull by √v as well, so
# weights with large gradients decay less (exercise 6). *AdamW* subtracts
# lr · weight_decay · θ from θ directly, so all weights decay at the same rate
# (Loshchilov and Hutter 2019).
#
# You have now derived everything that lesson 1 uses: convolution, batch norm, Linear,
# ReLU, sigmoid and Adam. You can read `batchnorm.py`, `optim.py` and `models.py` in the
# folder `tinyae`, and `gradcheck.py`, which checks each backward.
#
# ## On your own
#
# 1. In `tinyae/batchnorm.py` delete the line `dx -= ...`, which removes the mean, and
#    run `python -m tinyae.gradcheck`. What fails? Is evaluation mode wrong too?
# 2. In `staged_backward` forget gamma: write `d["xhat"] = dy`. In which rows do the two
#    numbers differ? Then also set gamma to ones.
# 3. Write a LayerNorm for x (features, N): mean and variance are over the features of
#    each example, γ and β are (features,). Use section 3's formula for dx, then γ dy in
#    place of dy and no γ before the bracket. Run `check_layer` with x of (5, 4).
# 4. Write Adam yourself from the three formulas of section 5, with an m and a v for
#    each parameter, and use it in `fit` of lesson 0a, with ReLU, 5 epochs and
#    `learning_rate=0.005`. Then leave out the two corrections. Then do both with
#    `learning_rate=0.1` and 20 epochs.
# 5. In `descend` multiply the gradient by 100. Then instead turn the valley by 45
#    degrees: with a rotation matrix R, the loss is that of Rᵀθ, and the path starts at
#    R (−8, 1.5).
# 6. Let 1,000 weights start at 1, with random gradients of mean 0. Then only the decay
#    moves them on average. So make `p = Parameter(np.ones(1000))`, and take 1,000 steps
#    of `Adam([p], lr=0.001, weight_decay=0.1)` with `p.grad = size * noise`, the noise
#    standard normal, size 0.1 for half of them and 10 for the others. Where does each
#    half end?
# 7. Train lesson 1's autoencoder on section 4's 6,000 images with SGD, then with Adam
#    (leave out `optimizer=...`). Each takes about ten seconds. Compare the test loss
#    with 0.679. That is the loss if the output is always the same image: the mean of
#    the training images, or 0 where this mean is negative. (Here pixels run from -1 to
#    1, and a sigmoid is never negative.)
#
#        from functools import partial
#
#        from data_tools import load_sample
#        from tinyae import SGD
#        from tinyae.experiment import Experiment
#        from tinyae.training import Training
#
#        data = load_sample()
#        sgd = partial(SGD, lr=0.1, momentum=0.9)
#        training = Training(Experiment(optimizer=sgd))
#        training.run(data.train_images, data.test_images)
#        for epoch, losses in enumerate(training.history, 1):
#            print(epoch, losses)
#
# ### Answers
#
# 1. BatchNorm2d and every network that contains one. Evaluation mode is right, because
#    there the mean is a constant.
# 2. In xhat and all rows after it, but not in beta and gamma. With gamma = 1 nothing
#    fails, and the mistake is hidden.
# 3. The first formula fails for x, with 0.04 to 0.08 for seeds 0 to 4 of `check_layer`
#    (if γ is declared before β). The second has an error near 1e-12.
# 4. With the corrections the losses are those of `tinyae.Adam`, 0.178 after five
#    epochs. Without them 0.059: here the longer steps happen to help. With 0.1 the
#    corrected one reaches 0.0001 after 20 epochs. The other stays at 0.48, because it
#    answers 0 or 1 for all points, where the sigmoid is flat.
# 5. Both SGDs diverge, and Adam still has 0.0055. In the turned valley SGD has 0.091
#    and momentum 0.0042, as before. Adam goes from 0.0055 to 0.10, because it scales
#    each axis by itself, and the valley no longer lies along an axis.
# 6. At 0.46 with the small gradients, and at 0.99 with the large ones. AdamW would
#    bring both to 0.9999¹⁰⁰⁰ = 0.90.
# 7. After 20 epochs SGD has 0.682: it draws almost the same image for every garment.
#    Adam reaches 0.646. With lr=1 and no momentum SGD reaches 0.620. (With `seed=2` in
#    Experiment: 0.680, 0.639 and 0.618.) So a learning rate must be looked for, and an
#    optimiser too.
