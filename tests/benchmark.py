"""How fast tinyae is, beside PyTorch, a textbook's NumPy, and what the machine could do. Measures and asserts no time.

    python tests/benchmark.py                   everything, about a quarter of an hour on two cores
    python tests/benchmark.py --quick           everything once over with fewer images
    python tests/benchmark.py epoch memory      these sections only: epoch, lesson1, textbook, wide, scaling,
                                                corruptions, memory, tsne

What is compared runs in turns, in one process or one after the other, and each line says the median of the rounds, the
lowest and the highest. A ratio is taken within each round, so that a machine busy with something else slows both sides.
Threads: everybody may use the whole machine unless --threads says less.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import joblib
import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

import data_tools
import nchw
import tinyae
from tinyae import sweep
from tinyae.training import Experiment, Training, to_range

try:
    import torch
    import torch_training
except ImportError:
    torch = None


def race(functions, rounds):
    """{name: function}, called in turns, another first in each round -> {name: seconds (rounds,)}."""
    seconds, order = {name: [] for name in functions}, list(functions)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
        order = order[1:] + order[:1]
    return {name: np.array(s) for name, s in seconds.items()}


def spread(values, unit="", digits=2):
    """The median, the lowest and the highest, as text."""
    middle, low, high = (f"{value:.{digits}f}" for value in (np.median(values), np.min(values), np.max(values)))
    return f"{middle}{unit} ({low} to {high})"


def say(name, text):
    print(f"  {name:<58} {text}", flush=True)


def ratio(name, slow, fast, target=""):
    say(name, spread(slow / fast, "x") + (f"   target: {target}" if target else ""))


def no_torch():
    if not torch:
        say("PyTorch", "is not installed: left out (pip install torch)")
    return not torch


def images(data, M):
    return np.resize(data.train_images, (M, 28, 28))


def tinyae_epoch(pixels, width=8):
    """A function that trains a new model, one epoch further with each call."""
    training = Training(Experiment())
    if width != 8:
        training.model = tinyae.AnelloAutoencoder(4, width=width, seed=1)
        training.optimizer = tinyae.Adam(training.model.parameters(), lr=1e-3, weight_decay=1e-5)
    epochs = iter(range(1, 1000))
    return lambda: float(np.mean(training.train_epoch(pixels, next(epochs))))


def torch_epochs(pixels, width=8):
    """The same in PyTorch, {which: function}."""
    tensor = torch.tensor(pixels)
    ways = {"default layout": {}, "channels_last": {"channels_last": True},
            "channels_last, fused Adam": {"channels_last": True, "fused": True}}
    makers = {f"PyTorch, {name}": torch_training.Training(Experiment(), width, **how) for name, how in ways.items()}
    return {name: (lambda training=training: training.train_epoch(tensor)) for name, training in makers.items()}


def best(times):
    """Round by round, PyTorch's better layout: the one with the lower median, with its usual Adam."""
    return min((s for name, s in times.items() if name.startswith("PyTorch") and "fused" not in name), key=np.median)


# -- The sections --

def epoch(data, chosen, width=8, M=60_000, target="2 or more"):
    """One epoch, everything included: shuffling, normalising, forward, loss, backward, Adam."""
    M = M // 10 if chosen.quick else M
    racers = {"tinyae": tinyae_epoch(images(data, M), width)}
    if not no_torch():
        racers |= torch_epochs(images(data, M), width)
    for function in racers.values():
        function()  # the first call of everything is slower
    times = race(racers, chosen.rounds)
    for name, seconds in times.items():
        say(f"{name}, seconds for 60,000 images", spread(seconds * 60_000 / M) + ("" if M == 60_000 else f", from {M:,}"))
    if torch:
        ratio("PyTorch eager (its better layout) / tinyae", best(times), times["tinyae"], target)


def wide(data, chosen):
    """A model four times as wide: 32, 64, 128 channels."""
    epoch(data, chosen, width=32, M=12_000, target="1 or more")


