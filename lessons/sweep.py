"""Train many experiments on all cores, save every epoch, train nothing twice."""

import os
import re
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import data_tools
import tinyae
from tinyae import checkpoint
from tinyae.diagnosis import first_nonfinite
from tinyae.training import Training, TrainingDiverged

RESULTS = Path(__file__).parent.parent / "results"
CACHE = Path(os.environ.get("TINYAE_CACHE") or RESULTS).expanduser()
CACHE.mkdir(parents=True, exist_ok=True)
# For the workers: memory in pages of 2 MB, where Linux offers them, saves 6% of a step.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# Without this a file signal.py in the working folder would take the library's place.
os.environ.setdefault("PYTHONSAFEPATH", "1")
# Workers that common.end() stops leave semaphores, which joblib removes and reports.
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
# Whoever stops a sweep early needs no advice about the tasks that it leaves.
warnings.filterwarnings("ignore", "[0-9]+ tasks ")
tqdm.monitor_interval = 0  # no thread: a browser has none

# Keeps on disk what a function of arrays returned, for the same code and arrays.
remember = joblib.Memory(CACHE, verbose=0).cache


class SweepError(RuntimeError):
    """Two processes of a sweep compute different things."""


# What a training is


def source_hash():
    """Return a hash of all source of tinyae and data_tools, so that changes count."""
    folders = [Path(package.__file__).parent for package in (tinyae, data_tools)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return joblib.hash([file.read_bytes() for file in files])


SOURCE = source_hash()  # of what this process has imported


# A hash of what decides how NumPy rounds here: its build, the processor.
ROUNDING = joblib.hash(np.show_config(mode="dicts"))


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # as in Training.run
def first_step(experiment, images):
    """Return what a training's first step computes, and where, as {name: array}.

    The numbers are the losses and the norm of each weight. By then the corruption, the
    model, the loss and the optimiser have run, wherever they are written. (A change
    that acts only in later steps is not seen.) Raises as Training.check_parts does.
    """
    training = Training(experiment)
    train, test = map(training.backend.from_numpy, images)
    test = test[: experiment.batch_size, ...]
    training.check_parts(train)
    with threadpool_limits(1):  # as in each worker
        loss = training.train_step(*next(training.train_batches(train, epoch=1)))
        numbers = [float(loss), training.test_epoch(test, epoch=1)]
    numbers += [np.linalg.norm(a) for a in training.model.state_dict().values()]
    return {"first_step": np.array(numbers), "rounding": ROUNDING, "source": SOURCE}


def same_step(a, b, backend):
    """Return whether two first steps are one training's.

    On the same machine they must be equal, elsewhere they may round differently.
    """
    if a.get("source") != b["source"]:
        return False
    exact = backend == "numpy" and a["rounding"] == b["rounding"]
    x, y = a["first_step"], b["first_step"]
    return len(x) == len(y) and np.allclose(
        x, y, rtol=0 if exact else 1e-4, atol=0, equal_nan=True
    )


_checked = set()  # what this process need not check again


def check_process(name, experiment, images, first):
    """Raise SweepError if this process computes something else than the parent."""
    key = name, first["first_step"].tobytes()
    if key in _checked:
        return
    if not same_step(first_step(experiment, images), first, experiment.backend):
        raise SweepError(
            f"{name}: a worker process computes something else than this one. Was "
            "tinyae, a module or a value in a module changed after it was imported? "
            "Restart Python, and pass values as arguments."
        )
    _checked.add(key)


def checkpoint_path(name, experiment, images_hash, folder):
    """Return the file of a training: another one for other settings or images."""
    settings = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(experiment))
    key = joblib.hash((images_hash, SOURCE, str(name), settings))
    name = re.sub(r"[^A-Za-z0-9.=]+", "-", str(name))[:100]
    return Path(folder) / f"{name}-{key}.checkpoint"


def begin(name, experiment, images, saved):
    """Return (Training, first step): what is saved, or a new one.

    saved: a state with its first step, or None. The first step is {} if each run gives
    other numbers.
    """
    first = first_step(experiment, images)
    if saved:
        try:
            return kept(name, experiment, saved, first), first
        except (KeyError, ValueError, TypeError) as error:
            print(f"{name}: {error}; starting over.")
    if not same_step(first, first_step(experiment, images), experiment.backend):
        print(
            f"{name}: each run gives other numbers, so it cannot be continued. Does "
            "something draw from np.random? Use the rng that a corruption is given."
        )
        first = {}
    return Training(experiment), first


def kept(name, experiment, saved, first):
    """Return the Training that is saved; raise ValueError if it is another one."""
    if not same_step(saved, first, experiment.backend):
        raise ValueError("what is saved comes from other code or random numbers")
    training = Training(experiment).restore(saved)
    if saved["rounding"] != first["rounding"]:
        print(f"{name}: begun on another machine or NumPy; continues, not bit for bit.")
    return training


# Processes


