"""How fast tinyae trains, beside PyTorch (eager). Prints; asserts nothing.

    python tests/benchmarks/benchmark.py            everything, about half an hour
    python tests/benchmarks/benchmark.py --quick    a few minutes, with fewer images
    python tests/benchmarks/benchmark.py epoch      one section: epoch, wide or three

Competitors run in turns, each in a process of its own, and a ratio is taken within each
round. Each line shows the median of the rounds, the lowest and the highest. Without
PyTorch its lines are left out. The machine should do nothing else: where threads wait
for each other, a busy core slows everything down. `taskset -c 1` compares on one core.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lessons"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import joblib
import numpy as np
import sweep

import data_tools
from tinyae import AnelloAutoencoder
from tinyae.experiment import Experiment
from tinyae.training import Training

LAYOUTS = ("", ", channels_last") if find_spec("torch") else ()
CORES = joblib.cpu_count()
EPOCHS = 4  # of each of the three trainings


def random_pixels(M):
    """Return images (M, 28, 28), uint8: what is in them does not change the speed."""
    return np.random.default_rng(1).integers(0, 256, (M, 28, 28), dtype="uint8")


# Each of these returns a function that trains one epoch


def tinyae_epoch(M, model):
    return partial(Training(Experiment(model=model)).train_epoch, random_pixels(M), 1)


def torch_epoch(M, model, layout):
    import torch
    import torch_training

    torch.set_num_threads(CORES)
    training = torch_training.Training(model(), layout)
    return partial(training.epoch, torch.tensor(random_pixels(M)))


mine = {}  # in a competitor's own process: its function


def prepare(make, *arguments):
    mine["epoch"] = make(*arguments)
    mine["epoch"]()  # the first call is slower


def timed(function=None):
    start = time.perf_counter()
    (function or mine["epoch"])()
    return time.perf_counter() - start


def in_process(pool):
    return pool.submit(timed).result()


def race(runs, rounds, scale=1):
    """Call each {name: function that returns seconds} in turns; print the ratios."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(0.2)  # the threads of the one before may still wait for work
            seconds[name].append(scale * run())
    first, *others = seconds
    for name, found in seconds.items():
        print(f"  {name + ', seconds':<58} {spread(found)}")
    for name in others:
        ratios = np.divide(seconds[name], seconds[first])
        print(f"  {f'{name} / {first}':<58} {spread(ratios)}", flush=True)


def spread(values):
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


# The sections


def epoch(args, width=8, M=60_000):
    """Train one epoch of 60,000 images in one process that may use all cores."""
    M = M // 10 if args.quick else M
    model = partial(AnelloAutoencoder, width=width)
    makers = {"tinyae": (tinyae_epoch, M, model)}
    makers |= {f"PyTorch{s}": (torch_epoch, M, model, s) for s in LAYOUTS}
    spawn = multiprocessing.get_context("spawn")
    pools = {n: ProcessPoolExecutor(1, spawn, prepare, m) for n, m in makers.items()}
    runs = {name: partial(in_process, pool) for name, pool in pools.items()}
    for run in runs.values():
        run()  # starts the process
    race(runs, args.rounds, 60_000 / M)


def wide(args):
    """Do the same with four times as many channels: 32, 64, 128."""
    epoch(args, width=32, M=12_000)


def three(args):
    """Three trainings of 4 epochs (clean, two noises), with tests and all starts."""
    data = data_tools.load_fashion_mnist("sample" if args.quick else None)
    images = data.train_images, data.test_images
    work = {"clean": Experiment(epochs=EPOCHS)}
    for sigma in (0.5, 1.0):
        noise = data_tools.GaussianNoise(sigma)
        work[str(sigma)] = Experiment(corruption=noise, epochs=EPOCHS)

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            list(sweep.train_all(work, images, folder=Path(folder)))

    def theirs(layout, n_jobs):
        import torch_training

        one = joblib.delayed(torch_training.run)
        how = EPOCHS, images, CORES // n_jobs, layout
        jobs = [one(AnelloAutoencoder(), sigma, *how) for sigma in (0, 0.5, 1.0)]
        joblib.Parallel(n_jobs)(jobs)

    def with_start(run):
        joblib.externals.loky.get_reusable_executor().shutdown()
        return timed(run)

    runs = {"tinyae": partial(with_start, ours)}
    for layout in LAYOUTS:
        for how, n_jobs in {"one by one": 1, "in parallel": CORES}.items():
            run = partial(theirs, layout, n_jobs)
            runs[f"PyTorch{layout}, {how}"] = partial(with_start, run)
    race(runs, args.rounds)


SECTIONS = {section.__name__: section for section in (epoch, wide, three)}


def main():
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    add = parser.add_argument
    add("sections", nargs="*", default=list(SECTIONS), help="default: all")
    add("--quick", action="store_true", help="fewer images")
    add("--rounds", type=int, default=5, help="how often each competitor runs")
    args = parser.parse_args()
    print(f"NumPy {np.__version__}, {CORES} cores")
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"got {name!r}, expected one of {', '.join(SECTIONS)}")
        print(f"\n{name}: {SECTIONS[name].__doc__}", flush=True)
        SECTIONS[name](args)


if __name__ == "__main__":
    main()
