"""Many trainings at once, through joblib: side by side, saved after every epoch, found again when they are there.

Every worker process imports this module, so it imports nothing that takes long.
"""

import contextlib
import functools
import hashlib
import inspect
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from multiprocessing import resource_tracker
from pathlib import Path

import joblib
from board import Group, new_board
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import data_tools
import tinyae
from tinyae import checkpoint
from tinyae.training import Training


def source_hash():
    """A hash of all Python files of tinyae and data_tools: who changes a layer must not be shown the results of the old one."""
    files = sorted(
        file
        for package in (tinyae, data_tools)
        for file in Path(package.__file__).parent.glob("*.py")
    )
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def training_paths(experiments, train_images, test_images, folder, source):
    """{name: the file of that training}: another one for other settings, data or source."""
    data = hashlib.sha256(train_images.tobytes() + test_images.tobytes()).hexdigest()
    key = lambda e: hashlib.sha256(repr((e, data, source)).encode()).hexdigest()[:16]
    return {
        name: Path(folder)
        / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name).strip('-')}-{key(e)}.checkpoint"
        for name, e in experiments.items()
    }


def resume(experiment, path):
    """The Training saved at `path`, or a new one. A whole file of other settings is passed over."""
    training = Training(experiment)
    saved = checkpoint.load_latest(path)
    try:
        if saved and saved[1].get("experiment") == repr(experiment):
            training.restore(saved[0])
    except ValueError as error:
        print(f"{path}: {error}; beginning anew.")
    return training


