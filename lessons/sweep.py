"""Train many experiments on all cores, save every epoch, compute nothing twice."""

import functools
import hashlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import types
from dataclasses import replace
from pathlib import Path

import joblib
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import data_tools
import tinyae
from tinyae import checkpoint
from tinyae.diagnosis import first_nonfinite
from tinyae.training import Training, TrainingDiverged

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.path.expanduser(os.environ.get("TINYAE_CACHE") or ROOT / "results"))
CACHE.mkdir(parents=True, exist_ok=True)
# For the workers: memory in pages of 2 MB, where Linux offers them, saves 6% of a step.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# Workers that common.end() stops leave semaphores, which joblib removes and reports.
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
tqdm.monitor_interval = 0  # no thread: a browser has none


@functools.cache
def source_hash():
    """Return a hash of all source of tinyae and data_tools, so that changes count."""
    folders = [Path(package.__file__).parent for package in (tinyae, data_tools)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


class _Hasher(joblib.hashing.NumpyHasher):
    """joblib's hash, which sees a lesson's functions and classes by their code."""

    def __init__(self):
        super().__init__("md5")
        self.seen = set()

    def save(self, thing):
        if isinstance(thing, (types.ModuleType, types.MemberDescriptorType)):
            thing = thing.__name__
        elif isinstance(thing, frozenset):
            thing = set(thing)  # joblib sorts sets, whose order differs in each process
        elif isinstance(thing, types.CodeType):
            thing = thing.co_code, thing.co_names, thing.co_consts
        elif isinstance(thing, property):
            thing = thing.fget, thing.fset
        elif isinstance(thing, (type, types.FunctionType)):
            if _is_local(thing):
                new = id(thing) not in self.seen  # a function may call itself
                self.seen.add(id(thing))
                thing = _definition(thing) if new else thing.__name__
        elif hasattr(thing, "__wrapped__"):  # staticmethod, functools.cache
            thing = thing.__wrapped__
            return self.save(thing)
        super().save(thing)


def _is_local(thing):
    """Return whether a function or class is defined outside installed packages."""
    root = thing.__module__.split(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    installed = not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
    known = root in sys.stdlib_module_names or root in ("tinyae", "data_tools")
    return not known and not installed


def _definition(thing):
    """Return what decides what a function or class does: code, values, used globals."""
    if isinstance(thing, type):
        kinds = (types.FunctionType, property, staticmethod, classmethod)
        used = {
            name: value
            for name, value in vars(thing).items()
            if isinstance(value, kinds) or not name.startswith(("__", "_abc_"))
        }
        return thing.__bases__, used
    names = _names(thing.__code__) & thing.__globals__.keys()
    used = {name: thing.__globals__[name] for name in names}
    cells = [cell.cell_contents for cell in thing.__closure__ or ()]
    return thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells, used


def _names(code):
    """Return the names that some code uses, those of inner functions included."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def fingerprint(*things):
    """Return a hash of everything that decides what `things` are and compute.

    For functions and classes of a lesson that includes their code and the globals they
    use; tinyae and data_tools are included as a whole.
    """
    return _Hasher().hash((source_hash(), things))


@joblib.Memory(CACHE, verbose=0).cache(ignore=["function", "arguments"])
def _call(key, function, arguments):
    return function(*arguments)


def remember(function, *arguments):
    """Return function(*arguments), from disk if it was computed before."""
    key = fingerprint(function, arguments)
    return _call(key, function, arguments)


def checkpoint_path(name, experiment, images, folder=CACHE / "trainings"):
    """Return the file of a training: another one for other settings, images or code."""
    key = fingerprint(experiment, images)
    return Path(folder) / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name)}-{key}.checkpoint"


def resume(experiment, path):
    """Return the Training saved at `path`, or a new one."""
    saved = checkpoint.load_or_none(path)
    try:
        if saved:
            return Training(experiment).restore(saved)
    except (KeyError, ValueError) as error:
        print(f"{path}: {error}; starting over.")
    return Training(experiment)


@functools.cache  # once in each worker
def _prepare_worker():
    if not multiprocessing.current_process().name.startswith("LokyProcess"):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    parent = os.getppid()

    def watch():  # joblib's worker would wait forever after its parent was killed
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _job(name, function, arguments):
    """Return name and function(*arguments), computed with one BLAS thread."""
    _prepare_worker()
    with threadpool_limits(1):
        return name, function(*arguments)


def _each(function, jobs):
    """Return the jobs for _pool: one for each {name: arguments}."""
    return [joblib.delayed(_job)(name, function, jobs[name]) for name in jobs]


def _pool(n_jobs, **how):
    """Return joblib's processes; they yield (name, result) as each is done."""
    return joblib.Parallel(n_jobs, return_as="generator_unordered", batch_size=1, **how)


def _one_epoch(name, experiment, state, images):
    """Return the state one epoch later."""

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
    pause = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        total=total,
        unit=unit,
        mininterval=pause,
        dynamic_ncols=True,
        disable=not total,
    )


def train_all(experiments, images, folder=CACHE / "trainings", n_jobs=-1, fresh=False):
    """Train {name: Experiment}; yield (name, Training) as each is done.

    images: (train_images, test_images), each (M, 28, 28), uint8. Lazy: training
    proceeds only while the caller iterates. Every epoch is saved in `folder`, so the
    sweep may be stopped at any time and continues from there. Neither that nor n_jobs,
    the number of processes, changes a bit of the result. Inside
    joblib.parallel_config(backend="dask") the epochs run on that cluster. fresh: train
    again what is already saved.
    """
    paths = {n: checkpoint_path(n, e, images, folder) for n, e in experiments.items()}
    trainings = {
        name: Training(e) if fresh else resume(e, paths[name])
        for name, e in experiments.items()
    }

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
                jobs[name] = name, experiments[name], state, images
            for name, state in pool(_each(_one_epoch, jobs)):
                history = trainings[name].restore(state).history
                checkpoint.save(paths[name], state)
                text = f"{name} {len(history)}/{experiments[name].epochs}"
                bar.set_description_str(
                    f"{text} loss {history[-1][1]:.4f}", refresh=False
                )
                bar.update()


def missing(experiments, images):
    """Return the names of the experiments that train_all would have to train."""
    return [
        name
        for name, e in experiments.items()
        if len(resume(e, checkpoint_path(name, e, images)).history) < e.epochs
    ]


def _measure(key, function, experiment, state, arguments):
    training = Training(replace(experiment, backend="numpy")).restore(state)
    return _call(key, function, (training, *arguments))


def measure(function, trainings, *arguments):
    """Return {name: function(training, *arguments)}, measured on all cores.

    The models run on NumPy, whichever device trained them. Results come from disk if
    they were computed before. function may use its arguments, and functions and
    constants of the lesson.
    """
    inputs = fingerprint(function, arguments)
    jobs = {}
    for name, training in trainings.items():
        settings = training.experiment, training.state()
        key = fingerprint(inputs, settings)
        jobs[name] = key, function, *settings, arguments
    found = {}
    pool = _pool(-1, max_nbytes=None)  # arrays as they are, not as mapped files
    with progress(len(jobs), "model") as bar:
        for name, value in pool(_each(_measure, jobs)):
            found[name] = value
            bar.update()
    return {name: found[name] for name in trainings}