def _prepare_worker(parent):
    """Let a process that joblib starts ignore Ctrl-C and end with its parent.

    parent: its process id. The parent may have been killed before this runs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    def watch():  # without this it would wait, in some cases forever
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _job(name, function, arguments):
    """Return name and function(*arguments), computed with one BLAS thread."""
    with threadpool_limits(1):
        return name, function(*arguments)


def _pool(n_jobs, **how):
    """Return joblib's processes."""
    if n_jobs > 1:  # in a browser there are no processes, and joblib may be older
        how |= {"initializer": _prepare_worker, "initargs": [os.getpid()]}
    return joblib.Parallel(n_jobs, return_as="generator_unordered", batch_size=1, **how)


def _start(pool, function, jobs):
    """Start {name: arguments} in a _pool; it yields (name, result) as each is done."""
    jobs = [joblib.delayed(_job)(name, function, jobs[name]) for name in jobs]
    if pool.n_jobs == 1 or os.name == "nt":  # Windows has no signal masks
        return pool(jobs)
    from multiprocessing import resource_tracker  # a browser has none

    resource_tracker.ensure_running()  # as it starts, it would unblock SIGINT
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool(jobs)  # processes that start now inherit the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _one_epoch(name, experiment, state, images, first):
    """Return the state one epoch later."""
    if first:
        check_process(name, experiment, images, first)

    def start():
        training = Training(experiment)
        return training.restore(state) if state else training

    try:
        return start().run(*images, epochs=1).state()
    except TrainingDiverged as error:
        where = first_nonfinite(start(), images[0])
        raise TrainingDiverged(f"{name}: {error} {where}") from error


def progress(total, unit):
    """Return a progress bar; without a terminal it updates every ten seconds."""
    shown = total and sys.stderr
    pause = 0.1 if shown and shown.isatty() else 10
    return tqdm(total=total, unit=unit, mininterval=pause, disable=not shown)


def train_all(
    experiments,
    images,
    folder=CACHE / "trainings",
    n_jobs=-1,
    fresh=False,
    after_epoch=None,
):
    """Train {name: Experiment}; yield (name, Training) as each is done.

    images: (train_images, test_images), uint8. Lazy: training proceeds only while the
    caller iterates. Every epoch is saved in `folder`, so the sweep may be stopped at
    any time and continues from there. Neither that nor n_jobs, the number of processes,
    changes a bit of the result. Inside joblib.parallel_config(backend="dask") the
    epochs run on that cluster. fresh: train again what is saved. after_epoch: called
    with (name, training) after each epoch, in this process.

    A training is known by its name, its settings, the images, the source of tinyae and
    data_tools, and the numbers of its first step. Raises SweepError if a process gets
    others.
    """
    images_hash = joblib.hash(images)
    paths, trainings, first = {}, {}, {}
    for name, experiment in experiments.items():
        paths[name] = checkpoint_path(name, experiment, images_hash, folder)
        saved = None if fresh else checkpoint.load_or_none(paths[name])
        trainings[name], first[name] = begin(name, experiment, images, saved)

    def left(name):
        return experiments[name].epochs - len(trainings[name].history)

    pending = [name for name in experiments if left(name)]
    if any(experiments[name].backend != "numpy" for name in pending):
        n_jobs = 1  # there is one device
    n_jobs = min(joblib.effective_n_jobs(n_jobs), len(pending) or 1)
    now = list(experiments)
    with progress(sum(map(left, pending)), "epoch") as bar, _pool(n_jobs) as pool:
        while now:
            yield from ((name, trainings[name]) for name in now if not left(name))
            # An epoch of each, those furthest behind first. Where possible, their
            # number is a multiple of n_jobs, so that no core is idle.
            pending = sorted(filter(left, pending), key=left, reverse=True)
            now = pending[: len(pending) // n_jobs * n_jobs or None]
            jobs = {}
            for name in now:
                state = trainings[name].history and trainings[name].state()
                jobs[name] = name, experiments[name], state, images, first[name]
            for name, state in _start(pool, _one_epoch, jobs):
                training = trainings[name].restore(state)
                checkpoint.save(paths[name], state | first[name])
                bar.set_description_str(
                    f"{name} {len(training.history)}/{experiments[name].epochs} "
                    f"loss {training.history[-1][1]:.4f}",
                    refresh=False,
                )
                bar.update()
                if after_epoch:
                    after_epoch(name, training)


def _measure(function, experiment, state, arguments):
    training = Training(replace(experiment, backend="numpy")).restore(state)
    return function(training, *arguments)


def measure(function, trainings, *arguments):
    """Return {name: function(training, *arguments)}, measured on all cores.

    The models run on NumPy, whichever device trained them.
    """
    jobs = {
        name: (function, training.experiment, training.state(), arguments)
        for name, training in trainings.items()
    }
    found = dict.fromkeys(trainings)  # in this order
    # max_nbytes=None: arrays as they are, not as mapped files
    pool = _pool(joblib.effective_n_jobs(), max_nbytes=None)
    with progress(len(jobs), "model") as bar:
        for name, value in _start(pool, _measure, jobs):
            found[name] = value
            bar.update()
    return found
