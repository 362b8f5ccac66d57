"""The figures that more than one lesson draws, and their look: one colour, line and mark for each dataset, everywhere."""

import io
import sys

from common import (
    checkpoint,
    data_tools,
    np,
    plt,
)  # first: it finds the packages, and whether there is a display
from scipy.stats import gaussian_kde

STYLES = {  # Okabe and Ito's colours, safe for the colour-blind
    "Normal": dict(color="#000000", linestyle="-", marker="o"),
    "Gaussian σ=0.01": dict(color="#56B4E9", linestyle=(0, (5, 1)), marker="v"),
    "Gaussian σ=0.1": dict(color="#009E73", linestyle="--", marker="^"),
    "Gaussian σ=0.5": dict(color="#E69F00", linestyle="-.", marker="s"),
    "Gaussian σ=1": dict(color="#D55E00", linestyle=(0, (3, 1, 1, 1)), marker="D"),
    "RandomErasing": dict(color="#0072B2", linestyle=":", marker="X"),
}
GARMENT_COLORS = [
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
]  # Paul Tol's "muted", safe likewise

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 12,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
)


def save(figure, chosen, name, data=None):
    """Write a figure to the output folder, with a notice on it when `data` are not the full data."""
    if data and not data.complete:
        figure.supxlabel(
            "embedded sample (6,000 + 1,000 images), not the full data",
            fontsize=10,
            color="#B00000",
        )
    path, file = chosen.output / f"{name}.png", io.BytesIO()
    figure.savefig(file)
    checkpoint.write(path, file.getvalue())
    if "ipykernel" not in sys.modules:  # a notebook shows it
        plt.close(figure)
    print(f"  figure: {path}")


def show_image(axis, image, pixel_range=(-1, 1)):
    """One image (H, W) in grey, black to white over pixel_range, without ticks."""
    axis.imshow(
        image,
        cmap="gray",
        vmin=pixel_range[0],
        vmax=pixel_range[1],
        interpolation="nearest",
    )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def first_of_each(labels):
    """The index of the first image of each garment."""
    return np.array([np.flatnonzero(labels == label)[0] for label in range(10)])


def figure_images(rows, labels, title=None):
    """Images under one another. rows: {name: images (10, 1, 28, 28)}, one a garment; labels: (10,), the garments."""
    figure, axes = plt.subplots(
        len(rows), 10, figsize=(11, len(rows) + (0.9 if title else 0.5)), squeeze=False
    )
    for row, (name, images) in zip(axes, rows.items()):
        for axis, image in zip(row, images):
            show_image(axis, image[0])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, label in zip(axes[0], labels):
        axis.set_title(data_tools.CLASS_NAMES[label], fontsize=10)
    if title:
        figure.suptitle(title)
    return figure


def figure_losses(trainings):
    """Train and test loss over the epochs, one panel for each dataset: their heights differ by sigma squared."""
    figure, axes = plt.subplots(
        1, len(trainings), figsize=(3.7 * len(trainings), 3.4), squeeze=False
    )
    for axis, (name, training) in zip(axes[0], trainings.items()):
        epochs, color = range(1, len(training.history) + 1), STYLES[name]["color"]
        train_loss, test_loss = zip(*training.history)
        axis.plot(
            epochs,
            train_loss,
            color=color,
            linestyle="-",
            marker="o",
            markersize=4,
            label="train",
        )
        axis.plot(
            epochs,
            test_loss,
            color=color,
            linestyle="--",
            marker="s",
            markersize=4,
            markerfacecolor="white",
            label="test",
        )
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    axes[0, 0].set_ylabel("average loss (mean squared error)")
    return figure


def figure_reconstructions(name, originals, first, last, epochs, labels):
    """What goes in, and what comes out after the first and the last epoch: images (10, 1, 28, 28), one a garment."""
    return figure_images(
        {"input": originals, "epoch 1": first, f"epoch {epochs}": last},
        labels,
        f"{name}: images and their reconstructions",
    )


def _densest(points):
    """Where points (M, 2) lie densest."""
    return points[np.argmax(gaussian_kde(points.T)(points.T))]


def _spread(places, width, height, extent):
    """Labels' places (as fractions of the extent `width` by `height` large) moved apart until none overlap."""
    places = np.array(places, dtype=float)
    for _ in range(200):
        for i in range(len(places)):
            for j in range(i):
                gap = places[i] - places[j]
                if abs(gap[0]) < width * extent[0] and abs(gap[1]) < height * extent[1]:
                    step = np.copysign(0.004 * extent[1], gap[1])
                    places[i, 1] += step
                    places[j, 1] -= step
    return places


def figure_tsne(layouts, labels):
    """t-SNE layouts side by side, coloured by garment and labelled where each garment's points are densest."""
    columns = 2 if len(layouts) == 4 else len(layouts)
    rows = -(-len(layouts) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, 5.6 * rows), squeeze=False
    )
    for axis, (name, points) in zip(axes.flat, layouts.items()):
        for label, color in enumerate(GARMENT_COLORS):
            mine = points[labels == label]
            axis.scatter(
                *mine.T, s=2 + 4000 / len(points), color=color, alpha=0.5, linewidths=0
            )
        places = _spread(
            [_densest(points[labels == label]) for label in range(10)],
            0.15,
            0.05,
            np.ptp(points, axis=0),
        )
        for place, name_, color in zip(places, data_tools.CLASS_NAMES, GARMENT_COLORS):
            axis.text(
                *place,
                name_,
                ha="center",
                va="center",
                fontsize=10,
                color="black",
                bbox=dict(
                    boxstyle="round,pad=0.15",
                    facecolor="white",
                    edgecolor=color,
                    linewidth=2,
                    alpha=0.85,
                ),
            )
        axis.set(title=name, xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)")
        axis.spines[:].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("t-SNE 2 (no unit)")
    return figure
