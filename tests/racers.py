"""What the benchmark races, and how: each in a process of its own, run in turns, so that nobody's threads or memory help
or hinder the others.
"""

import multiprocessing
import tempfile
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import nchw
import numpy as np
from board import Group, new_board
from sweep import huge_pages
from threadpoolctl import threadpool_limits

import data_tools
import tinyae
from tinyae.training import Experiment, Training, to_range


def peak_memory():
    """This process's peak memory in MB."""
    try:  # getrusage would count what the process was before it became Python
        with open("/proc/self/status") as file:
            return next(
                int(line.split()[1]) * 1024 / 1e6 for line in file if "VmHWM" in line
            )
    except OSError:  # not Linux
        import resource

        return (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        )  # macOS counts bytes


def faults():
    """How often this process was handed a page of memory, so far."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    except ImportError:  # Windows
        return 0


def _pack(arguments, start):
    """Arrays among the arguments go through files, named from `start` on: received through a pipe, they would leave a
    process's memory in a state in which freed arrays are kept for reuse, and PyTorch a fifth faster than in a script.
    """
    packed = list(arguments)
    for i, a in enumerate(packed):
        if isinstance(a, np.ndarray):
            packed[i] = Path(f"{start}-{i}.npy")
            np.save(packed[i], a)
    return packed


def _unpack(arguments):
    return [
        np.array(np.load(a, mmap_mode="r")) if isinstance(a, Path) else a
        for a in arguments
    ]


def _more(pipe):
    """Whether another run is asked for; not if who asks is gone."""
    try:
        return pipe.recv()
    except EOFError:
        return False


def _serve(pipe, make, arguments, threads):
    with threadpool_limits(threads):
        function = make(*_unpack(arguments))
        function()  # the first call of everything is slower
        pipe.send(None)
        while _more(pipe):
            before, start, spent = faults(), time.perf_counter(), time.process_time()
            function()
            pipe.send(
                (
                    time.perf_counter() - start,
                    time.process_time() - spent,
                    faults() - before,
                    peak_memory(),
                )
            )


class Runner:
    """`make(*arguments)` gives a function without arguments; run() runs it, in the runner's process.

    seconds, cpu, faults, memory: of every run, the wall clock, the processor's time, the page faults, the peak in MB.
    """

    def __init__(self, make, *arguments, threads, huge=True):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, make, arguments, threads)
        )
        with huge_pages() if huge else nullcontext():
            self.process.start()
        theirs.close()
        self.runs = []

    def run(self):
        time.sleep(
            0.1
        )  # threads of the one before may still be spinning, in hope of more work
        self.pipe.send(True)
        self.runs.append(self.pipe.recv())

    def __enter__(self):
        self.pipe.recv()  # ready
        return self

    def __exit__(self, *_):
        self.pipe.send(False)
        self.process.join()
        self.seconds, self.cpu, self.faults, self.memory = map(
            np.array, zip(*self.runs)
        )


def race(makers, rounds, threads, plain=()):
    """makers: {name: (make, *arguments)}; run in turns, another first in each round -> {name: Runner}. All have their memory
    as the sweep's workers have it, but those whose names are in `plain`.
    """
    runners, order = {}, list(makers)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for number, (name, (make, *arguments)) in enumerate(
            makers.items()
        ):  # in turns: starting takes time as well
            packed = _pack(arguments, f"{folder}/{number}")
            runners[name] = stack.enter_context(
                Runner(make, *packed, threads=threads, huge=name not in plain)
            )
        for _ in range(rounds):
            for name in order:
                runners[name].run()
            order = order[1:] + order[:1]
    return runners


# -- What is raced: each makes, in its own process, a function without arguments --


def tinyae_epoch(pixels, width=8, corruption=None, member=None):
    training = Training(Experiment(corruption=corruption))
    if width != 8:
        training.model = tinyae.AnelloAutoencoder(4, width=width, seed=1)
        training.optimizer = tinyae.Adam(
            training.model.parameters(), lr=1e-3, weight_decay=1e-5
        )
    if member:
        rank, _, folder = member
        training.join(Group(rank, f"{folder}/board"))
    epochs = iter(range(1, 1000))
    return lambda: float(np.mean(training.train_epoch(pixels, next(epochs))))


def torch_epoch(pixels, width, how, threads, keep_memory=False, member=None):
    if keep_memory:  # see lessons/04_speed.py
        np.empty((32 << 20) - (1 << 16), "uint8")
        [np.empty(28 << 20, "uint8") for _ in range(2)]
    import torch
    import torch_training

    torch.set_num_threads(threads)
    training, pixels = (
        torch_training.Training(Experiment(), width, **how),
        torch.tensor(pixels),
    )
    if member:
        training.join(*member)
    return lambda: training.train_epoch(pixels)


def _help(pipe, make, arguments, member):
    """The epochs of another member: each begins when it is told so, or a member that waits would keep a core busy."""
    with threadpool_limits(1):
        function = make(*_unpack(arguments), member=member)
        while _more(pipe):
            function()


def group_epoch(make, size, *arguments):
    """make(*arguments), with the work on every batch shared by `size` processes, one thread each."""
    threadpool_limits(1)
    folder, context, pipes = (
        tempfile.TemporaryDirectory(),
        multiprocessing.get_context("spawn"),
        [],
    )
    new_board(size, f"{folder.name}/board")
    packed = _pack(arguments, f"{folder.name}/")
    for rank in range(1, size):
        ours, theirs = context.Pipe()
        member = rank, size, folder.name
        context.Process(
            target=_help, args=(theirs, make, packed, member), daemon=True
        ).start()
        pipes.append(ours)
    own = make(*arguments, member=(0, size, folder.name))

    def epoch(folder=folder):  # which is there as long as this is
        for pipe in pipes:
            pipe.send(True)
        own()

    return epoch


def nchw_epoch(pixels):
    layers, rng = (
        nchw.twin(tinyae.AnelloAutoencoder(4, seed=1)),
        np.random.default_rng(1),
    )
    adam = tinyae.Adam(nchw.parameters(layers).values(), 1e-3, weight_decay=1e-5)

    def epoch():
        order = rng.permutation(len(pixels))
        for i in range(0, len(pixels), 256):
            nchw.train_step(layers, adam, to_range(pixels[order[i : i + 256]], (-1, 1)))

    return epoch


def large_products(repeats):
    a, b = np.random.default_rng(1).standard_normal((2, 2048, 2048), dtype="float32")
    return lambda: [a @ b for _ in range(repeats)]


def corruption_epoch(pixels, corruption):
    batch, rng = to_range(pixels[:256], (-1, 1)), np.random.default_rng(1)
    return lambda: [corruption(batch, rng) for _ in range(0, len(pixels), 256)]


def whole_training(corruption, folder, epochs):
    data = data_tools.load_fashion_mnist(folder)
    return lambda: Training(Experiment(corruption=corruption, epochs=epochs)).run(
        data.train_images, data.test_images
    )
