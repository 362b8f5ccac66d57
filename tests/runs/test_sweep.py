"""Many trainings: the same bits however many run at once, and never mixed up."""

import functools
import os
import re
import signal
import sys
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import joblib
import numpy as np
import pytest
import sweep
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
EXPERIMENTS = {"a": ONE, "b": replace(ONE, seed=2), "own": OWN}


def two(**parts):
    """Return two small experiments with these parts."""
    one = replace(ONE, epochs=1, **parts)
    return {"a": one, "b": replace(one, seed=2)}


def train(folder, experiments, n_jobs=2, **how):
    return dict(sweep.train_all(experiments, IMAGES, folder, n_jobs, **how))


def assert_right(found, experiments):
    """Each training is, bit for bit, what it would be outside of a sweep."""
    assert found.keys() == experiments.keys()
    for name, experiment in experiments.items():
        wanted = Training(experiment).run(*IMAGES)
        np.testing.assert_equal(found[name].state(), wanted.state())


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
    assert_right(found, EXPERIMENTS)
    names = [name for name, _ in calls]
    pairs = [{*names[i : i + 2]} for i in range(0, 9, 2)]
    a, b, c = EXPERIMENTS
    assert pairs == [{a, b}, {c, a}, {c, b}, {c, b}, {a}]
    for name, history in calls:
        assert history == found[name].history[: len(history)]
    assert sorted(len(history) for _, history in calls) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_continued_with_another_number_of_workers(tmp_path):
    next(sweep.train_all(EXPERIMENTS, IMAGES, tmp_path, n_jobs=2))
    assert_right(train(tmp_path, EXPERIMENTS, n_jobs=1), EXPERIMENTS)


def test_only_what_is_missing_is_trained(tmp_path, steps, capsys):
    """Besides first steps: two and a check for a new training, one for an old one."""
    train(tmp_path, {"new": ONE}, n_jobs=1)
    assert len(steps) == 3 + 9
    assert re.search(r"new 3/3 loss \d\.\d{4}.* 3/3 ", capsys.readouterr().err)
    train(tmp_path, {"new": ONE}, n_jobs=1)
    assert len(steps) == 13 and capsys.readouterr().err == ""
    train(tmp_path, {"new": ONE}, n_jobs=1, fresh=True)
    assert len(steps) == 13 + 2 + 9


def measured(training, array):
    array += 1  # it is its own, not a mapped file
    threads = [lib["num_threads"] for lib in sweep.threadpool_info()]
    return training.history, training.experiment.backend, array.sum(), max(threads)


def test_a_device_trains_in_one_process_and_is_measured_on_the_host(tmp_path, steps):
    trainings = train(tmp_path, two(backend="auto"))
    assert len(steps) >= 2 * (2 + 3)
    found = sweep.measure(measured, trainings, np.zeros(2**18))
    assert list(found) == ["a", "b"]
    for name, training in trainings.items():
        assert found[name] == (training.history, "numpy", 2**18, 1)


def test_any_name_will_do(tmp_path):
    experiments = dict(zip([4, "x" * 300, "../a"], 2 * [*two().values()], strict=False))
    assert_right(train(tmp_path, experiments, n_jobs=1), experiments)
    assert len([*tmp_path.glob("*.checkpoint")]) == 3


def test_progress_is_slow_in_a_log_and_needs_neither_stderr_nor_threads(monkeypatch):
    bar = sweep.progress(1, "epoch")
    assert bar.mininterval == 10 and not bar.disable and tqdm.monitor is None
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
    "part, epoch, where",
    [
        ({"corruption": poisoned}, 2, "1 of the .*, in the images themselves"),
        ({"optimizer": partial(SGD, lr=1e30)}, 1, "2 of the .*, in what .* saved"),
    ],
)
def test_a_divergence_is_located(tmp_path, part, epoch, where, recwarn):
    """With the training's name; the epoch before remains."""
    bad = {name: replace(e, epochs=3) for name, e in two(**part).items()}
    said = f"^[ab]: The loss of epoch {epoch} is not finite.* It began in batch {where}"
    with pytest.raises(TrainingDiverged, match=said):
        train(tmp_path, bad)
    kept = [checkpoint.load(path)["history"] for path in tmp_path.iterdir()]
    assert len(kept) == 2 * epoch - 2 and np.isfinite(kept).all()
    assert not recwarn.list


# What a training is


