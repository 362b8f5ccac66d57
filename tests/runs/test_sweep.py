"""Many trainings: the same bits however many run at once, and never mixed up."""

import os
import re
import runpy
import signal
import sys
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from functools import lru_cache, partial, update_wrapper
from typing import NamedTuple

import joblib
import numpy as np
import pytest
import sweep
from processes import LESSONS
from threadpoolctl import threadpool_info
from tqdm import tqdm

from data_tools import GaussianNoise, Mixture, load_sample
from tinyae import SGD, AnelloAutoencoder, Conv2d, MSELoss, checkpoint
from tinyae.experiment import Experiment
from tinyae.layer import Layer
from tinyae.models import batch_first, batch_last
from tinyae.training import Training, TrainingDiverged

DATA = load_sample()
IMAGES = DATA.train_images[:192], DATA.test_images[:64]


class OwnModel(Layer):
    def __init__(self, seed):
        self.conv = Conv2d(1, 1, 3, padding=1, seed=seed)

    def forward(self, x):
        return batch_first(self.conv.forward(batch_last(x)))

    def backward(self, dy, input_grad=True):
        return self.conv.backward(batch_last(dy), input_grad)


class OwnLoss(MSELoss):
    def backward(self):
        return 3 * super().backward()


class OwnOptimizer(SGD):
    def step(self):
        super().step()
        self.lr *= 0.9


MODEL = partial(AnelloAutoencoder, 2, width=2)
NOISE = GaussianNoise(0.5)
ONE = Experiment(MODEL, corruption=NOISE, batch_size=64, epochs=3, lr_decay=0.5)
OWN = replace(ONE, model=OwnModel, loss=OwnLoss, optimizer=OwnOptimizer)
EXPERIMENTS = {4: ONE, "x" * 300: replace(ONE, seed=2), "../own": OWN}


def two(**parts):
    """Return two small experiments with these parts."""
    one = replace(ONE, **{"epochs": 1} | parts)
    return {"a": one, "b": replace(one, seed=2)}


def train(folder, experiments, n_jobs=2, **how):
    """Return the trainings, which are, bit for bit, those outside of a sweep."""
    found = dict(sweep.train_all(experiments, IMAGES, folder, n_jobs, **how))
    for name, experiment in experiments.items():
        wanted = Training(experiment).run(*IMAGES)
        np.testing.assert_equal(found[name].state(), wanted.state())
    return found


@pytest.fixture
def steps(monkeypatch):
    """Return a list that grows with each step taken in this process."""
    taken, train_step = [], Training.train_step

    def counted(self, *batch):
        taken.append(self)
        return train_step(self, *batch)

    monkeypatch.setattr(Training, "train_step", counted)
    return taken


def test_workers_take_those_furthest_behind_and_each_epoch_is_reported(tmp_path):
    """Three trainings of three epochs on two workers."""
    calls = []

    def after_epoch(name, training):
        calls.append((name, training.history))

    found = train(tmp_path, EXPERIMENTS, after_epoch=after_epoch)
    names = [name for name, _ in calls]
    pairs = [{*names[i : i + 2]} for i in range(0, 9, 2)]
    a, b, c = EXPERIMENTS
    assert pairs == [{a, b}, {c, a}, {c, b}, {c, b}, {a}]
    for name, history in calls:
        assert history == found[name].history[: len(history)]


def test_continued_with_another_number_of_workers(tmp_path):
    next(sweep.train_all(EXPERIMENTS, IMAGES, tmp_path, n_jobs=2))
    train(tmp_path, EXPERIMENTS, n_jobs=1)
    assert len(list(tmp_path.glob("*.checkpoint"))) == 3, "whatever the names"


def test_a_dask_cluster_gives_the_same_bits(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, dashboard_address=None
        ) as one,
        distributed.Client(one) as client,
        joblib.parallel_config(backend="dask"),
    ):
        client.upload_file(sweep.__file__)
        train(tmp_path, two(), n_jobs=-1)
        worked = client.run(lambda: "tinyae.training" in sys.modules)
    assert any(worked.values())  # the trainings did run on the cluster


