"""Many trainings: the same bits however many run at once, and never mixed up."""

import functools
import re
from dataclasses import replace

import joblib
import numpy as np
import pytest
import sweep

from data_tools import GaussianNoise, load_sample
from tinyae import AnelloAutoencoder, checkpoint
from tinyae.experiment import Experiment
from tinyae.training import Training, TrainingDiverged

DATA = load_sample()
IMAGES = DATA.train_images[:192], DATA.test_images[:64]
HOW = {"model": functools.partial(AnelloAutoencoder, 2, width=2), "batch_size": 64}
HOW["lr_decay"] = 0.5
EXPERIMENTS = {
    f"Gaussian σ={s}": Experiment(GaussianNoise(s), epochs=3, **HOW)
    for s in (0.1, 0.2, 0.3)
}
NAME, ONE = next(iter(EXPERIMENTS.items()))


def train(folder, experiments=EXPERIMENTS, **how):
    """Return {name: Training} in the order of the experiments."""
    found = dict(sweep.train_all(experiments, IMAGES, folder, **how))
    return {name: found[name] for name in experiments}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, training in found.items():
        assert training.history == wanted[name].history
        for key, values in training.state().items():
            same = wanted[name].state()[key]
            np.testing.assert_array_equal(values, same, f"{name} {key}", strict=True)


@pytest.fixture(scope="module")
def straight():
    """Return the trainings, each run from its beginning to its end."""
    return {name: Training(e).run(*IMAGES) for name, e in EXPERIMENTS.items()}


@pytest.fixture
def epochs(monkeypatch):
    """Return a list of the epochs trained in this process, as they begin."""
    begun, train_epoch = [], Training.train_epoch

    def counted(self, pixels, epoch):
        begun.append(epoch)
        return train_epoch(self, pixels, epoch)

    monkeypatch.setattr(Training, "train_epoch", counted)
    return begun


def test_the_learning_rate_falls_after_every_epoch():
    training, rates = Training(replace(ONE, lr=0.008)), []
    for _ in range(ONE.epochs):
        training.run(*IMAGES, epochs=1)
        rates.append(training.optimizer.lr)
    assert rates == pytest.approx([0.008, 0.004, 0.002])


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_the_number_of_workers_changes_no_bit(tmp_path, straight, n_jobs):
    assert_same(train(tmp_path, n_jobs=n_jobs), straight)
    assert {file.suffix for file in tmp_path.iterdir()} == {".checkpoint"}


def test_interrupted_and_resumed_with_other_workers(tmp_path, straight):
    short = {name: e for name, e in EXPERIMENTS.items() if name != NAME}
    next(sweep.train_all(short, IMAGES, tmp_path, n_jobs=2))
    assert joblib.Parallel(2)(joblib.delayed(abs)(-i) for i in (0, 1)) == [0, 1]
    assert_same(train(tmp_path, n_jobs=1), straight)


def test_only_what_is_missing_is_trained(tmp_path, straight, epochs):
    first = dict(list(EXPERIMENTS.items())[:2])
    train(tmp_path, first, n_jobs=1)
    assert epochs == [1, 1, 2, 2, 3, 3], "an epoch of each"
    assert_same(train(tmp_path, n_jobs=1), straight)
    assert epochs[6:] == [1, 2, 3]
    train(tmp_path, n_jobs=1, fresh=True)
    assert sorted(epochs[9:]) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_each_training_has_its_own_file(tmp_path, monkeypatch):
    """It depends on the settings, the model, the images and the source."""

    def path(images=IMAGES, **changes):
        return sweep.checkpoint_path("x", replace(ONE, **changes), images, tmp_path)

    paths = {
        path(),
        path(images=(IMAGES[0] ^ 1, IMAGES[1])),
        path(corruption=GaussianNoise(0.25)),
        path(model=functools.partial(AnelloAutoencoder, 3, width=2)),
        path(seed=2),
        path(lr=0.1),
        path(lr_decay=1.0),
        path(epochs=4),
    }
    same = sweep.checkpoint_path("x", replace(ONE), tuple(IMAGES), tmp_path)
    assert len(paths) == 8 and same in paths
    monkeypatch.setattr(sweep, "source_hash", lambda: "of another version")
    assert path() not in paths


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut", "flipped", "other"])
def test_a_damaged_checkpoint_is_one_notice(tmp_path, straight, epochs, capsys, damage):
    path = sweep.checkpoint_path(NAME, ONE, IMAGES, tmp_path)
    checkpoint.save(path, straight[NAME].state())
    whole = path.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    kinds = {"empty": b"", "foreign": b"x" * 99, "cut": whole[:-9], "flipped": flipped}
    if damage == "other":  # such as the arrays of another network
        checkpoint.save(path, {"adam.t": np.array(1)})
    else:
        path.write_bytes(kinds[damage])
    found = train(tmp_path, {NAME: ONE}, n_jobs=1)
    assert epochs == [1, 2, 3]
    assert_same(found, {NAME: straight[NAME]})
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and str(path) in said and "starting over" in said
    assert checkpoint.load(path).keys() == straight[NAME].state().keys()


class Poisoned:
    """A corruption that makes the images of epoch 2 infinite."""

    def __call__(self, images, rng):
        poison = rng.bit_generator.seed_seq.entropy[1] == 2
        return images + np.float32("inf" if poison else 0)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_divergence_says_where_and_keeps_the_epoch_before(tmp_path, n_jobs, recwarn):
    bad = {
        name: Experiment(Poisoned(), epochs=3, seed=ord(name), **HOW) for name in "ab"
    }
    where = (
        r"[ab]: The loss of epoch 2 is not finite\. .* It began in batch 1 of the "
        r"training images, in the images themselves"
    )
    with pytest.raises(TrainingDiverged, match=where):
        train(tmp_path, bad, n_jobs=n_jobs)
    kept = [checkpoint.load(path) for path in tmp_path.iterdir()]
    assert [len(state["history"]) for state in kept] == [1, 1]
    for values in kept[0].values():
        assert np.isfinite(values).all()
    train(tmp_path / "good", n_jobs=2)  # the failure does not disturb another sweep
    assert not recwarn.list


def test_progress_counts_what_is_left(tmp_path, capsys):
    train(tmp_path, {NAME: ONE}, n_jobs=1)
    assert re.search(r"3/3 loss \d\.\d+.*3/3 \[", capsys.readouterr().err)
    train(tmp_path, {NAME: ONE}, n_jobs=1)
    assert capsys.readouterr().err == ""
