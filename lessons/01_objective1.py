# %% [markdown]
# # Lesson 1. Three datasets, three autoencoders
#
# **What you'll do.** Rebuild the first half of a student's report: train Anello's
# autoencoder on Fashion-MNIST as it is, with Gaussian noise, and with randomly erased
# boxes. Then compare the three.
#
# **What you'll learn.** How a training is put together; why none of these losses can
# come near zero, however long the network trains; and why the report's winner does not
# win once that is taken into account.
#
# **What you need.** NumPy, and lessons 0a to 0c if backpropagation is new to you. The
# layers are in `tinyae/`.

# %%
import os
import sys

# The folder of this file, for `import common`; python -P leaves it out.
sys.path.append(os.path.dirname(os.path.realpath(sys.argv[0])))

from functools import partial

from common import CORRUPTIONS, load, loss_table, np, options, table, train, tsne
from figures import (
    figure_images,
    figure_losses,
    figure_tsne,
    first_of_each,
    save,
)

import tinyae
from tinyae.experiment import Experiment, to_range

args = options("01_objective1", "Objective 1: Normal, Gaussian noise, RandomErasing.")
data = load(args)

# %% [markdown]
# ## What an autoencoder is
#
# An autoencoder is two networks in a row. The **encoder** squeezes an image into a few
# numbers, its **code** (also called the latent vector). The **decoder** rebuilds the
# image from the code. Both are trained together to make the rebuilt image as close to
# the original as possible. Here an image has 784 pixels and its code has 4 numbers, so
# the code can hold only what matters most: the kind of garment, its outline, its
# brightness.

# %%
model = tinyae.AnelloAutoencoder(latent_dim=args.latent_dim, seed=args.seed)
images = to_range(data.train_images, (-1.0, 1.0))
code = model.encode(images[:1])
print(f"\nAn image {images.shape[1:]} becomes a code {code.shape[1:]}:", code[0])

# %% [markdown]
# ## How a training is put together
#
# A model, a loss, an optimiser, and a loop over **batches** of images. Each turn of the
# loop is one **step**: forward computes the loss, backward computes its gradient, and
# the optimiser changes every weight a little, downhill. One pass over all images is an
# **epoch**.

# %%
loss = tinyae.MSELoss()
adam = tinyae.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
order = np.random.default_rng(args.seed).permutation(len(images))
for step in range(20):
    x = images[order[256 * step : 256 * (step + 1)]]
    error = loss.forward(model.forward(x), x)
    model.backward(loss.backward())
    adam.step()
    if step % 5 == 4:
        print(f"  after {step + 1:2d} steps the loss is {error:.3f}")

# %% [markdown]
# That is all of it. `tinyae/training.py` holds the same loop, and adds shuffling in
# every epoch, the corruption of the images, the test loss, and what must be saved.
#
# ## The three datasets
#
# Grey values 0 to 255 are mapped to [-1, 1]. That is the first dataset. The second adds
# Gaussian noise of mean 0 and standard deviation σ = 1 to every pixel. In the third,
# with probability 1/2, a box of the image is set to 0, which is mid-grey in this range.
# The corruption is drawn again each time an image is used, so it differs from epoch to
# epoch.
#
# An `Experiment` holds all settings of one training. Below, `train` runs several of
# them. Each result has a `history`: the train loss (while it learns) and the test loss
# (afterwards) of every epoch.

# %%
NAMES = ["Normal", "Gaussian σ=1", "RandomErasing"]
EXPERIMENTS = {
    name: Experiment(
        corruption=CORRUPTIONS[name],
        model=partial(tinyae.AnelloAutoencoder, args.latent_dim),
        epochs=args.epochs,
        seed=args.seed,
        backend=args.backend,
    )
    for name in NAMES
}


def corrupt(name, pixels, purpose):
    """Map pixels (N, 28, 28), uint8, to what the network of that dataset sees."""
    images = to_range(pixels, (-1.0, 1.0))
    rng = np.random.default_rng([args.seed, *purpose.encode()])
    return CORRUPTIONS[name](images, rng) if CORRUPTIONS[name] else images


examples = first_of_each(data.test_labels)
labels = data.test_labels[examples]
shown = {name: corrupt(name, data.test_images[examples], "figure") for name in NAMES}
print("\nFigure 1: the three datasets.")
alt = "One image of each garment: clean, under strong noise, and with grey boxes."
save(figure_images(shown, labels), args, "figure1_datasets", data, alt)

