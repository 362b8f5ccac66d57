"""Many trainings at once: in parallel through joblib, each saved after every epoch and found again when it is there."""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import warnings
from multiprocessing import resource_tracker
from pathlib import Path

import joblib
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from . import checkpoint
from .training import Training


def source_hash(*packages):
    """A hash of all Python files of the packages: who changes a layer must not be shown the results of the old one."""
    files = sorted(file for package in packages for file in Path(package.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def training_key(experiment, data, source):
    """What a training's file is called: equal for equal settings, data and source, different for others."""
    return hashlib.sha256(repr((experiment, data, source)).encode()).hexdigest()[:16]


def training_paths(experiments, train_images, test_images, folder, source):
    """{name: the file of that training} for experiments ({name: Experiment}) on these data."""
    data = hashlib.sha256(train_images.tobytes() + test_images.tobytes()).hexdigest()
    safe = {name: re.sub(r"[^A-Za-z0-9.=]+", "-", name).strip("-") for name in experiments}
    return {name: Path(folder) / f"{safe[name]}-{training_key(e, data, source)}.checkpoint"
            for name, e in experiments.items()}


def resume(experiment, path, notice=print):
    """The Training saved at `path`, or a new one. A file of other settings is taken for damaged."""
    training = Training(experiment)
    saved = checkpoint.load_latest(path, notice)
    try:
        if saved and saved[1].get("experiment") == repr(experiment):
            training.restore(saved[0])
    except ValueError as error:
        notice(f"{path}: {error}; beginning anew.")
    return training


@contextlib.contextmanager
def _workers_ignore_interrupts():
    """In a terminal Ctrl-C reaches every process. It is for this one, whose end ends the workers; those are made in
    here, where it is blocked, which they inherit, so that none of them dies in a traceback of its own."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    came = []
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(True))  # it may reach another thread of this process
    resource_tracker.ensure_running()  # made later, it would unblock the signal too early
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def parallel(jobs, n_jobs=-1):
    """Carry out joblib's delayed `jobs`, n_jobs at a time; yields their results one by one as they are done."""
    results, before = None, set(multiprocessing.active_children())
    try:
        with _workers_ignore_interrupts():
            results = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
        for result in results:
            yield result
    except BaseException:  # Ctrl-C, a job that failed, a caller who wants no more
        with warnings.catch_warnings():  # joblib regrets that the work is cut short; it is meant to be
            warnings.simplefilter("ignore")
            if results:
                results.close()
        for worker in set(multiprocessing.active_children()) - before:  # interrupted early, joblib forgets some
            if worker.name.startswith("LokyProcess"):
                worker.terminate()
        raise


@functools.cache  # once in each process is enough
def _end_with(starter):
    """End this process soon after its parent `starter` was killed, or at once if it is dead already."""
    def watch():
        while os.getppid() == starter:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train(name, experiment, train_images, test_images, path, starter):
    """In a worker of the process `starter`: finish one training, save it after every epoch; returns its name and state.

    One BLAS thread each: the work is shared out between processes, and the result cannot depend on how many there are.
    """
    def save(training):
        checkpoint.save(path, training.state(), {"experiment": repr(experiment)})
        path.with_suffix(".progress").write_text(f"{len(training.history)} {training.history[-1][1]:.4f}")

    if multiprocessing.current_process().name.startswith("LokyProcess"):  # not in `starter` itself, nor on a cluster
        _end_with(starter)
    with threadpool_limits(1):
        training = resume(experiment, path, notice=lambda text: None).run(train_images, test_images, on_epoch=save)
    path.with_suffix(".progress").unlink(missing_ok=True)
    return name, training.state()


class _Progress:
    """One line on the terminal: what runs, at which epoch, with which loss, and how long it will still take.

    The workers leave their epoch and loss in small files, which are read here twice a second; workers on other
    machines, whose files are not seen, count when they are done.
    """

    def __init__(self, experiments, paths, done):
        self.experiments, self.paths, self.finished = experiments, paths, set()
        total = sum(e.epochs for e in experiments.values())
        self.bar = tqdm(total=total, initial=done, unit="epoch", dynamic_ncols=True, disable=None)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self.over.wait(0.5):
            self.show()

    def show(self):
        epochs, running = 0, []
        for name, e in self.experiments.items():
            if name in self.finished:
                epochs += e.epochs
                continue
            try:
                epoch, loss = self.paths[name].with_suffix(".progress").read_text().split()
                epochs += int(epoch)
                running.append(f"{name} {epoch}/{e.epochs} loss {loss}")
            except (OSError, ValueError):  # not begun, or just being written
                pass
        self.bar.set_description_str(" | ".join(running) or "starting", refresh=False)
        self.bar.n = max(self.bar.n, epochs)
        self.bar.refresh()

    def finish(self, name, training):
        self.finished.add(name)
        if self.bar.disable:  # no terminal: a line for each training
            print(f"{name}: {len(training.history)} epochs, test loss {training.history[-1][1]:.4f}", file=sys.stderr)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.bar.close()


def train_all(experiments, train_images, test_images, folder, source, *, fresh=False, n_jobs=-1):
    """Train all `experiments` ({name: Experiment}); yields (name, Training) one by one as they are done.

    train_images, test_images: (M, 28, 28), uint8. folder: where trainings are saved and looked for. source: a hash of
    the code they depend on, see source_hash. fresh: begin anew, whatever is there. n_jobs: how many at a time, -1 for
    one a core; inside `with joblib.parallel_config(backend="dask")` they run on that cluster.
    """
    paths = training_paths(experiments, train_images, test_images, folder, source)
    pending, done = {}, 0
    for name, e in experiments.items():
        if fresh:
            for file in (paths[name], checkpoint.previous(paths[name])):
                file.unlink(missing_ok=True)
        training = resume(e, paths[name])
        if len(training.history) == e.epochs:
            yield name, training
        else:
            pending[name], done = e, done + len(training.history)
    if not pending:
        return
    if any(e.backend != "numpy" for e in pending.values()):
        n_jobs = 1  # one device: side by side they would only wait for each other
    jobs = [joblib.delayed(_train)(name, e, train_images, test_images, paths[name], os.getpid())
            for name, e in pending.items()]
    with _Progress(pending, paths, done) as progress:
        for name, state in parallel(jobs, min(n_jobs, len(pending))):
            training = Training(experiments[name]).restore(state)
            progress.finish(name, training)
            yield name, training