@contextlib.contextmanager
def _workers_ignore_interrupts():
    """In a terminal Ctrl-C reaches every process. It is for this one, whose end ends the workers; those are made in
    here, where it is blocked, which they inherit, so that none of them dies in a traceback of its own.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "pthread_sigmask"
    ):  # Windows
        yield
        return
    came = []
    handler = signal.signal(
        signal.SIGINT, lambda *_: came.append(True)
    )  # it may reach another thread of this process
    resource_tracker.ensure_running()  # made later, it would unblock the signal too early
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def huge_pages():
    """Processes started in here have their memory in pages of 2 MB, where Linux and glibc will (lesson 4)."""
    ours = "GLIBC_TUNABLES" not in os.environ
    if ours:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    try:
        yield
    finally:
        if ours:
            del os.environ["GLIBC_TUNABLES"]


@contextlib.contextmanager
def workers(n_jobs):
    """Gives a function that carries out joblib's delayed jobs, n_jobs at a time, and yields their results one by one as
    they are done. An array that many jobs share is handed over once in a `with`.
    """
    before = set(multiprocessing.active_children())

    def carry_out(jobs):
        results = None
        try:
            with huge_pages(), _workers_ignore_interrupts():
                results = pool(jobs)
            for result in results:
                yield result
        except BaseException:  # Ctrl-C, a job that failed, a caller who wants no more
            with warnings.catch_warnings(
                action="ignore"
            ):  # joblib regrets work that is cut short; it is meant to be
                if results:
                    results.close()
            for worker in (
                set(multiprocessing.active_children()) - before
            ):  # interrupted early, joblib forgets some
                if worker.name.startswith("LokyProcess"):
                    worker.terminate()
            raise

    with contextlib.ExitStack() as stack:
        with huge_pages(), _workers_ignore_interrupts():  # this may start some
            # A batch of jobs would be done one after the other, and members of a group wait for each other in vain.
            pool = stack.enter_context(
                joblib.Parallel(
                    n_jobs=n_jobs, return_as="generator_unordered", batch_size=1
                )
            )
        yield carry_out


@functools.cache  # once in each process is enough
def _end_with(starter):
    """End this process soon after its parent `starter` was killed, or at once if it is dead already."""

    def watch():
        while os.getppid() == starter:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _one_epoch(
    name, experiment, state, train_images, test_images, starter, rank, board
):
    """In a worker of the process `starter`: a training's state one epoch later; in a group from its member 0 only.

    One BLAS thread each: the work is shared out between processes, so no result depends on how many are at work.
    """
    if multiprocessing.current_process().name.startswith(
        "LokyProcess"
    ):  # not in `starter` itself, nor on a cluster
        _end_with(starter)
    elif experiment.processes > 1:
        raise ValueError(
            f"processes: got {experiment.processes}, expected 1: this is no worker process of joblib's own "
            "backend, loky, on this machine, as a group needs them"
        )
    with threadpool_limits(1):
        training = Training(experiment)
        if experiment.processes > 1:
            training.join(Group(rank, board))
        if state:
            training.restore(state)
        training.run(train_images, test_images, epochs=1)
        return name, None if rank else training.state()


def train_all(
    experiments, train_images, test_images, folder, source, *, fresh=False, n_jobs=-1
):
    """Train all `experiments` ({name: Experiment}); yields (name, Training) one by one as they are done.

    train_images, test_images: (M, 28, 28), uint8. folder: where trainings are saved and looked for. source: a hash of
    the code they depend on, see source_hash. fresh: begin anew, whatever is there. n_jobs: how many worker processes,
    -1 for one a core; an experiment that asks for more gets them. Inside `with joblib.parallel_config(backend="dask")`
    they run on that cluster; not those of several processes, which must be on one machine: ValueError.
    """
    if len(wanted := {e.processes for e in experiments.values()}) > 1:
        raise ValueError(
            f"processes: got {sorted(wanted)}, expected the same for all experiments of a sweep"
        )
    (processes,) = wanted or {1}
    paths = training_paths(experiments, train_images, test_images, folder, source)
    for path in paths.values() if fresh else ():
        for file in (path, checkpoint.previous(path)):
            file.unlink(missing_ok=True)
    trainings = {name: resume(e, paths[name]) for name, e in experiments.items()}
    left = lambda name: experiments[name].epochs - len(trainings[name].history)
    yield from ((name, trainings[name]) for name in experiments if not left(name))
    pending = [name for name in experiments if left(name)]
    if not pending:
        return
    if any(experiments[name].backend != "numpy" for name in pending):
        n_jobs = 1  # one device: side by side they would only wait for each other
    n_jobs = min(
        max(joblib.effective_n_jobs(n_jobs) // processes, 1), len(pending)
    )  # trainings at a time
    total = sum(experiments[name].epochs for name in pending)
    done = lambda: total - sum(map(left, pending))
    meeting_place = (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        if processes > 1
        else contextlib.nullcontext()
    )
    with (
        meeting_place as shared,
        workers(n_jobs * processes) as carry_out,
        tqdm(
            total=total, initial=done(), unit="epoch", dynamic_ncols=True, disable=None
        ) as bar,
    ):
        while pending:
            # An epoch of each, those furthest behind first, in numbers that leave no core idle: three trainings on two
            # cores take as long as one and a half, not as two.
            pending.sort(key=left, reverse=True)
            now = pending[: len(pending) // n_jobs * n_jobs or None]
            bar.set_description_str(", ".join(now[:n_jobs]))
            boards = {
                name: new_board(processes, Path(shared) / str(i))
                for i, name in enumerate(now)
                if shared
            }
            jobs = [
                joblib.delayed(_one_epoch)(
                    name,
                    experiments[name],
                    trainings[name].history and trainings[name].state(),
                    train_images,
                    test_images,
                    os.getpid(),
                    rank,
                    boards.get(name),
                )
                for name in now
                for rank in range(processes)
            ]
            for name, state in carry_out(jobs):
                if not state:
                    continue
                history = trainings[name].restore(state).history
                checkpoint.save(
                    paths[name], state, {"experiment": repr(experiments[name])}
                )
                latest = f"{name} {len(history)}/{experiments[name].epochs} loss {history[-1][1]:.4f}"
                bar.set_description_str(latest)
                bar.update()
            if bar.disable:  # no terminal: a line for each round
                print(
                    f"{done()} of {total} epochs; the latest: {latest}", file=sys.stderr
                )
            yield from ((name, trainings[name]) for name in now if not left(name))
            pending = [name for name in pending if left(name)]


# -- What the lessons ask for --


def cache_folder():
    """Where finished trainings are kept, for all lessons: results/trainings, or below TINYAE_CACHE if that is set."""
    return (
        Path(
            os.environ.get(
                "TINYAE_CACHE", Path(__file__).resolve().parent.parent / "results"
            )
        )
        / "trainings"
    )


def measure(function, trainings, data):
    """{name: function(training, data)} for all `trainings` ({name: Training}), side by side, kept like trainings.

    function returns {what: number}; its numbers are found again for the same weights, data and code.
    """
    code = inspect.getsource(function) + source_hash()
    images = hashlib.sha256(
        data.train_images.tobytes() + data.test_images.tobytes()
    ).hexdigest()
    paths = {}
    for name, training in trainings.items():
        weights = b"".join(
            array.tobytes() for array in training.model.state_dict().values()
        )
        key = repr(
            (training.experiment, hashlib.sha256(weights).hexdigest(), images, code)
        )
        paths[name] = (
            cache_folder()
            / f"measured-{hashlib.sha256(key.encode()).hexdigest()[:16]}.checkpoint"
        )
    found = {
        name: saved[1]
        for name, path in paths.items()
        if (saved := checkpoint.load_latest(path))
    }

    def job(name, experiment, state):
        with threadpool_limits(1):
            return name, function(Training(experiment).restore(state), data)

    left = [name for name in trainings if name not in found]
    one_device = any(trainings[name].experiment.backend != "numpy" for name in left)
    jobs = [
        joblib.delayed(job)(name, trainings[name].experiment, trainings[name].state())
        for name in left
    ]
    with workers(1 if one_device else -1) as carry_out:
        for name, measured in tqdm(
            carry_out(jobs), total=len(left), desc="measuring", disable=not left or None
        ):
            found[name] = measured
            checkpoint.save(paths[name], {}, measured)
    return {name: found[name] for name in trainings}


def train(experiments, data, chosen):
    """Train what is not there yet; yields (name, Training) as each is done. Until the next is asked for, nothing trains."""
    return train_all(
        experiments,
        data.train_images,
        data.test_images,
        cache_folder(),
        source_hash(),
        fresh=chosen.fresh,
    )


def missing(experiments, data, chosen):
    """The names of the experiments that `train` would have to train."""
    if chosen.fresh:
        return list(experiments)
    paths = training_paths(
        experiments, data.train_images, data.test_images, cache_folder(), source_hash()
    )
    return [
        name
        for name, e in experiments.items()
        if len(resume(e, paths[name]).history) < e.epochs
    ]
