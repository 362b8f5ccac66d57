"""How fast tinyae is, beside PyTorch, a textbook's NumPy, and what the machine could do. Measures, and asserts no time.

    python tests/benchmark.py                   everything, about forty minutes on two cores
    python tests/benchmark.py --quick           everything once over with fewer images
    python tests/benchmark.py epoch memory      these sections only: epoch, lesson1, textbook, wide, scaling,
                                                corruptions, memory, tsne

What is compared runs in turns, each in a process of its own, and each line says the median of the rounds, the lowest
and the highest. A ratio is taken within each round, so that a machine busy with something else slows both sides (but
let it be idle: products on all cores wait for the slowest). Everybody may use all cores unless --threads says less.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "lessons")]

import joblib
import nchw
import numpy as np
import sweep
from racers import (
    corruption_epoch,
    group_epoch,
    large_products,
    nchw_epoch,
    race,
    tinyae_epoch,
    torch_epoch,
    whole_training,
)
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

import data_tools
import tinyae
from tinyae.training import Experiment, Training, to_range

TORCH, NOISE, ERASING = (
    find_spec("torch") is not None,
    data_tools.GaussianNoise(1.0),
    data_tools.RandomErasing(),
)


def spread(values, unit="", digits=2):
    """The median, the lowest and the highest, as text."""
    middle, low, high = (
        f"{value:.{digits}f}"
        for value in (np.median(values), np.min(values), np.max(values))
    )
    return f"{middle}{unit} ({low} to {high})"


def say(what, text):
    print(f"  {what:<68} {text}", flush=True)


def say_ratio(what, slow, fast, target=""):
    say(what, spread(slow / fast, "x") + (f"   target: {target}" if target else ""))


def better(ran, *names):
    """The seconds of the one with the lower median."""
    return min((ran[name].seconds for name in names), key=np.median)


def images(data, M):
    return np.resize(data.train_images, (M, 28, 28))


# -- The sections --


def epoch(data, chosen, width=8, M=60_000, target="2 or more"):
    """One epoch, everything included: shuffling, normalising, forward, loss, backward, Adam.

    tinyae as a group of one-thread processes that share every batch (lessons/board.py), with their memory in large pages as
    the sweep's workers have it, and as one process started like any other, whose products use all threads. PyTorch in
    both ways, too, and with what helps tinyae's memory.
    """
    M = M // 10 if chosen.quick else M
    size = min(16, 1 << chosen.threads.bit_length() - 1)  # a divisor of every batch
    ours = (
        {
            f"tinyae, {size} processes": (
                group_epoch,
                tinyae_epoch,
                size,
                images(data, M),
                width,
            )
        }
        if size > 1
        else {}
    )
    ours["tinyae, one process"] = tinyae_epoch, images(data, M), width
    makers, plain = dict(ours), ["tinyae, one process"]
    if TORCH:
        for name, how in (
            ("PyTorch", {}),
            ("PyTorch, channels_last", {"channels_last": True}),
            (
                "PyTorch, channels_last, fused Adam",
                {"channels_last": True, "fused": True},
            ),
        ):
            makers[name] = (torch_epoch, images(data, M), width, how, chosen.threads)
        plain += [name for name in makers if name.startswith("PyTorch")]
        makers["PyTorch, channels_last, memory as tinyae's (lesson 4)"] = (
            *makers["PyTorch, channels_last"],
            True,
        )
        if size > 1:
            makers[f"PyTorch, DistributedDataParallel, {size} processes"] = (
                group_epoch,
                torch_epoch,
                size,
                images(data, M),
                width,
                {},
                1,
            )
    ran = race(makers, chosen.rounds, chosen.threads, plain)
    for name, runner in ran.items():
        say(f"{name}, seconds for 60,000 images", spread(runner.seconds * 60_000 / M))
    if TORCH:
        best = better(ran, "PyTorch", "PyTorch, channels_last")
        for name in ours:
            say_ratio(
                f"PyTorch eager (its better layout) / {name}",
                best,
                ran[name].seconds,
                target,
            )


def wide(data, chosen):
    """The same for a model four times as wide: 32, 64, 128 channels."""
    epoch(data, chosen, width=32, M=12_000, target="1 or more")


def lesson1(data, chosen):
    """Lesson 1's work: three trainings, tests after every epoch, the start of the processes included."""
    if TORCH:
        import torch_training
    work = {
        name: Experiment(corruption=corruption, epochs=chosen.epochs)
        for name, corruption in (
            ("Normal", None),
            ("Gaussian", NOISE),
            ("RandomErasing", ERASING),
        )
    }
    train, test = (
        images(data, 6_000 if chosen.quick else 60_000),
        data.test_images[: 1_000 if chosen.quick else None],
    )
    seconds = {}

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            list(sweep.train_all(work, train, test, folder, "benchmark"))

    def theirs(channels_last, n_jobs):
        threads = chosen.threads if n_jobs == 1 else 1
        with sweep.huge_pages():  # the parallel ones' memory is as that of our workers
            joblib.Parallel(n_jobs)(
                joblib.delayed(torch_training.run)(
                    e, train, test, threads, channels_last
                )
                for e in work.values()
            )

    racers = {"tinyae, parallel one-thread processes": ours}
    for layout in ("default", "channels_last") if TORCH else ():
        racers[f"PyTorch, one after the other, {layout}"] = (
            lambda last=layout != "default": theirs(last, 1)
        )
        racers[f"PyTorch, parallel one-thread processes, {layout}"] = (
            lambda last=layout != "default": theirs(last, -1)
        )
    for _ in range(chosen.rounds if chosen.epochs <= 5 else 1):
        for name, racer in racers.items():
            start = time.perf_counter()
            with redirect_stderr(
                io.StringIO()
            ):  # where trainings report their progress
                racer()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            joblib.externals.loky.get_reusable_executor().shutdown(
                wait=True
            )  # else the next finds them running
    for name in seconds:
        say(f"{name}, 3 x {chosen.epochs} epochs, s", spread(seconds[name]))
    for how, target in (
        (("one after the other", "2.5 or more"), ("parallel one-thread processes", ""))
        if TORCH
        else ()
    ):
        best = min(
            (
                seconds[f"PyTorch, {how}, {layout}"]
                for layout in ("default", "channels_last")
            ),
            key=np.median,
        )
        say_ratio(
            f"PyTorch, {how} / tinyae",
            np.array(best),
            np.array(next(iter(seconds.values()))),
            target,
        )