# %% [markdown]
# ## Two constants in the losses
#
# The loss is the mean squared error between the output and the input. It contains two
# constants that can be computed from the data before any training.
#
# **The sigmoid's floor.** The last layer is a sigmoid, so outputs lie in (0, 1). But
# the images lie in [-1, 1]. (The report combined the two. We keep that, to compare with
# its numbers.) For a black pixel, -1, the closest possible output is 0,
# and that costs 1 whatever the network learns. The best output for a target t is t
# clipped to [0, 1], so the floor is
#
#     mean of (t - clip(t, 0, 1))²
#
# **The noise.** The report compares the output with the *corrupted* image. Noise is
# drawn independently for each of the 784 pixels, and 4 numbers can hold almost nothing
# of that. The best guess is the image without it, and the noise itself, of mean square
# σ², remains as error. So this is not a denoising autoencoder, which would be compared
# with the clean image. Lesson 3 builds one.
#
# An erased box is different. Its value 0 is within the sigmoid's reach, so a box over
# black background *lowers* the floor. (To say where the box is costs the code something
# too. No formula gives that, so we leave it in.)

# %%
floors = {}
for name in NAMES:
    floors[name] = []
    noise = CORRUPTIONS[name].sigma if name.startswith("Gaussian") else 0.0
    source = "Normal" if noise else name
    for split, pixels in [("train", data.train_images), ("test", data.test_images)]:
        t = corrupt(source, pixels, f"floor {split}")
        floors[name].append(float(np.mean((t - np.clip(t, 0, 1)) ** 2)) + noise**2)

title = "The two constants together, computed before training"
rows = [[name, *floors[name]] for name in NAMES]
table(["dataset", "floor, train", "floor, test"], rows, title)

# %% [markdown]
# ## Training
#
# 20 epochs of Adam in batches of 256, as in the report. The three trainings are
# independent, so they run at the same time, one on each core.

# %%
found, points = {}, {}
for name, training in train(EXPERIMENTS, data, args):
    found[name] = training
    codes = training.encode(corrupt(name, data.test_images, "codes"))
    points[name] = tsne(codes)
trainings = {name: found[name] for name in NAMES}

rows = []
for epoch in range(args.epochs):
    losses = [t.history[epoch] for t in trainings.values()]
    rows.append([str(epoch + 1), *(f"{a:.4f} / {b:.4f}" for a, b in losses)])
table(["epoch", *NAMES], rows, "Average loss of each epoch (train / test)")
print("\nFigure 2: the losses.")
alt = "Train and test loss over the epochs; they fall fast and then level off."
save(figure_losses(trainings), args, "figure2_losses", data, alt)

# %% [markdown]
# ## Table 1
#
# The report's numbers beside ours. The numbers of epoch 1 depend on the initial random
# weights: another seed moves them by 0.1, so they are not expected to match. After 20
# epochs that is forgotten; another seed then changes a loss by about 0.001. All six
# numbers of epoch 20 are within 0.002 of the report's.

# %%
loss_table(trainings, data, args, 1)

# %% [markdown]
# ## Pictures
#
# The background turns grey, and the coat and the sandal almost vanish. This is the
# sigmoid's floor. Outputs lie above 0, which is mid-grey here, so everything darker
# comes out as mid-grey: black background and dark garments alike. (Exercise 1 gives the
# images a range that the sigmoid can reach, as lesson 3 does.)
#
# Of the brighter garments, 4 numbers keep the kind, the outline and the brightness.
# Prints and logos are lost. Given noise, the network draws the garment *without* noise,
# although it was trained to reproduce the noise: no code of 4 numbers can hold it.

# %%
print("\nFigure 3: images and their reconstructions.")
for name, training in trainings.items():
    rows = {
        "input": shown[name],
        "epoch 1": training.reconstruct(shown[name], after_first=True),
        f"epoch {args.epochs}": training.reconstruct(shown[name]),
    }
    file = f"figure3_{name.split()[0].lower()}"
    alt = (
        f"{name}: ten inputs, and their reconstructions after the first and last epoch."
    )
    title = f"{name}: images and their reconstructions"
    save(figure_images(rows, labels, title), args, file, data, alt)

# %% [markdown]
# ## The codes
#
# t-SNE places the codes of the test images in the plane so that neighbours stay
# neighbours. As in the report, each model encodes images with its own corruption. The
# axes have no meaning, nor have the distances between far clusters. Look at which
# garments have a region of their own and which are mixed. Trousers, bags and ankle
# boots have their own; shirts, pullovers and coats are mixed, and so are sandals and
# sneakers.

