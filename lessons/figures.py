"""The figures of more than one lesson, in one style: a colour and mark per dataset."""

import io

from common import IN_NOTEBOOK, checkpoint, data_tools, np, plt

STYLES = {  # Okabe and Ito's colours, distinguishable for the colour-blind
    "Normal": ("#000000", "o"),
    "Gaussian σ=0.01": ("#56B4E9", "v"),
    "Gaussian σ=0.1": ("#009E73", "^"),
    "Gaussian σ=0.5": ("#E69F00", "s"),
    "Gaussian σ=1": ("#D55E00", "D"),
    "RandomErasing": ("#0072B2", "X"),
}
# Paul Tol's "muted" colours, likewise
COLORS = (
    "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #777777"
)

plt.rcParams.update(
    {
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def save(figure, args, name, data=None, alt=""):
    """Write a figure to the output folder; in a notebook, also show it.

    data: a notice is added if it is not the full data. alt: what the figure shows, for
    readers who cannot see it.
    """
    if data and not data.complete:
        notice = "embedded sample (6,000 + 1,000 images), not the full data"
        figure.supxlabel(notice, fontsize=10, color="#B00000")
    file = io.BytesIO()
    figure.savefig(file, metadata={"Description": alt})
    checkpoint.write(args.output / f"{name}.png", file.getvalue())
    if IN_NOTEBOOK:
        from IPython.display import Image, display

        display(Image(file.getvalue(), alt=alt))
    else:
        print(f"  figure: {args.output / name}.png")
    plt.close(figure)


def show_image(axis, image, pixel_range=(-1, 1)):
    """Draw one image (H, W) in grey, black to white over pixel_range, without ticks."""
    low, high = pixel_range
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def first_of_each(labels):
    """Return the index of the first image of each garment."""
    return np.array([np.flatnonzero(labels == label)[0] for label in range(10)])


def figure_images(rows, labels, title=None, pixel_range=(-1, 1)):
    """Draw rows of images, {name: (10, 1, 28, 28)}; labels: (10,), the garments."""
    height = len(rows) + (0.9 if title else 0.5)
    figure, axes = plt.subplots(len(rows), 10, figsize=(11, height), squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(row, images, strict=True):
            show_image(axis, image[0], pixel_range)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, label in zip(axes[0], labels, strict=True):
        axis.set_title(data_tools.CLASS_NAMES[label], fontsize=10)
    figure.suptitle(title)
    return figure


def figure_losses(trainings):
    """Draw train and test loss over the epochs, one panel per dataset."""
    size = (3.7 * len(trainings), 3.4)
    figure, axes = plt.subplots(1, len(trainings), figsize=size, squeeze=False)
    for axis, (name, training) in zip(axes[0], trainings.items(), strict=True):
        color, mark = STYLES[name]
        losses = np.array(training.history)
        epochs = range(1, len(losses) + 1)
        axis.plot(epochs, losses[:, 0], "-", marker=mark, color=color, label="train")
        axis.plot(epochs, losses[:, 1], "--", marker=".", color=color, label="test")
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    axes[0, 0].set_ylabel("average loss (mean squared error)")
    return figure


def figure_tsne(layouts, labels):
    """Draw t-SNE layouts {name: points (M, 2)} side by side, coloured by garment."""
    columns = 2 if len(layouts) == 4 else len(layouts)
    rows = -(-len(layouts) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, 5.6 * rows))
    for axis, (name, points) in zip(np.ravel(axes), layouts.items(), strict=True):
        size = 2 + 4000 / len(points)  # larger dots if there are few
        for label, color in enumerate(COLORS.split()):
            mine = points[labels == label]
            kind = data_tools.CLASS_NAMES[label]
            axis.scatter(*mine.T, s=size, color=color, label=kind)
        axis.set(title=name, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        markerscale=10 / size**0.5,  # the same in every legend
        fontsize=13,
    )
    return figure