def test_only_what_is_missing_is_trained(tmp_path, steps, capsys):
    """Besides first steps: two and a check for a new training, one for an old one."""

    def run(**how):
        list(sweep.train_all({"new": ONE}, IMAGES, tmp_path, n_jobs=1, **how))
        return len(steps), capsys.readouterr().err

    assert run()[0] == 3 + 9
    assert run() == (13, "")
    taken, said = run(fresh=True)
    assert taken == 13 + 2 + 9 and said.count("\r") < 4
    assert re.search(r"new 3/3 loss \d\.\d{4}.* 3/3 ", said)


def measured(training, array):
    array += 1  # it is its own, not a mapped file
    threads = [lib["num_threads"] for lib in threadpool_info()]
    return training.history, training.experiment.backend, array.sum(), max(threads)


def test_a_device_trains_in_one_process_and_is_measured_on_the_host(tmp_path, steps):
    trainings = dict(sweep.train_all(two(backend="auto"), IMAGES, tmp_path, n_jobs=2))
    assert len(steps) >= 2 * (2 + 3)
    found = sweep.measure(measured, trainings, np.zeros(2**18))
    wanted = [(t.history, "numpy", 2**18, 1) for t in trainings.values()]
    assert list(found.items()) == list(zip(trainings, wanted, strict=True))


def test_progress_is_slow_in_a_log_and_needs_neither_stderr_nor_threads(monkeypatch):
    bar = sweep.progress(1, "epoch")
    assert (bar.mininterval, bar.disable, tqdm.monitor) == (10, False, None)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert sweep.progress(1, "epoch").disable


# How a training fails


def deadly(parent, images, rng):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return images


def test_a_killed_worker_is_an_error(tmp_path):
    with pytest.raises(BrokenExecutor):
        train(tmp_path, two(corruption=partial(deadly, os.getpid())))


def poisoned(images, rng):
    """Make the images of epoch 2 infinite."""
    return images * (np.inf if rng.bit_generator.seed_seq.entropy[1] == 2 else 1)


@pytest.mark.parametrize(
    "epoch, part",
    [(1, {"optimizer": partial(SGD, lr=1e30)}), (2, {"corruption": poisoned})],
)
def test_a_divergence_is_located_and_what_was_finished_is_kept(
    tmp_path, epoch, part, recwarn, capsys
):
    said = f"^[ab]: The loss of epoch {epoch} .* in batch . of the training images, in"
    with pytest.raises(TrainingDiverged, match=said):
        train(tmp_path, two(epochs=2, **part))
    assert len(list(tmp_path.iterdir())) == 2 * epoch - 2
    assert not recwarn.list and not capsys.readouterr().out


# What a training is


def test_the_first_step_holds_its_losses_and_the_norm_of_each_weight():
    one = replace(ONE, batch_size=192)
    training = Training(one).run(*IMAGES, epochs=1)
    norms = [np.linalg.norm(w) for w in training.model.state_dict().values()]
    first = sweep.first_step(one, IMAGES)["first_step"]
    assert first.tolist() == [*training.history[0], *norms]


def test_another_processor_may_round_differently(monkeypatch):
    monkeypatch.setattr(np, "show_config", "another {mode}".format)
    assert runpy.run_path(LESSONS / "sweep.py")["ROUNDING"] != sweep.ROUNDING


def add(shift):
    """Return a corruption that looks like all that are made here."""

    def added(images, rng):
        return images + shift

    return added


def test_other_settings_or_images_have_another_file_but_not_other_addresses():
    def path(images="hash", **settings):
        return sweep.checkpoint_path("x", replace(ONE, **settings), images, "")

    assert len({path(), path("another"), path(seed=2)}) == 3
    assert path(corruption=add(1)) == path(corruption=add(2))