def lesson1(data, chosen):
    """Lesson 1's work: three trainings with tests after every epoch, processes' start included."""
    corruptions = {"Normal": None, "Gaussian": data_tools.GaussianNoise(1.0), "Erasing": data_tools.RandomErasing()}
    work = {name: Experiment(corruption=c, epochs=chosen.epochs) for name, c in corruptions.items()}
    train, test = images(data, 6_000 if chosen.quick else 60_000), data.test_images[:1_000 if chosen.quick else None]
    forget = lambda: joblib.externals.loky.get_reusable_executor().shutdown(wait=True)  # else round 2 finds them running

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            list(sweep.train_all(work, train, test, folder, "benchmark"))
        forget()

    def theirs(channels_last, n_jobs):
        threads = 1 if n_jobs > 1 else torch.get_num_threads()
        joblib.Parallel(n_jobs)(joblib.delayed(torch_training.run)(e, train, test, threads, channels_last)
                                for e in work.values())
        if n_jobs > 1:
            forget()

    racers, cores = {"tinyae, parallel processes": ours}, min(3, os.cpu_count())
    if not no_torch():
        for layout in (False, True):
            name = "channels_last" if layout else "default layout"
            racers[f"PyTorch, one after the other, {name}"] = lambda layout=layout: theirs(layout, 1)
            racers[f"PyTorch, parallel processes, {name}"] = lambda layout=layout: theirs(layout, cores)
    times = race(racers, 1 if chosen.epochs > 3 else min(3, chosen.rounds))
    for name, seconds in times.items():
        say(f"{name}, 3 x {chosen.epochs} epochs, seconds", spread(seconds))
    for how, target in (("one after the other", "2.5 or more"), ("parallel processes", "")) if torch else ():
        some = {name: seconds for name, seconds in times.items() if how in name}
        ratio(f"PyTorch, {how} / tinyae", best(some), times["tinyae, parallel processes"], target)


def multiply_adds(model, N):
    """Those of all matrix products in a training step on N images: forward, weight gradient, input gradient."""
    found = []
    x = np.zeros((1, 28, 28, 2), "float32")
    for _, layer in nchw.leaves(model):
        y = layer.forward(x)
        if hasattr(layer, "weight") and layer.weight.data.ndim > 1:
            positions = np.prod((y if isinstance(layer, tinyae.Conv2d) else x).shape[1:-1])
            found.append(int(layer.weight.data.size * positions))
        x = y
    return N * (3 * sum(found) - found[0])  # nothing lies before the first layer


def check_textbook(pixels):
    """The textbook's layers must compute what ours do, or a comparison of times would mean nothing."""
    ours, x = Training(Experiment()), to_range(pixels[:32], (-1, 1))
    theirs = nchw.twin(ours.model)
    loss = nchw.train_step(theirs, tinyae.Adam(nchw.parameters(theirs).values(), 0.0), x)
    assert abs(loss - ours.train_step(x, x)) < 1e-6
    for name, gradient in ours.model.gradients().items():
        np.testing.assert_allclose(nchw.parameters(theirs)[name].grad, gradient, rtol=0, err_msg=name,
                                   atol=2e-6 + 1e-5 * abs(gradient).max())


def textbook(data, chosen):
    """A straightforward NCHW im2col in NumPy, and the time of the arithmetic alone."""
    M = 6_000 if chosen.quick else 24_000
    pixels, rng = images(data, M), np.random.default_rng(1)
    check_textbook(pixels)
    layers = nchw.twin(tinyae.AnelloAutoencoder(4, seed=1))
    adam = tinyae.Adam(nchw.parameters(layers).values(), 1e-3, weight_decay=1e-5)

    def textbook_epoch():
        order = rng.permutation(M)
        for i in range(0, M, 256):
            nchw.train_step(layers, adam, to_range(pixels[order[i:i + 256]], (-1, 1)))

    square, repeats = rng.standard_normal((2, 2048, 2048), dtype="float32"), 10
    racers = {"tinyae": tinyae_epoch(pixels), "NCHW": textbook_epoch,
              "products": lambda: [square[0] @ square[1] for _ in range(repeats)]}
    for function in racers.values():
        function()
    times = race(racers, chosen.rounds)
    rate = repeats * 2048**3 / times["products"]  # multiply-adds a second
    work = multiply_adds(tinyae.AnelloAutoencoder(), 60_000)
    say("NCHW im2col, seconds for 60,000 images", spread(times["NCHW"] * 60_000 / M))
    say("tinyae, seconds for 60,000 images", spread(times["tinyae"] * 60_000 / M))
    ratio("NCHW im2col / tinyae", times["NCHW"], times["tinyae"])
    say("this machine's products of large matrices, GFLOP/s", spread(2 * rate / 1e9, digits=0))
    say("products of an epoch, GFLOP", f"{2 * work / 1e9:.1f}")
    ratio("tinyae / the arithmetic alone", times["tinyae"] * 60_000 / M, work / rate, "8 or less, 5 would be remarkable")


