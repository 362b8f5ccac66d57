"""How fast tinyae is, beside PyTorch and a textbook's NumPy. Prints; asserts nothing.

    python tests/benchmarks/benchmark.py            everything, about half an hour
    python tests/benchmarks/benchmark.py --quick    a few minutes, with fewer images
    python tests/benchmarks/benchmark.py epoch      one section: epoch, wide, textbook
                                                    or lesson1

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
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lessons"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import joblib
import nchw
import numpy as np
import sweep

import data_tools
from tinyae import Adam, AnelloAutoencoder
from tinyae.experiment import Experiment, to_range
from tinyae.training import Training

TORCH = find_spec("torch") is not None
CORES = joblib.cpu_count()
EPOCHS = 4  # of lesson 1's work


def random_pixels(M):
    """Return images (M, 28, 28), uint8: what is in them does not change the speed."""
    return np.random.default_rng(1).integers(0, 256, (M, 28, 28), dtype="uint8")


# Each of these returns a function that trains one epoch


def tinyae_epoch(M, width=8):
    training = Training(Experiment(model=partial(AnelloAutoencoder, width=width)))
    return partial(training.train_epoch, random_pixels(M), epoch=1)


def torch_epoch(M, layout, width=8):
    import torch
    import torch_training

    torch.set_num_threads(CORES)
    experiment = Experiment(model=partial(AnelloAutoencoder, width=width))
    training = torch_training.Training(experiment, layout)
    return partial(training.train_epoch, torch.tensor(random_pixels(M)))


def nchw_epoch(M):
    layers = nchw.twin(AnelloAutoencoder(seed=1))
    adam = Adam(list(nchw.parameters(layers).values()), weight_decay=1e-5)
    order = np.random.default_rng(1).permutation(M)
    pixels = random_pixels(M)

    def epoch():
        for start in range(0, M, 256):
            chosen = order[start : start + 256]
            nchw.train_step(layers, adam, to_range(pixels[chosen], (-1, 1)))

    return epoch


def serve(pipe, make, arguments):
    """In a process of its own: run the function once for each message."""
    function = make(*arguments)
    function()  # the first call is slower
    pipe.send(None)
    while pipe.recv():
        start = time.perf_counter()
        function()
        pipe.send(time.perf_counter() - start)


def race(makers, rounds):
    """Run {name: (make, *arguments)} in turns; return {name: seconds of each round}."""
    context = multiprocessing.get_context("spawn")
    pipes, seconds = {}, {name: [] for name in makers}
    for name, (make, *arguments) in makers.items():
        pipes[name], theirs = context.Pipe()
        work = (theirs, make, arguments)
        context.Process(target=serve, args=work, daemon=True).start()
        pipes[name].recv()
    for _ in range(rounds):
        for name, pipe in pipes.items():
            time.sleep(0.2)  # the threads of the one before may still wait for work
            pipe.send(True)
            seconds[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return seconds


def spread(values):
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def show(seconds, scale=1):
    """Print the seconds of each, and the ratio of each to the first, tinyae."""
    first, *others = seconds
    for name, found in seconds.items():
        print(f"  {name + ', seconds':<58} {spread(np.multiply(found, scale))}")
    for name in others:
        ratios = np.divide(seconds[name], seconds[first])
        print(f"  {f'{name} / {first}':<58} {spread(ratios)}", flush=True)


# The sections


def epoch(args, width=8, M=60_000):
    """Train one epoch of 60,000 images in one process that may use all cores."""
    M = M // 10 if args.quick else M
    makers = {"tinyae": (tinyae_epoch, M, width)}
    for layout in ("", ", channels_last") if TORCH else ():
        makers[f"PyTorch{layout}"] = (torch_epoch, M, layout, width)
    show(race(makers, args.rounds), 60_000 / M)


def wide(args):
    """Do the same with four times as many channels: 32, 64, 128."""
    epoch(args, width=32, M=12_000)


def textbook(args):
    """Train one epoch beside a straightforward im2col with the batch first."""
    M = 6_000 if args.quick else 24_000
    makers = {"tinyae": (tinyae_epoch, M), "textbook": (nchw_epoch, M)}
    show(race(makers, args.rounds), 60_000 / M)


def lesson1(args):
    """Do lesson 1's work: three trainings of 4 epochs, with tests and all starts."""
    data = data_tools.load_fashion_mnist("sample" if args.quick else None)
    images = data.train_images, data.test_images
    noises = None, data_tools.GaussianNoise(1.0), data_tools.RandomErasing()
    work = {str(c): Experiment(corruption=c, epochs=EPOCHS) for c in noises}

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            list(sweep.train_all(work, images, folder=Path(folder)))

    def theirs(layout, n_jobs):
        import torch_training

        one = joblib.delayed(torch_training.run)
        threads = CORES // n_jobs
        jobs = [one(e, *images, threads, layout) for e in work.values()]
        joblib.Parallel(n_jobs)(jobs)

    runs = {"tinyae": ours}
    for layout in ("", ", channels_last") if TORCH else ():
        runs[f"PyTorch{layout}, one by one"] = partial(theirs, layout, 1)
        runs[f"PyTorch{layout}, in parallel"] = partial(theirs, layout, CORES)
    seconds = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
            joblib.externals.loky.get_reusable_executor().shutdown()
    show(seconds)


SECTIONS = {section.__name__: section for section in (epoch, wide, textbook, lesson1)}


def main():
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    add = parser.add_argument
    add("sections", nargs="*", default=list(SECTIONS), help="default: all")
    add("--quick", action="store_true", help="fewer images")
    add("--rounds", type=int, default=5, help="how often each competitor runs")
    args = parser.parse_args()
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"got {name!r}, expected one of {', '.join(SECTIONS)}")
    print(f"NumPy {np.__version__}, {CORES} cores")
    for name in args.sections:
        print(f"\n{name}: {SECTIONS[name].__doc__}")
        SECTIONS[name](args)


if __name__ == "__main__":
    main()
