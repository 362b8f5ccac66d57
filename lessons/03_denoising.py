# %% [markdown]
# # Lesson 3. Does noise help? A denoising autoencoder, measured by one yardstick
#
# **What you'll do.** Build what the report meant to build, a denoising autoencoder as Vincent et al. (2008) define it:
# corrupted image in, CLEAN image as the target. Train it with many amounts of noise, for a narrow and a wide code, from
# several seeds, and test every model on every kind of input.
#
# **What you'll learn.** To choose a yardstick before comparing; to ask "better at what?"; to set simple methods beside a
# network; and to say what the numbers do not show.
#
# **What you need.** Lessons 1 and 2.

# %%
import time

from common import (
    CORRUPTIONS,
    data_tools,
    load,
    measure,
    missing,
    np,
    options,
    save_csv,
    table,
    train,
    tsne,
)
from figures import figure_tsne, first_of_each, plt, save, show_image
from joblib import cpu_count
from scipy import ndimage, stats
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from tinyae.backend import host
from tinyae.training import Experiment, Training, to_range

chosen = options(
    "03_denoising",
    "A denoising autoencoder: does noise help, at what, how much?",
    epochs_quick=10,
)
data = load(chosen)

# %% [markdown]
# ## The plan
#
# Pixels are mapped to [0, 1], the range of the sigmoid, so that a loss of 0 is possible; sigma is in these units. The
# noise is added and not clipped; erased boxes are set to 0, black here. Each model is trained with one corruption; the
# row of the tables. Each is tested with all of them, the columns, against the clean test image: one yardstick for all.

# %%
RANGE = (0.0, 1.0)
SIGMAS = ["0.01", "0.05", "0.1", "0.2", "0.35", "0.5", "1"]
CONDITIONS = {"Normal": None} | {
    f"Gaussian σ={s}": data_tools.GaussianNoise(float(s)) for s in SIGMAS
}
CONDITIONS["RandomErasing"] = CORRUPTIONS["RandomErasing"]
NAMES = list(CONDITIONS)
DIMENSIONS = [chosen.latent_dim, 8 * chosen.latent_dim]
SEEDS = [chosen.seed + i for i in range(3)]


def label(name, d, seed):
    return f"{name}, d={d}, seed {seed}"


EXPERIMENTS = {
    label(name, d, seed): Experiment(
        corruption=corruption,
        clean_target=True,
        pixel_range=RANGE,
        latent_dim=d,
        epochs=chosen.epochs,
        seed=seed,
        backend=chosen.backend,
    )
    for d in DIMENSIONS
    for seed in SEEDS
    for name, corruption in CONDITIONS.items()
}

to_do = missing(EXPERIMENTS, data, chosen)
print(
    f"\n{len(EXPERIMENTS)} trainings: {len(NAMES)} corruptions x {len(DIMENSIONS)} code sizes x {len(SEEDS)} seeds; "
    f"{len(EXPERIMENTS) - len(to_do)} are there already."
)
if to_do:
    trial = Training(
        Experiment(
            corruption=CONDITIONS["Gaussian σ=1"],
            clean_target=True,
            epochs=2,
            backend=chosen.backend,
        )
    )
    few, test = data.train_images[: 256 * 20], data.test_images[:256]
    with threadpool_limits(1):  # as each training has
        trial.run(few, test, epochs=1)
        began = time.perf_counter()
        trial.run(few, test, epochs=1)
    work = lambda train, test: (
        len(train) + len(test) / 3
    )  # to test an image takes a third of learning from it
    epoch = (
        (time.perf_counter() - began)
        * work(data.train_images, data.test_images)
        / work(few, test)
    )
    side_by_side = (
        cpu_count() if chosen.backend == "numpy" else 1
    )  # one device carries them out one by one
    minutes = len(to_do) * chosen.epochs * epoch / side_by_side / 60
    print(
        f"An epoch takes about {epoch:.1f} s here: the trainings, {side_by_side} at a time, take about {minutes:.0f} "
        f"minutes, and measuring the models about {minutes / 5 + 1:.0f} more."
    )