def test_the_first_step_holds_its_losses_and_the_norm_of_each_weight():
    one = replace(ONE, batch_size=192)
    training = Training(one).run(*IMAGES, epochs=1)
    norms = [np.linalg.norm(w) for w in training.model.state_dict().values()]
    first = sweep.first_step(one, IMAGES)["first_step"]
    assert first.tolist() == [*training.history[0], *norms]


def test_rounding_is_decided_by_numpy_and_the_processor(monkeypatch):
    here = sweep.rounding()
    library = {"filepath": "numpy.libs/openblas", "architecture": "another"}
    monkeypatch.setattr(sweep, "threadpool_info", [library].copy)
    there = sweep.rounding.__wrapped__()
    monkeypatch.setattr(np, "show_config", dict)
    assert len({here, there, sweep.rounding.__wrapped__()}) == 3


def add(shift):
    """Return a corruption that looks like all that are made here."""

    def added(images, rng):
        return images + shift

    return added


def test_each_training_has_its_own_file(monkeypatch):
    """Known by name, settings, images and source, but not by addresses."""

    def path(name="x", images="hash", **settings):
        return sweep.checkpoint_path(name, replace(ONE, **settings), images, "")

    paths = {path(), path("y"), path(images="another"), path(seed=2)}
    monkeypatch.setattr(sweep, "SOURCE", "another")
    assert len(paths | {path()}) == 5
    assert path(corruption=add(1)) == path(corruption=add(2))


OTHER = "what is saved was computed by other code; starting over."
MOVED = {"rounding": "another"}
MACHINE = "begun on another machine; continues, but not bit for bit."


@pytest.mark.parametrize(
    "changes, factor, said",
    [
        ({}, 1, None),
        ({}, 1 + 1e-15, OTHER),
        (MOVED, 1, MACHINE),
        (MOVED, 1 + 5e-5, MACHINE),
        (MOVED, 1 + 5e-4, OTHER),
        ({"source": "another"}, 1, OTHER),
        ({"history": np.ones((4, 2))}, 1, "what is saved has more than 3 epochs"),
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
    found = train(tmp_path, {"a": ONE}, n_jobs=1)
    assert len(steps) == 1 if said in (None, MACHINE) else len(steps) > 9
    assert_right(found, {"a": ONE})
    assert re.match(f"a: {said}" if said else "$", capsys.readouterr().out)
    on_a_device = sweep.same_step(state, first, "cupy")
    assert on_a_device == (factor < 1 + 1e-4 and "source" not in changes)


class Wrapped:
    """A corruption whose amount is a method with a cache."""

    def __init__(self, shift):
        functools.update_wrapper(self, shifted)
        self.amount = functools.lru_cache(shift.__float__)

    def __call__(self, images, rng):
        return images + self.amount()


SHIFT = 0


def shifted(images, rng):
    return images + SHIFT


@pytest.mark.parametrize("kind", ["mixtures", "wrappers"])
def test_two_that_look_alike_are_two_trainings(tmp_path, kind):
    a, b = add(0.1), add(0.2)
    both = (Mixture((a, b, a)), Mixture((a, b, b)))
    if kind == "wrappers":
        both = (Wrapped(0.1), Wrapped(0.2))
    losses = set()
    for corruption in both:
        one = {"one": replace(ONE, epochs=1, corruption=corruption)}
        found = train(tmp_path, one, n_jobs=1)
        assert_right(found, one)
        losses.add(found["one"].history[0])
    assert len(losses) == 2


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
    assert_right(train(tmp_path, odd), odd)


def test_a_model_that_is_made_only_once_is_refused(tmp_path):
    model = MODEL()

    def same(seed):
        return model

    with pytest.raises(ValueError, match="model: got the same Parameters twice"):
        train(tmp_path, two(model=same))


def unseeded(images, rng):
    return images + np.random.default_rng().random()


def test_unseeded_noise_is_trained_but_cannot_be_continued(tmp_path, capsys):
    for said in ("each run gives other numbers, so it cannot be continued", OTHER):
        train(tmp_path, two(corruption=unseeded))
        assert capsys.readouterr().out.startswith(f"a: {said}")


def test_a_value_that_workers_do_not_see_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SHIFT", 9)
    with pytest.raises(sweep.SweepError, match="[ab]: a worker process computes"):
        train(tmp_path, two(corruption=shifted))
    assert not [*tmp_path.iterdir()]
    found = train(tmp_path, two(corruption=shifted), n_jobs=1)
    assert_right(found, two(corruption=shifted))
