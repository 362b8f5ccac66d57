"""The figures of more than one lesson, in one style."""

from common import HERE, IN_NOTEBOOK, np, plt
from matplotlib.colors import ListedColormap

# Paul Tol's "muted" colours, distinguishable for the colour-blind
COLORS = (
    "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #777777"
)

plt.style.use(HERE / "lessons.mplstyle")


def write_figure(figure, args, name, data=None, alt=""):
    """Write a figure to the output folder; in a notebook, also show it.

    data: a notice is added if it is not the full data. alt: what the figure shows, for
    readers who cannot see it.
    """
    if data and not data.complete:
        figure.supxlabel(f"from {data.source}", color="#B00000")
        alt = f"On the full data: {alt}"
    path = args.output / f"{name}.png"
    figure.savefig(path, metadata={"Description": alt})
    if IN_NOTEBOOK:
        from IPython.display import Image, display

        display(Image(path, alt=alt))
    else:
        print(f"  figure: {path}")
    plt.close(figure)


def show_image(axis, image, pixel_range=(-1, 1)):
    """Draw one image, without ticks; pixel_range: its values for black and white.

    image: (H, W) or (C, H, W). One channel is grey; three are red, green and blue.
    """
    low, high = pixel_range
    pixels = image.reshape(-1, *image.shape[-2:]).transpose(1, 2, 0)
    pixels = np.clip((pixels - low) / (high - low), 0, 1)
    axis.imshow(pixels, vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def first_of_each(labels):
    """Return the index of the first image of each label, for at most ten labels."""
    return np.unique(labels, return_index=True)[1][:10]


def figure_images(rows, titles=(), title=None, pixel_range=(-1, 1)):
    """Draw rows of images, {name: (N, C, H, W)}; titles: of the columns."""
    columns = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(1.1 * columns, len(rows) + 0.9), squeeze=False
    )
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, image in zip(row, images, strict=True):
            show_image(axis, image, pixel_range)
    for i, text in enumerate(titles):
        axes[0, i].set_title(text, fontsize=10)
    figure.suptitle(title)
    return figure


def figure_losses(trainings):
    """Draw train and test loss over the epochs."""
    figure, axis = plt.subplots(figsize=(7, 4))
    for name, training in trainings.items():
        epochs = range(1, len(training.history) + 1)
        label = [f"{name}, train", f"{name}, test"]
        axis.plot(epochs, training.history, ".-", label=label)
    axis.set(xlabel="epoch", ylabel="average loss")
    axis.locator_params("x", integer=True)  # no ticks between the epochs
    axis.legend()
    return figure


def figure_tsne(layouts, data):
    """Draw t-SNE layouts {name: points (M, 2)} of the test images, in ten colours."""
    rows = (len(layouts) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(10.4, 5.6 * rows))
    labels, kinds = np.unique(data.test_labels, return_inverse=True)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, points) in zip(axes.flat, layouts.items(), strict=False):
        size = 2 + 4000 / len(points)  # larger dots if there are few
        dots = axis.scatter(*points.T, size, kinds, cmap=ListedColormap(COLORS.split()))
        axis.set_title(name)
    handles, _ = dots.legend_elements(num=None)
    names = np.take(data.class_names, labels)
    figure.legend(handles, names, loc="outside upper center", ncols=5, fontsize=13)
    return figure