def multiply_adds(model, N):
    """Those of all matrix products in a training step on N images: forward, weight gradient, input gradient."""
    found, x = [], np.zeros((1, 28, 28, 2), "float32")
    for _, layer in model.leaves():
        y = layer.forward(x)
        if isinstance(layer, (tinyae.Conv2d, tinyae.ConvTranspose2d, tinyae.Linear)):
            small = (
                y if isinstance(layer, tinyae.Conv2d) else x
            )  # the weight acts at each of its positions
            found.append(int(layer.weight.data.size * np.prod(small.shape[1:-1])))
        x = y
    return N * (3 * sum(found) - found[0])  # nothing lies before the first layer


def check_textbook(pixels):
    """The textbook's layers must compute what ours do, or a comparison of times would mean nothing."""
    ours, x = Training(Experiment()), to_range(pixels[:32], (-1, 1))
    theirs = nchw.twin(ours.model)
    loss = nchw.train_step(
        theirs, tinyae.Adam(nchw.parameters(theirs).values(), 0.0), x
    )
    assert abs(loss - ours.train_step(x, x)) < 1e-6
    for name, gradient in ours.model.gradients().items():
        np.testing.assert_allclose(
            nchw.parameters(theirs)[name].grad,
            gradient,
            rtol=0,
            err_msg=name,
            atol=2e-6 + 1e-5 * abs(gradient).max(),
        )


def textbook(data, chosen):
    """Beside a straightforward NCHW im2col in NumPy, and the time of the arithmetic alone."""
    M, repeats = 6_000 if chosen.quick else 24_000, 20
    check_textbook(data.train_images)
    ran = race(
        {
            "NCHW im2col": (nchw_epoch, images(data, M)),
            "tinyae": (tinyae_epoch, images(data, M)),
            "products": (large_products, repeats),
        },
        chosen.rounds,
        chosen.threads,
    )
    rate = repeats * 2048**3 / ran["products"].seconds  # multiply-adds a second
    work = multiply_adds(tinyae.AnelloAutoencoder(), 60_000)
    for name in ("NCHW im2col", "tinyae"):
        say(
            f"{name}, seconds for 60,000 images", spread(ran[name].seconds * 60_000 / M)
        )
    say_ratio("NCHW im2col / tinyae", ran["NCHW im2col"].seconds, ran["tinyae"].seconds)
    say("products of large matrices here, GFLOP/s", spread(2 * rate / 1e9, digits=0))
    say("all products of an epoch, GFLOP", f"{2 * work / 1e9:.1f}")
    say_ratio(
        "tinyae / the arithmetic alone",
        ran["tinyae"].seconds * 60_000 / M,
        work / rate,
        "8 or less, 5 would be remarkable",
    )


