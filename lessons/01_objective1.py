# %% [markdown]
# # Lesson 1. Three datasets, three autoencoders
#
# **What you'll do.** Rebuild the first half of a student's report: train Anello's autoencoder on Fashion-MNIST as it
# is, with Gaussian noise, and with randomly erased boxes, and compare the three.
#
# **What you'll learn.** How a training is put together; why none of these losses can come near zero, however long
# the network is trained; and why the report's winner is not the winner once that is taken into account.
#
# **What you need.** NumPy, and `lessons/00_backprop.py` if backpropagation is new to you. The layers are in `tinyae/`.

# %%
from common import CORRUPTIONS, load, loss_table, np, options, table, train, tsne
from figures import (
    figure_images,
    figure_losses,
    figure_reconstructions,
    figure_tsne,
    first_of_each,
    save,
)

from tinyae.backend import host
from tinyae.training import Experiment, to_range

chosen = options(
    "01_objective1", "Objective 1 of the report: Normal, Gaussian noise, RandomErasing."
)
data = load(chosen)

# %% [markdown]
# ## The three datasets
#
# Grey values are mapped from 0..255 to [-1, 1], then corrupted: noise of mean 0 and standard deviation 1 is added to
# every pixel, or, with probability 1/2, a box of the image is set to 0, which is mid-grey here. The corruption is drawn
# afresh each time an image is seen, so no two epochs show the network the same corrupted image.

# %%
NAMES = ["Normal", "Gaussian σ=1", "RandomErasing"]
EXPERIMENTS = {
    name: Experiment(
        corruption=CORRUPTIONS[name],
        latent_dim=chosen.latent_dim,
        epochs=chosen.epochs,
        seed=chosen.seed,
        backend=chosen.backend,
    )
    for name in NAMES
}


def corrupt(name, pixels, purpose):
    """The images (N, 28, 28), uint8, as the network of that dataset sees them: (N, 1, 28, 28), float32."""
    images = to_range(pixels, EXPERIMENTS[name].pixel_range)
    rng = host.random.default_rng([chosen.seed, *purpose.encode()])
    return CORRUPTIONS[name](images, rng) if CORRUPTIONS[name] else images


examples = first_of_each(data.test_labels)
shown = {name: corrupt(name, data.test_images[examples], "figure") for name in NAMES}
print("\nFigure 1: the three datasets.")
save(figure_images(shown, data.test_labels[examples]), chosen, "figure1_datasets", data)

# %% [markdown]
# ## Two constants in the losses
#
# The loss is the mean squared error between the output and what went in. Before anything is trained, two constants in
# it can be computed from the data alone.
#
# **The sigmoid's floor.** The last layer is a sigmoid, so outputs lie in (0, 1), but the images were mapped to [-1, 1].
# A black pixel is -1, the nearest the network can come is 0, and that pixel costs 1 for ever. The best possible output
# for a target t is t clipped to [0, 1]: the floor is the mean of (t - clip(t))^2.
#
# **Sigma squared.** The report compares the output with the *corrupted* image. Noise drawn independently for every pixel
# cannot be predicted from a code of 4 numbers, which hold next to nothing of 784 independent ones: the best guess is the
# image without it, and the noise itself remains as error, its mean square being sigma^2. (So this never was a denoising
# autoencoder: that one is asked for the clean image. Lesson 3 builds it.)
#
# An erased box is different: 0 is within the sigmoid's reach, so boxes over black background *lower* the floor.

# %%
floors = {}
for name in NAMES:
    floors[name] = []
    for split, pixels in (("train", data.train_images), ("test", data.test_images)):
        noise = (
            EXPERIMENTS[name].corruption.sigma if name.startswith("Gaussian") else 0.0
        )
        t = (
            to_range(pixels, (-1, 1))
            if noise
            else corrupt(name, pixels, f"floor {split}")
        )
        floors[name].append(float(np.mean((t - np.clip(t, 0, 1)) ** 2)) + noise**2)

table(
    ["dataset", "floor, train", "floor, test"],
    [[name, *floors[name]] for name in NAMES],
    "The two constants together, computed from the data before training",
)

# %% [markdown]
# ## Training
#
# 20 epochs of Adam in batches of 256, as in the report. The three trainings are independent, so they share the
# cores: an epoch of each in turn, each on one core. When one is done, its codes are laid out for
# their figure.

# %%
trainings, layouts = {}, {}
for name, training in train(EXPERIMENTS, data, chosen):
    trainings[name] = training
    layouts[name] = tsne(training.encode(corrupt(name, data.test_images, "codes")))
trainings, layouts = (
    {name: found[name] for name in NAMES} for found in (trainings, layouts)
)