# %%
print("\nFigure 4: t-SNE of the test codes (perplexity 30, random_state 307).")
layouts = {name: points[name] for name in NAMES}
alt = "Three scatter plots of codes, coloured by garment."
save(figure_tsne(layouts, data.test_labels), args, "figure4_tsne", data, alt)

# %% [markdown]
# ## What to conclude
#
# Subtract from each loss its two constants. What remains is the **excess**: the error
# that the autoencoder itself makes. Only the excess may be compared between datasets.
#
# On the full data (seed 1, training images) the excess is 0.0298 with σ = 1, 0.0305 for
# the clean images and 0.0337 with erased boxes. So the ranking by loss (RandomErasing
# 0.567, Normal 0.600, σ = 1 1.599), on which the report bases its conclusion, is the
# ranking of the floors (0.534, 0.569, 1.569). RandomErasing, first by its loss, has a
# larger excess than the clean images.
#
# The smallest excess, that of σ = 1, must not be read as a victory. The difference to
# the clean images, 0.0007, is smaller than what another seed changes (lesson 2). And
# with σ = 1 the floor is up to 4/784 = 0.005 too high, because a code of 4 numbers can
# hold 4 of the noise's 784 numbers. A model that is trained against the clean image
# has an excess of 0.034 (exercise 4).

# %%
rows = []
for name, training in trainings.items():
    for split, loss, floor in zip(
        ("train", "test"), training.history[-1], floors[name], strict=True
    ):
        excess = f"{loss - floor:.4f}"
        rows.append([name, split, f"{loss:.4f}", f"{floor:.4f}", excess])
header = ["dataset", "split", "loss", "floor", "excess"]
table(header, rows, "Loss after the last epoch = floor + excess")

losses = {name: trainings[name].history[-1][0] for name in NAMES}
excess = {name: losses[name] - floors[name][0] for name in NAMES}
print("\nOn the training images, smallest first,")
print("  by loss:  ", ", ".join(sorted(NAMES, key=losses.get)))
print("  by excess:", ", ".join(sorted(NAMES, key=excess.get)))
confirmed = min(NAMES, key=losses.get) == "RandomErasing"
confirmed &= excess["RandomErasing"] > excess["Normal"]
verdict = "confirms" if confirmed else "does not confirm"
print(f"This run {verdict} that RandomErasing has the smallest loss,")
print("but a larger excess than the clean images.")

# %% [markdown]
# ## On your own
#
# 1. Map the images to [0, 1] instead: `pixel_range=(0.0, 1.0)` in `Experiment`, and
#    (0.0, 1.0) in both calls of `to_range`. What is the floor now, and what is left of
#    the loss? (Expected: the floor of the clean data is 0, and the loss after 20 epochs
#    is 0.019. All distances are halved, so a quarter of the old excess would be 0.008.
#    But the dark pixels, which only raised the floor before, now have to be drawn as
#    well.)
# 2. Predict the loss for σ = 2, then train it: `import data_tools`, and above NAMES set
#    `CORRUPTIONS["Gaussian σ=1"] = data_tools.GaussianNoise(2.0)`. (The titles will
#    still say σ = 1. Expected: the floor is 0.569 + 4 =
#    4.569, so about 4.60 with the excess of clean images. The result is 4.592. The
#    excess is smaller because a code of 4 numbers can hold 4 of the noise's 784
#    numbers, which lowers the loss by up to 4 σ² / 784 = 0.020.)
# 3. Likewise, set `CORRUPTIONS["RandomErasing"] =
#    data_tools.RandomErasing(value=-1.0)`: black boxes. Which way does the floor move,
#    and why? (Expected: up, from 0.534 with grey boxes to 0.621, above the 0.569 of
#    clean images. A box turns bright pixels into black ones, which no sigmoid can
#    draw.)
# 4. Compare with the clean image: `clean_target=True` in `Experiment`. What is the loss
#    with σ = 1? (Expected: σ² is no
#    longer part of the loss, which is 0.603. What remains is the floor, 0.569, and an
#    excess of 0.034, a little more than with clean inputs.)
# 5. Remove both batch norms of the decoder. Write a function of `seed` that makes an
#    `AnelloAutoencoder(4, seed=seed)`, pops "1" and "4" from the dict
#    `decoder["decoder_conv"].layers`, and returns it. Give it to `Experiment` as
#    `model=`. What changes? (Expected: the first epoch ends
#    lower, at a test loss of 0.68 instead of 0.74. But the second makes no progress,
#    while with batch norm it reaches 0.64. After 20 epochs the training loss is 0.605
#    instead of 0.600.)
