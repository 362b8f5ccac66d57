"""Many trainings: the same bits however many run at once, found again when they are there, and never mixed up."""

import multiprocessing
import time
from dataclasses import replace

import joblib
import numpy as np
import pytest
import sweep

from data_tools import GaussianNoise, load_sample
from tinyae import checkpoint
from tinyae.training import Experiment, Training, TrainingDiverged

DATA = load_sample()
IMAGES = DATA.train_images[:192], DATA.test_images[:64]
EXPERIMENTS = {
    f"Gaussian σ={sigma}": Experiment(GaussianNoise(sigma), epochs=3, batch_size=64)
    for sigma in (0.1, 0.2, 0.3)
}


def train(folder, experiments=EXPERIMENTS, source="source", **how):
    """{name: Training}; in the order of the experiments, whichever is done first."""
    found = dict(sweep.train_all(experiments, *IMAGES, folder, source, **how))
    return {name: found[name] for name in experiments}


def path_of(name, folder):
    return sweep.training_paths(EXPERIMENTS, *IMAGES, folder, "source")[name]


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, training in found.items():
        assert training.history == wanted[name].history
        for key, values in training.state().items():
            np.testing.assert_array_equal(
                values, wanted[name].state()[key], err_msg=f"{name} {key}", strict=True
            )


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    return train(tmp_path_factory.mktemp("one"), n_jobs=1)


@pytest.fixture
def counted(monkeypatch):
    """The epochs that are trained in this process, as they begin."""
    epochs, train_epoch = [], Training.train_epoch
    monkeypatch.setattr(
        Training,
        "train_epoch",
        lambda self, pixels, epoch: (
            epochs.append(epoch) or train_epoch(self, pixels, epoch)
        ),
    )
    return epochs


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_the_number_of_workers_changes_no_bit(tmp_path, one_by_one, n_jobs):
    assert_same(train(tmp_path, n_jobs=n_jobs), one_by_one)
    assert {file.suffix for file in tmp_path.iterdir()} == {".checkpoint", ".previous"}


def test_what_is_there_is_found_and_what_lacks_is_trained(
    tmp_path, one_by_one, counted
):
    first = dict(list(EXPERIMENTS.items())[:2])
    train(tmp_path, first, n_jobs=1)
    assert sorted(counted) == [1, 1, 2, 2, 3, 3]
    assert_same(train(tmp_path, n_jobs=1), one_by_one)
    assert sorted(counted) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    train(tmp_path, n_jobs=1, fresh=True)
    assert sorted(counted) == sorted([1, 2, 3] * 6)


@pytest.mark.parametrize("change", ["seed", "corruption", "source", "data"])
def test_other_settings_are_another_training(tmp_path, change):
    """A result is found again for what made it, and for nothing else."""
    name, e = next(iter(EXPERIMENTS.items()))
    other = {
        "seed": replace(e, seed=2),
        "corruption": replace(e, corruption=GaussianNoise(0.25)),
    }.get(change, e)
    images = [IMAGES[0] ^ 1, IMAGES[1]] if change == "data" else IMAGES
    paths = [
        sweep.training_paths({name: e}, *i, tmp_path, source)[name]
        for e, i, source in (
            (e, IMAGES, "source"),
            (other, images, "other" if change == "source" else "source"),
        )
    ]
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    "damage", [b"", b"foreign", "cut", "flip", "other experiment", "other arrays"]
)
def test_a_damaged_checkpoint_costs_one_epoch(
    tmp_path, one_by_one, counted, capsys, damage
):
    name = next(iter(EXPERIMENTS))
    one, path = {name: EXPERIMENTS[name]}, path_of(name, tmp_path)
    train(tmp_path, one, n_jobs=1)
    whole, (arrays, settings) = path.read_bytes(), checkpoint.load(path)
    capsys.readouterr()
    counted.clear()
    if damage == "other experiment":
        checkpoint.write(path, b"")
        checkpoint.save(path, arrays, {"experiment": "another"})
    elif damage == "other arrays":
        checkpoint.write(path, b"")
        checkpoint.save(path, {"adam.t": np.array(1.0)}, settings)
    else:
        flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
        path.write_bytes({"cut": whole[:-9], "flip": flipped}.get(damage, damage))
    found = train(tmp_path, one, n_jobs=1)
    assert_same(found, {name: one_by_one[name]})
    said = capsys.readouterr().out
    if damage == "other experiment":
        assert counted == [1, 2, 3]  # whole, but of something else: nobody's loss
    elif damage == "other arrays":
        assert (
            counted == [1, 2, 3] and said.count("\n") == 1 and "beginning anew" in said
        )
    else:
        assert counted == [3], "only the last epoch was damaged"
        assert (
            said.count("\n") == 1
            and str(path) in said
            and "trying the one before it" in said
        )
    assert path.read_bytes() == whole


