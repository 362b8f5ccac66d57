"""Trainings on several processes each: what one would train, and nothing lost when one of them dies."""

import os
import signal
from dataclasses import replace

import joblib
import numpy as np
import pytest
import sweep
from joblib.externals.loky.process_executor import TerminatedWorkerError
from test_sweep import IMAGES, assert_same

from data_tools import GaussianNoise
from tinyae.training import Experiment, Training, TrainingDiverged

CORRUPTED = Experiment(GaussianNoise(0.2), clean_target=True, epochs=3, batch_size=64)


def train(folder, experiment=CORRUPTED, processes=1, **how):
    experiment = replace(experiment, processes=processes)
    ((_, training),) = sweep.train_all(
        {"one": experiment}, *IMAGES, folder, "source", **how
    )
    return training


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train(tmp_path_factory.mktemp("two"), processes=2)


def test_processes_train_what_one_trains(tmp_path, two):
    one = train(tmp_path)
    assert len(two.history) == 3 and two.history != one.history, (
        "rounding differs, or nothing was shared"
    )
    np.testing.assert_allclose(two.history, one.history, rtol=1e-4)
    for name, values in one.first_model.state_dict().items():
        np.testing.assert_allclose(
            two.first_model.state_dict()[name], values, rtol=0, atol=5e-3, err_msg=name
        )


@pytest.mark.parametrize("n_jobs", [1, 2, 5])
def test_the_number_of_cores_changes_no_bit(tmp_path, two, n_jobs):
    assert_same({"one": train(tmp_path, processes=2, n_jobs=n_jobs)}, {"one": two})


def test_several_trainings_of_several_processes(tmp_path, two):
    others = {
        str(seed): Experiment(epochs=2, batch_size=64, seed=seed, processes=2)
        for seed in range(3)
    }
    both = others | {"one": replace(CORRUPTED, processes=2)}
    found = dict(sweep.train_all(both, *IMAGES, tmp_path, "source", n_jobs=3))
    assert_same({"one": found["one"]}, {"one": two})
    assert [len(found[name].history) for name in others] == [2, 2, 2]


class Kills:
    """A corruption that kills the second member of a group in epoch 2, if FOLDER/kill is there."""

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        return "Kills()"

    def __call__(self, images, rng):
        try:
            if rng.bit_generator.seed_seq.entropy[1] == 2:
                os.remove(self.folder / "kill")  # whoever comes first
                os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            pass
        return images


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_member_that_dies_costs_one_epoch(tmp_path):
    experiment = Experiment(Kills(tmp_path), epochs=3, batch_size=64, processes=2)
    undisturbed = train(tmp_path / "undisturbed", experiment, 2)
    (tmp_path / "kill").touch()
    with pytest.raises(TerminatedWorkerError):
        train(tmp_path / "killed", experiment, 2)
    (path,) = sweep.training_paths(
        {"one": experiment}, *IMAGES, tmp_path / "killed", "source"
    ).values()
    assert len(sweep.resume(experiment, path).history) == 1
    assert_same(
        {"one": train(tmp_path / "killed", experiment, 2)}, {"one": undisturbed}
    )


class Poisoned:
    """A corruption that makes one image of epoch 2 infinite."""

    def __repr__(self):
        return "Poisoned()"

    def __call__(self, images, rng):
        images = images.copy()
        images[1] += (
            np.float32("inf") if rng.bit_generator.seed_seq.entropy[1] == 2 else 0
        )
        return images


def test_a_divergence_is_explained(tmp_path):
    """Each member looks for itself, at whole batches: one whose part has nothing wrong with it would wait for ever."""
    with pytest.raises(
        TrainingDiverged,
        match="The loss of epoch 2 is not finite. It began in batch 1 of the training "
        "images, in the images themselves, .* the state after epoch 1 is kept",
    ):
        train(tmp_path, Experiment(Poisoned(), epochs=3, batch_size=64), processes=2)


@pytest.mark.parametrize(
    "change, kind, said",
    [
        ({"processes": 0}, ValueError, ("processes", "0", "at least 1")),
        ({"processes": 1.5}, TypeError, ("processes", "1.5", "an integer")),
        (
            {"processes": 3},
            ValueError,
            ("processes", "3", "divisor", "batch_size", "64"),
        ),
        (
            {"processes": 2, "backend": "cupy"},
            ValueError,
            ("processes", "2", "expected 1", "cupy"),
        ),
    ],
)
def test_wrong_numbers_of_processes(change, kind, said):
    with pytest.raises(kind) as raised:
        replace(CORRUPTED, **change)
    assert all(word in str(raised.value) for word in said), raised.value


def test_one_process_is_no_group():
    with pytest.raises(
        ValueError,
        match="processes: got 2 in a group of 1, expected a group of that size",
    ):
        Training(replace(CORRUPTED, processes=2)).run(*IMAGES)


def test_parts_of_the_images_are_of_one_size(tmp_path):
    with pytest.raises(
        ValueError,
        match="test_images: got 63 images, expected a multiple of the experiment's processes, 2",
    ):
        list(
            sweep.train_all(
                {"one": replace(CORRUPTED, processes=2)},
                IMAGES[0],
                IMAGES[1][:63],
                tmp_path,
                "source",
            )
        )


def test_a_sweep_has_one_number_of_processes(tmp_path):
    both = {"one": CORRUPTED, "two": replace(CORRUPTED, processes=2)}
    with pytest.raises(
        ValueError,
        match=r"processes: got \[1, 2\], expected the same for all experiments",
    ):
        list(sweep.train_all(both, *IMAGES, tmp_path, "source"))


def test_threads_and_clusters_are_refused(tmp_path):
    with (
        joblib.parallel_config(backend="threading"),
        pytest.raises(
            ValueError, match="processes: got 2, expected 1: this is no worker process"
        ),
    ):
        train(tmp_path, processes=2)