def scaling(data, chosen):
    """The cost of an image should not depend on how many there are."""
    few, many = (600, 6_000) if chosen.quick else (6_000, 60_000)
    ran = race(
        {M: (tinyae_epoch, images(data, M)) for M in (few, many)},
        2 * chosen.rounds,
        chosen.threads,
    )
    say_ratio(
        f"cost of one of {many:,} images / one of {few:,}",
        ran[many].seconds / many,
        ran[few].seconds / few,
        "about 1",
    )


def corruptions(data, chosen):
    """Drawing a corruption for a batch, beside a training step on it."""
    pixels = images(data, 25 * 256)
    ran = race(
        {
            "step": (tinyae_epoch, pixels),
            "GaussianNoise": (corruption_epoch, pixels, NOISE),
            "RandomErasing": (corruption_epoch, pixels, ERASING),
        },
        2 * chosen.rounds,
        chosen.threads,
    )
    say("a training step, ms", spread(ran["step"].seconds * 1e3 / 25))
    for name, target in (
        ("GaussianNoise", "below 0.20"),
        ("RandomErasing", "below 0.10"),
    ):
        say(f"{name} for a batch, ms", spread(ran[name].seconds * 1e3 / 25))
        say(
            f"{name} / step",
            spread(ran[name].seconds / ran["step"].seconds) + f"   target: {target}",
        )


def memory(data, chosen):
    """The peak memory of a process that trains, and whether it grows: trainings of two epochs, in one process."""
    folder = "sample" if chosen.quick or not data.complete else None
    for corruption in (None, NOISE):
        runner = race({"": (whole_training, corruption, folder, 2)}, 3, chosen.threads)[
            ""
        ]
        say(
            f"peak, {folder or 'full'} data, {corruption or 'no corruption'}, MB",
            f"{runner.memory[0]:.0f} after 4 epochs, {runner.memory[-1]:.0f} after 8   target: 400 or less, no growth",
        )


def tsne(data, chosen):
    """t-SNE of the test images' codes, as the lessons draw it, in epochs of training."""
    training, pixels = (
        Training(Experiment()),
        images(data, 6_000 if chosen.quick else 60_000),
    )
    training.train_epoch(pixels, 1)
    codes = training.encode(
        to_range(data.test_images[: 1_000 if chosen.quick else None], (-1, 1))
    )
    start = time.perf_counter()
    TSNE(perplexity=30, random_state=307, n_jobs=-1).fit_transform(codes)
    layout = time.perf_counter() - start
    an_epoch = (
        race({"": (tinyae_epoch, pixels)}, 1, chosen.threads)[""].seconds[0]
        * 60_000
        / len(pixels)
    )
    say(f"t-SNE of {len(codes):,} codes, seconds", f"{layout:.1f}")
    say(
        "the same, in epochs of one training (lesson 1 has 60 of them)",
        f"{layout / an_epoch:.1f}",
    )


SECTIONS = {
    section.__name__: section
    for section in (epoch, lesson1, textbook, wide, scaling, corruptions, memory, tsne)
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", help=f"of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer images, fewer rounds"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each comparison is repeated (default: 5; quick: 3)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        help="of lesson 1's work (default: 4; quick: 2; the lesson has 20)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="for NumPy's products and for PyTorch",
    )
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 5)
    chosen.epochs = chosen.epochs or (2 if chosen.quick else 4)
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(
            f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}"
        )
    data = data_tools.load_fashion_mnist()
    print(
        f"NumPy {np.__version__}; {os.cpu_count()} cores, {chosen.threads} threads; images from {data.source}"
        + ("" if data.complete else ", repeated")
    )
    if not TORCH:
        print("PyTorch is not installed: its lines are left out (pip install torch).")
    with threadpool_limits(chosen.threads):
        for name in chosen.sections or SECTIONS:
            load = (
                f" Load before: {os.getloadavg()[0]:.1f}."
                if hasattr(os, "getloadavg")
                else ""
            )
            print(f"\n{name}. {SECTIONS[name].__doc__}{load}")
            SECTIONS[name](data, chosen)


if __name__ == "__main__":
    main()