# %% [markdown]
# ## Training

# %%
trainings = dict(train(EXPERIMENTS, data, chosen))

# %% [markdown]
# ## Measuring
#
# For every model: the mean squared error against the clean test image, for clean inputs and for each corruption (the same
# noisy images for all models). And the quality of its code, for clean images: how often the majority among the 5 nearest
# training codes names a test image's garment (k-nearest-neighbour accuracy), and the silhouette of the test codes by
# garment, which compares distances within a garment with those to the nearest other (1: well apart, 0: overlapping).
#
# PSNR says the same as the MSE in decibels, 10 log10(1 / MSE) for pixels in [0, 1]: 3 dB is half the error.


# %%
def noisy_test_images(name, data):
    """The clean test images (M, 1, 28, 28) and the same under a corruption: the same draw in every process."""
    clean = to_range(data.test_images, RANGE)
    rng = host.random.default_rng([307, *name.encode()])
    return clean, CONDITIONS[name](clean, rng) if CONDITIONS[name] else clean


def quality(training, data):
    """A trained model's errors on all test corruptions, and the quality of its codes."""
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import KNeighborsClassifier

    result = {}
    for name in CONDITIONS:
        clean, noisy = noisy_test_images(name, data)
        result[name] = float(np.mean((training.reconstruct(noisy) - clean) ** 2))
    codes = training.encode(to_range(data.train_images, RANGE))
    test_codes = training.encode(to_range(data.test_images, RANGE))
    knn = KNeighborsClassifier(n_neighbors=5).fit(codes, data.train_labels)
    result["knn"] = float(knn.score(test_codes, data.test_labels))
    result["silhouette"] = float(silhouette_score(test_codes, data.test_labels))
    return result


measured = measure(quality, trainings, data)
save_csv(
    chosen.output / "matrix.csv",
    [["latent_dim", "train", "test", "seed", "mse"]]
    + [
        [d, name, test, seed, f"{measured[label(name, d, seed)][test]:.6f}"]
        for d in DIMENSIONS
        for name in NAMES
        for test in NAMES
        for seed in SEEDS
    ],
)


def over_seeds(name, d, what):
    """A measured number of one model, for each seed."""
    return np.array([measured[label(name, d, seed)][what] for seed in SEEDS])


def plus_minus(values, digits=4):
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def psnr(mse):
    return 10 * np.log10(1 / mse)


for d in DIMENSIONS:
    table(
        [
            "trained with",
            "MSE, clean input",
            "PSNR (dB)",
            "5-NN accuracy",
            "silhouette",
        ],
        [
            [
                name,
                plus_minus(over_seeds(name, d, "Normal"), 5),
                plus_minus(psnr(over_seeds(name, d, "Normal")), 2),
                plus_minus(over_seeds(name, d, "knn")),
                plus_minus(over_seeds(name, d, "silhouette")),
            ]
            for name in NAMES
        ],
        f"Clean test images, code of {d}: mean ± standard deviation over {len(SEEDS)} seeds",
    )

# %% [markdown]
# ## Train by test
#
# Rows: what a model was trained with. Columns: what it is tested with. The best of each column is framed.


# %%
def short(name):
    return name.replace("Gaussian ", "").replace("Random", "")