def scaling(data, chosen):
    """The cost of an image should not depend on how many there are."""
    few, many = (600, 6_000) if chosen.quick else (6_000, 60_000)
    small, large = tinyae_epoch(images(data, few)), tinyae_epoch(images(data, many))
    small()
    times = race({"few": lambda: [small() for _ in range(many // few)], "many": large}, chosen.rounds)
    ratio(f"cost of an image, {many:,} / {few:,} images", times["many"], times["few"], "about 1")


def corruptions(data, chosen):
    """Drawing a corruption for a batch, beside a training step on it."""
    training, batch = Training(Experiment()), to_range(images(data, 256), (-1, 1))
    rng, noise, erasing = np.random.default_rng(1), data_tools.GaussianNoise(1.0), data_tools.RandomErasing()
    x = next(training.train_batches(images(data, 256), 1))[0]
    racers = {"step": lambda: training.train_step(x, x), "noise": lambda: noise(batch, rng),
              "erasing": lambda: erasing(batch, rng)}
    repeat = {name: (lambda function=function: [function() for _ in range(10)]) for name, function in racers.items()}
    times = race(repeat, 1 + 5 * chosen.rounds)
    times = {name: seconds[1:] / 10 for name, seconds in times.items()}
    say("a training step, ms", spread(1e3 * times["step"]))
    for name, target in (("noise", "below 0.20"), ("erasing", "below 0.10")):
        say(f"{name} for a batch, ms", spread(1e3 * times[name]))
        say(f"{name} / step", spread(times[name] / times["step"]) + f"   target: {target}")


CHILD = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import data_tools
from tinyae.training import Experiment, Training

def peak(_):
    status = Path("/proc/self/status")  # getrusage would count what this process was before it became Python
    kilobytes = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line] if status.exists() else []
    print(*kilobytes or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss], flush=True)

data = data_tools.load_sample() if sys.argv[2] == "sample" else data_tools.load_fashion_mnist()
experiment = Experiment(corruption=data_tools.GaussianNoise(1.0), epochs=int(sys.argv[3]))
Training(experiment).run(data.train_images, data.test_images, on_epoch=peak)
"""


def memory(data, chosen):
    """The peak memory of a process that reads the data and trains, after each epoch."""
    arguments = ["full" if data.complete and not chosen.quick else "sample", "3" if chosen.quick else "6"]
    done = subprocess.run([sys.executable, "-c", CHILD, str(ROOT), *arguments], capture_output=True, text=True, check=True)
    peaks = [int(line) * 1024 / 1e6 for line in done.stdout.split()]
    say(f"peak memory of a training ({arguments[0]} data), MB", f"{peaks[-1]:.0f}   target: 400 or less")
    say("after epochs 1, 2, ...", ", ".join(f"{peak:.0f}" for peak in peaks))


def tsne(data, chosen):
    """t-SNE of the test images' codes, as the lessons draw it, in epochs of training."""
    training, pixels = Training(Experiment()), images(data, 6_000 if chosen.quick else 60_000)
    start = time.perf_counter()
    training.train_epoch(pixels, 1)
    an_epoch = (time.perf_counter() - start) * 60_000 / len(pixels)
    codes = training.encode(to_range(data.test_images[:1_000 if chosen.quick else None], (-1, 1)))
    seconds = race({"t-SNE": lambda: TSNE(perplexity=30, random_state=307, n_jobs=-1).fit_transform(codes)}, 1)["t-SNE"][0]
    say(f"t-SNE of {len(codes):,} codes, seconds", f"{seconds:.1f}")
    say("the same, in epochs of one training (lesson 1 has 60)", f"{seconds / an_epoch:.1f}")


SECTIONS = {function.__name__: function for function in (
    epoch, lesson1, textbook, wide, scaling, corruptions, memory, tsne)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer images, fewer rounds")
    parser.add_argument("--rounds", type=int, help="how often each comparison is repeated (default: 5; quick: 3)")
    parser.add_argument("--epochs", type=int, help="epochs in lesson 1's work (default: 3; quick: 1; the lesson has 20)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for NumPy's products and for PyTorch")
    chosen = parser.parse_args()
    chosen.rounds, chosen.epochs = chosen.rounds or (3 if chosen.quick else 5), chosen.epochs or (1 if chosen.quick else 3)
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    try:
        data = data_tools.load_fashion_mnist()
        source = f"Fashion-MNIST from {data.source}"
    except data_tools.DataError:
        rng = np.random.default_rng(1)
        data = data_tools.load_sample()
        source = "the embedded sample, repeated: the full Fashion-MNIST was not found"
    print(f"NumPy {np.__version__}, {f'PyTorch {torch.__version__}' if torch else 'no PyTorch'}, {os.cpu_count()} cores, "
          f"{chosen.threads} threads, load {os.getloadavg()[0]:.1f} at the start. Images: {source}.")
    with threadpool_limits(chosen.threads):
        if torch:
            torch.set_num_threads(chosen.threads)
        for name in chosen.sections or SECTIONS:
            print(f"\n{name}. {SECTIONS[name].__doc__}")
            SECTIONS[name](data, chosen)


if __name__ == "__main__":
    main()