class Poisoned:
    """A corruption that makes the images of epoch 2 infinite, whenever that epoch is replayed."""

    def __repr__(self):
        return "Poisoned()"

    def __call__(self, images, rng):
        return images + (
            np.float32("inf") if rng.bit_generator.seed_seq.entropy[1] == 2 else 0
        )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_training_that_diverges_keeps_its_last_good_state(tmp_path, n_jobs):
    bad = {
        name: Experiment(Poisoned(), epochs=3, batch_size=64, seed=seed)
        for seed, name in enumerate("ab")
    }
    with pytest.raises(
        TrainingDiverged,
        match="The loss of epoch 2 is not finite. It began in batch 1 of the training "
        "images, in the images themselves, .* the state after epoch 1 is kept",
    ):
        train(tmp_path, bad, n_jobs=n_jobs)
    kept = [
        sweep.resume(e, path)
        for path, e in zip(
            sweep.training_paths(bad, *IMAGES, tmp_path, "source").values(),
            bad.values(),
        )
    ]
    assert 1 in [len(training.history) for training in kept]
    for training in kept:
        assert all(
            np.isfinite(values).all() for values in training.model.state_dict().values()
        )


def test_a_failure_leaves_no_worker_behind_and_others_in_peace(tmp_path):
    """After one, trainings go on as before; idle workers that another sweep has left do not die of it."""
    bad = {
        name: Experiment(Poisoned(), epochs=3, batch_size=64, seed=seed)
        for seed, name in enumerate("ab")
    }
    train(tmp_path, n_jobs=2)
    idle = {worker.pid for worker in multiprocessing.active_children()}
    assert idle
    with pytest.raises(TrainingDiverged):
        train(tmp_path, bad, n_jobs=1)
    assert {worker.pid for worker in multiprocessing.active_children()} == idle
    with pytest.raises(TrainingDiverged):
        train(tmp_path, bad, n_jobs=2)
    assert not multiprocessing.active_children()
    train(tmp_path, fresh=True, n_jobs=2)


def test_who_wants_no_more_disturbs_nobody(tmp_path, recwarn):
    """A sweep given up after its first result, or in the middle of a round: no warning, and joblib works as before."""
    short = {
        name: replace(e, epochs=1 + number)
        for number, (name, e) in enumerate(EXPERIMENTS.items())
    }
    next(sweep.train_all(short, *IMAGES, tmp_path, "source", n_jobs=2))
    assert joblib.Parallel(2)(joblib.delayed(abs)(-i) for i in range(4)) == [0, 1, 2, 3]
    with sweep.workers(2) as carry_out:
        assert (
            next(carry_out(joblib.delayed(time.sleep)(i) for i in (0, 1, 1, 1))) is None
        )
    assert joblib.Parallel(2)(joblib.delayed(abs)(-i) for i in range(4)) == [0, 1, 2, 3]
    assert not recwarn.list


def test_divergence_warns_of_nothing(recwarn):
    with pytest.raises(TrainingDiverged):
        Training(Experiment(epochs=1, batch_size=64, lr=1e30)).run(*IMAGES)
    assert not recwarn.list, "the error says it all"