print("\nAverage loss after each epoch (train / test)")
for epoch in range(chosen.epochs):
    losses = "   ".join(
        f"{name} {t.history[epoch][0]:.4f} / {t.history[epoch][1]:.4f}"
        for name, t in trainings.items()
    )
    print(f"  {epoch + 1:3d}   {losses}")
print("\nFigure 2: the losses.")
save(figure_losses(trainings), chosen, "figure2_losses", data)

# %% [markdown]
# ## Table 1
#
# The report's numbers beside ours. The first epoch's are not expected to agree: they depend on where the random weights
# began and move by 0.1 with the seed. After 20 epochs that is forgotten, and another seed changes the loss by about
# 0.002.

# %%
loss_table(trainings, data, chosen, 1)
print(
    "Epoch 1 moves by 0.1 with the seed and is not expected to match; the last epoch is."
)

# %% [markdown]
# ## Pictures
#
# The background turns grey, and the coat and the sandal all but vanish. That is the sigmoid's floor, seen: outputs lie
# above 0, and 0 is mid-grey here, so whatever is darker comes out as mid-grey, black background and dark garments
# alike. (Exercise 1 gives the images a range that the sigmoid can reach, as lesson 3 does.)
#
# Of the brighter garments 4 numbers keep the kind, the outline and the brightness; prints and logos are lost. Given
# noise the network draws the garment *without* the noise, although it was asked for it: it cannot do otherwise.

# %%
print("\nFigure 3: images and their reconstructions.")
for name, training in trainings.items():
    pictures = [
        shown[name],
        training.reconstruct(shown[name], after_first=True),
        training.reconstruct(shown[name]),
    ]
    save(
        figure_reconstructions(
            name, *pictures, chosen.epochs, data.test_labels[examples]
        ),
        chosen,
        f"figure3_{name.split()[0].lower()}",
        data,
    )

# %% [markdown]
# ## The codes
#
# t-SNE lays the codes of the test images out in the plane so that neighbours stay neighbours. Each model encodes images
# with its own corruption, as in the report. Distances between far clusters mean nothing in such a picture, nor do the
# axes; what to look at is which garments have a region of their own and which are mixed.

# %%
print("\nFigure 4: t-SNE of the test images' codes (perplexity 30, random_state 307).")
save(figure_tsne(layouts, data.test_labels), chosen, "figure4_tsne", data)

# %% [markdown]
# ## What to conclude
#
# Subtract from each loss what no network could have avoided. What is left, the excess, is the error the autoencoder
# itself makes, and only that may be compared between datasets.

# %%
rows = []
for name, training in trainings.items():
    for split, loss, floor in zip(
        ("train", "test"), training.history[-1], floors[name]
    ):
        rows.append([name, split, loss, floor, loss - floor])
table(
    ["dataset", "split", "loss", "floor", "excess"],
    rows,
    f"Loss after {chosen.epochs} epochs = floor + excess",
)

excess = {name: trainings[name].history[-1][0] - floors[name][0] for name in NAMES}
by_loss = sorted(NAMES, key=lambda name: trainings[name].history[-1][0])
by_excess = sorted(NAMES, key=excess.get)
print(f"""
By its loss, {by_loss[0]} comes first, then {by_loss[1]}, then {by_loss[2]}: the report's ranking is made of the floors.
By its excess on the training images, which is what each network itself is responsible for, the order is
{", ".join(f"{name} ({excess[name]:.4f})" for name in by_excess)}.
Nearly all of the Gaussian loss, {floors["Gaussian σ=1"][0]:.3f} of {trainings["Gaussian σ=1"].history[-1][0]:.3f}, is noise that nobody could \
predict and black that a sigmoid cannot draw.
Another seed alone moves a loss by a thousandth or two; lesson 2 asks, with several seeds, what such a difference is worth.""")

# %% [markdown]
# ## On your own
#
# 1. Map the images to [0, 1] instead: `pixel_range=(0.0, 1.0)` in `Experiment`. What is the floor now, and what is left
#    of the loss? (Expected: a floor of 0 for the clean data. Every distance is halved, so squared errors are quartered:
#    a loss near 0.031 / 4, about 0.008.)
# 2. Predict the loss for sigma = 2, then train it. (Expected: the clean floor + 4 + an excess a little above the others.)
# 3. Set `RandomErasing(value=-1.0)`, black boxes. Which way does the floor move, and why? (Expected: up from grey boxes,
#    even above the clean data's: a garment's bright pixels become black ones, which the sigmoid cannot reach.)
# 4. Ask for the clean image: `clean_target=True` with sigma = 1. (Expected: the 1.0 goes from the loss; what remains is
#    the clean floor and an excess somewhat above the clean model's.)
# 5. Remove both batch norms of the decoder and explain the loss curve of the first epochs.