OTHER = "what is saved comes from other code or random numbers; starting over."
MOVED = {"rounding": "another"}
MACHINE = "begun on another machine or NumPy; continues, not bit for bit."


@pytest.mark.parametrize(
    "changes, factor, said",
    [
        ({}, 1, None),
        ({}, 1 + 1e-15, OTHER),
        (MOVED, 1 + 5e-5, MACHINE),
        (MOVED, 1 + 5e-4, OTHER),
        ({"source": "another"}, 1, OTHER),
        ({"optimizer.t": np.ones(2)}, 1, "only .* starting over."),
    ],
)
def test_what_is_saved_is_continued_or_refused(
    tmp_path, steps, capsys, changes, factor, said
):
    first = sweep.first_step(ONE, IMAGES)
    state = Training(ONE).run(*IMAGES).state() | first | changes
    state["first_step"] = first["first_step"] * factor
    path = sweep.checkpoint_path("a", ONE, joblib.hash(IMAGES), tmp_path)
    checkpoint.save(path, state)
    steps.clear()
    train(tmp_path, {"a": ONE}, n_jobs=1)
    # One first step here, and nine steps to compare with.
    assert (len(steps) == 10) == (said in (None, MACHINE))
    assert re.match(f"a: {said}" if said else "$", capsys.readouterr().out)
    on_a_device = sweep.same_step(state, first, "cupy")
    assert on_a_device == (factor < 1.0001 and "source" not in changes)


class Wrapped:
    """A corruption whose amount is a method with a cache."""

    def __init__(self, shift):
        update_wrapper(self, poisoned)
        self.amount = lru_cache(shift.__float__)

    def __call__(self, images, rng):
        return images + self.amount()


a, b = add(0.1), add(0.2)


@pytest.mark.parametrize(
    "one, other",
    [
        (Mixture((a, b, a)), Mixture((a, b, b))),
        (Wrapped(0.1), Wrapped(0.2)),
    ],
)
def test_two_that_look_alike_are_two_trainings(tmp_path, one, other):
    train(tmp_path, two(corruption=one), n_jobs=1)
    train(tmp_path, two(corruption=other), n_jobs=1)


def recursive(shift):
    def added(images, rng):
        return images + shift if shift > 1 else recursive(shift + 1)(images, rng)

    return added


class Named(NamedTuple):
    shift: float

    def __call__(self, images, rng):
        return images + self.shift


made = {}
exec("def added(images, rng): return images + 3", made)


def test_whatever_can_be_called_is_trained_in_a_worker(tmp_path):
    odd = recursive(0), Named(1), made["added"]
    odd = {i: replace(ONE, corruption=c, epochs=1) for i, c in enumerate(odd)}
    train(tmp_path, odd)


def test_parts_that_do_not_fit_are_refused_by_name(tmp_path):
    model = MODEL()

    def same(seed):
        return model

    with pytest.raises(ValueError, match="model: got the same Parameters twice"):
        train(tmp_path, two(model=same))
    with pytest.raises(TypeError, match="loss: got <object"):
        train(tmp_path, two(loss=object))


def unseeded(images, rng):
    return images + np.random.default_rng().random()


def test_unseeded_noise_is_trained_but_cannot_be_continued(tmp_path, capsys):
    for said in ("each run gives other numbers, so it cannot be continued", OTHER):
        list(sweep.train_all(two(corruption=unseeded), IMAGES, tmp_path, n_jobs=2))
        assert capsys.readouterr().out.startswith(f"a: {said}")


CHOSEN = MODEL


def chosen(seed):
    return CHOSEN(seed=seed)


def test_a_value_that_workers_do_not_see_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CHOSEN", OwnModel)
    with pytest.raises(sweep.SweepError, match="[ab]: a worker process computes"):
        train(tmp_path, two(model=chosen))
    train(tmp_path, two(model=chosen), n_jobs=1)