def heat_map(values, better, unit, cell):
    """Both code sizes side by side: values(name, d, test) over the seeds, the best of each column framed."""
    figure, axes = plt.subplots(1, 2, figsize=(14, 6.2))
    matrices = [
        np.array([[values(name, d, test) for test in NAMES] for name in NAMES])
        for d in DIMENSIONS
    ]
    means = [matrix.mean(axis=2) for matrix in matrices]
    shades = [np.log10(mean) if better == "lower" else -mean for mean in means]
    low, high = (
        min(shade.min() for shade in shades),
        max(shade.max() for shade in shades),
    )
    for axis, d, matrix, mean, shade in zip(axes, DIMENSIONS, matrices, means, shades):
        axis.imshow(shade, cmap="cividis_r", vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(mean):
            axis.text(
                j,
                i,
                f"{cell(value)}\n±{cell(matrix[i, j].std(ddof=1))}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shade[i, j] > (low + high) / 2 else "black",
            )
        for j, i in enumerate(shade.argmin(axis=0)):
            axis.add_patch(
                plt.Rectangle(
                    (j - 0.47, i - 0.47),
                    0.94,
                    0.94,
                    fill=False,
                    edgecolor="#D55E00",
                    linewidth=2.5,
                )
            )
        axis.set(xlabel="tested with", ylabel="trained with", title=f"code of {d}")
        axis.set_xticks(range(len(NAMES)), map(short, NAMES), rotation=45, ha="right")
        axis.set_yticks(range(len(NAMES)), map(short, NAMES))
    figure.suptitle(
        f"{unit} against the clean test image, mean ± standard deviation over {len(SEEDS)} seeds; dark is bad"
    )
    return figure


print(
    "\nFigure 10: every model on every kind of input, as mean squared error and as PSNR."
)
save(
    heat_map(
        over_seeds,
        "lower",
        "Mean squared error x 1000",
        lambda value: f"{1000 * value:.1f}",
    ),
    chosen,
    "figure10_matrix",
    data,
)
save(
    heat_map(
        lambda name, d, test: psnr(over_seeds(name, d, test)),
        "higher",
        "PSNR in dB",
        lambda value: f"{value:.1f}",
    ),
    chosen,
    "figure10_matrix_psnr",
    data,
)

# %% [markdown]
# ## Simple methods on the same images
#
# - *Noisy image*: do nothing.
# - *PCA*: the best linear code of the same size, fitted to the clean training images.
# - *Filter*: a Gaussian blur or a median of the neighbourhood, whichever of some widths is best on corrupted *training*
#   images. It has no code to squeeze the image through, so it shows what denoising alone can do.

# %%
FILTERS = {"none": lambda x: x} | {
    f"Gaussian {w}": lambda x, w=w: ndimage.gaussian_filter(x, (0, 0, w, w))
    for w in (0.4, 0.6, 0.8, 1.0, 1.4)
}
FILTERS |= {
    f"median {n}": lambda x, n=n: ndimage.median_filter(x, (1, 1, n, n)) for n in (3, 5)
}
pcas = {
    d: PCA(d, svd_solver="covariance_eigh").fit(
        to_range(data.train_images, RANGE).reshape(-1, 784)
    )
    for d in DIMENSIONS
}
baselines = {}
for test in NAMES:
    clean, noisy = noisy_test_images(test, data)
    flat = noisy.reshape(-1, 784)
    tuning = to_range(data.train_images[:1000], RANGE)
    tuning_noisy = (
        CONDITIONS[test](tuning, host.random.default_rng(chosen.seed))
        if CONDITIONS[test]
        else tuning
    )
    best = min(FILTERS, key=lambda f: np.mean((FILTERS[f](tuning_noisy) - tuning) ** 2))
    baselines[test] = {
        "noisy image": np.mean((noisy - clean) ** 2),
        "filter": np.mean((FILTERS[best](noisy) - clean) ** 2),
        "which": best,
    }
    for d in DIMENSIONS:
        rebuilt = (
            pcas[d].inverse_transform(pcas[d].transform(flat)).reshape(clean.shape)
        )
        baselines[test][f"PCA {d}"] = np.mean((rebuilt - clean) ** 2)

for d in DIMENSIONS:
    table(
        [
            "tested with",
            "noisy image",
            "best filter",
            f"PCA {d}",
            "AE, Normal",
            "AE, same corruption",
        ],
        [
            [
                test,
                f"{baselines[test]['noisy image']:.4f}",
                f"{baselines[test]['filter']:.4f} ({baselines[test]['which']})",
                f"{baselines[test][f'PCA {d}']:.4f}",
                plus_minus(over_seeds("Normal", d, test)),
                plus_minus(over_seeds(test, d, test)),
            ]
            for test in NAMES
        ],
        f"MSE against the clean test image, code of {d}",
    )

# %% [markdown]
# ## How much noise

# %%
figure, axes = plt.subplots(1, 3, figsize=(14, 4))
looks = [
    dict(color="#0072B2", marker="o", linestyle="-"),
    dict(color="#D55E00", marker="s", linestyle="--"),
]
for axis, what, title in zip(
    axes,
    ("Normal", "knn", "silhouette"),
    (
        "MSE on clean test images",
        "5-NN accuracy of the codes",
        "silhouette of the codes",
    ),
):
    for d, look in zip(DIMENSIONS, looks):
        values = [over_seeds(name, d, what) for name in NAMES]
        for part in (
            slice(0, -1),
            slice(-1, None),
        ):  # RandomErasing has no place on the scale of sigma
            x = np.arange(len(NAMES))[part]
            axis.errorbar(
                x,
                [v.mean() for v in values][part],
                [v.std(ddof=1) for v in values][part],
                capsize=3,
                **look,
                label=f"code of {d}" if part.start == 0 else None,
            )
    axis.set_xticks(range(len(NAMES)), ["0", *SIGMAS, "erasing"], rotation=45)
    axis.set(title=title, xlabel="sigma of the training noise")
axes[0].set_ylim(bottom=0)
axes[0].legend()
print(
    "\nFigure 11: error and quality of the code against the amount of noise (mean and standard deviation over seeds)."
)
save(figure, chosen, "figure11_amount", data)

# %% [markdown]
# ## What to conclude
#
# Each sentence below is computed from the numbers above. "Better" and "worse" are said where the 95% interval of the
# paired differences (the same seeds, Student's t) excludes 0. With 3 seeds that interval is wide; and where
# there is no difference at all, one of twenty such intervals excludes 0 by chance.


# %%
def compare(name, d, what):
    """Mean difference from the Normal model over the seeds, and half its 95% interval."""
    difference = over_seeds(name, d, what) - over_seeds("Normal", d, what)
    half = (
        stats.t.ppf(0.975, len(SEEDS) - 1) * difference.std(ddof=1) / len(SEEDS) ** 0.5
    )
    return difference.mean(), half


def verdict(name, d, what, more_is_better=False):
    mean, half = compare(name, d, what)
    if abs(mean) <= half:
        return "no difference that these seeds can tell"
    return f"{'better' if (mean > 0) == more_is_better else 'worse'} by {abs(mean):.4f} ± {half:.4f}"


NOISY, best_code = NAMES[1:], {}
for d in DIMENSIONS:
    helped = [name for name in NOISY if "better" in verdict(name, d, "Normal")]
    harmed = [name for name in NOISY if "worse" in verdict(name, d, "Normal")]
    best = min(NOISY, key=lambda name: over_seeds(name, d, "Normal").mean())
    matched = {
        test: (over_seeds(test, d, test).mean(), over_seeds("Normal", d, test).mean())
        for test in NOISY
    }
    gain = [test for test in NOISY if matched[test][0] < 0.95 * matched[test][1]]
    filter_wins = [
        test
        for test in NOISY
        if baselines[test]["filter"] < min(over_seeds(n, d, test).mean() for n in NAMES)
    ]
    pca_wins = [
        test
        for test in NAMES
        if baselines[test][f"PCA {d}"]
        < min(over_seeds(n, d, test).mean() for n in NAMES)
    ]
    best_code[d] = max(NOISY, key=lambda name: over_seeds(name, d, "knn").mean())
    overall = min(
        NAMES,
        key=lambda name: np.mean([over_seeds(name, d, test).mean() for test in NAMES]),
    )
    print(f"""
Code of {d}
  On clean images, is a model trained with noise better than one trained without? Better: {", ".join(helped) or "none"}.
    Worse: {", ".join(harmed) or "none"}. The lowest error of the eight, {best}: {verdict(best, d, "Normal")}.
  On corrupted images, training with the same corruption lowers the error by more than 5% for: {", ".join(gain) or "none"}.""")
    for test in gain:
        print(f"    {test}: {matched[test][0]:.4f} instead of {matched[test][1]:.4f}")
    knn = lambda name: (
        f"{name}: {plus_minus(over_seeds(name, d, 'knn'))}, {verdict(name, d, 'knn', more_is_better=True)}"
    )
    print(f"""  The code's 5-NN accuracy: {plus_minus(over_seeds("Normal", d, "knn"))} without noise.
    The best with it, {knn(best_code[d])}.
    {knn("Gaussian σ=1")}.
  Simple methods: the filter beats every model on {", ".join(filter_wins) or "no corruption"}; PCA with {d} components on \
{", ".join(pca_wins) or "nothing"}.
  Over all nine kinds of input together, {overall} has the lowest mean error.""")

# %% [markdown]
# A denoiser with a code of 4 or 32 numbers pays for squeezing the image through it: that alone costs more than weak noise
# does. So the plain answer has two halves. Noise in training helps where the *test* images are noisy, the more the
# stronger the noise is; on clean images it is not what makes this autoencoder better.

# %% [markdown]
# ## Pictures

# %%
examples = first_of_each(data.test_labels)
clean, noisy = (
    images[examples] for images in noisy_test_images("Gaussian σ=0.5", data)
)
rows = {"clean": clean, "σ=0.5": noisy}
for d in DIMENSIONS:
    for name in ("Normal", "Gaussian σ=0.5"):
        rows[f"{short(name)}, {d}"] = trainings[label(name, d, SEEDS[0])].reconstruct(
            noisy
        )
rows[f"PCA, {DIMENSIONS[1]}"] = (
    pcas[DIMENSIONS[1]]
    .inverse_transform(pcas[DIMENSIONS[1]].transform(noisy.reshape(-1, 784)))
    .reshape(clean.shape)
)
rows["filter"] = FILTERS[baselines["Gaussian σ=0.5"]["which"]](noisy)
figure, axes = plt.subplots(len(rows), 10, figsize=(11, len(rows) + 0.5))
for row, (name, images) in zip(axes, rows.items()):
    for axis, image in zip(row, images):
        show_image(axis, image[0], RANGE)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
for axis, garment in zip(axes[0], data_tools.CLASS_NAMES):
    axis.set_title(garment, fontsize=10)
figure.suptitle(
    "Noise with sigma 0.5, and what several models make of it (trained with, size of the code)"
)
print("\nFigure 12: denoised images.")
save(figure, chosen, "figure12_pictures", data)

print(
    "\nFigure 13: t-SNE of clean test images' codes, trained without noise and with what gave the best 5-NN accuracy."
)
layouts = {}
for d in DIMENSIONS:
    for name in ("Normal", best_code[d]):
        codes = trainings[label(name, d, SEEDS[0])].encode(
            to_range(data.test_images, RANGE)
        )
        layouts[f"{name}, code of {d}, 5-NN {over_seeds(name, d, 'knn')[0]:.3f}"] = (
            tsne(codes)
        )
save(figure_tsne(layouts, data.test_labels), chosen, "figure13_tsne", data)

# %% [markdown]
# ## On your own
#
# 1. Compute the PSNR of the noisy image for sigma = 0.1 by hand. (Expected: 20 dB, since the MSE is sigma^2 = 0.01.)
# 2. At which sigma does the autoencoder with the narrow code begin to beat doing nothing? Read it from the table, then
#    explain it. (Expected: where sigma^2 exceeds the model's own error on clean images.)
# 3. Erase grey boxes instead of black ones, `RandomErasing(value=0.5)`. Is that easier or harder? (Expected: easier: grey
#    boxes do not look like background.)
# 4. Use a code of 128. Does noise help the codes there? Predict before you train: what keeps a wide code from copying its
#    input?
# 5. Mix: draw sigma anew for every image, uniformly from 0 to 1, as a corruption class of your own. Where in the matrix
#    would its row win? (Expected: nowhere by much, and nowhere badly beaten.)
