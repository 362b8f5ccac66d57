"""Training on every backend: the same numbers, saved and resumed bit for bit."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from backends import every_backend, readbacks

from data_tools import GaussianNoise, RandomErasing
from tinyae import Adam, AnelloAutoencoder, checkpoint
from tinyae.backend import backend_of
from tinyae.diagnosis import first_nonfinite
from tinyae.experiment import Experiment
from tinyae.training import Training, TrainingDiverged


def pixels(M, seed):
    return np.random.default_rng(seed).integers(0, 256, (M, 28, 28), dtype="uint8")


IMAGES = pixels(20, 1), pixels(7, 2)  # in batches of 8 the last ones are smaller
every_corruption = pytest.mark.parametrize(
    "corruption", [None, GaussianNoise(0.5), RandomErasing()], ids=repr
)
small = partial(AnelloAutoencoder, 3, width=2)


def training(backend, epochs=2, **how):
    """Return a new Training of a small network."""
    how = {"model": small, "epochs": epochs, "batch_size": 8} | how
    return Training(Experiment(backend=backend, **how))


@every_corruption
def test_training_has_numpys_history(corruption):
    """Strict's numbers are NumPy's. Each epoch reads two mean losses back, no more."""
    want = training("numpy", corruption=corruption).run(*IMAGES).history
    other = training("strict", corruption=corruption)
    with readbacks() as reads:
        other.run(*IMAGES)
    np.testing.assert_allclose(other.history, want, rtol=1e-5)
    assert reads == {"to_device": 4}


@every_backend
@every_corruption
def test_a_straight_run_equals_a_resumed_one(backend, corruption, tmp_path):
    """From the device to a file and back, to a copy or a pickle: not a bit differs."""
    whole = training(backend, 3, corruption=corruption).run(*IMAGES)
    first = training(backend, 3, corruption=corruption).run(*IMAGES, epochs=1)
    checkpoint.save(tmp_path / "file", first.state())
    resumed = training(backend, 3, corruption=corruption)
    resumed.restore(checkpoint.load(tmp_path / "file"))
    for other in resumed, copy.deepcopy(first), pickle.loads(pickle.dumps(first)):
        assert len(other.history) == 1
        assert other.run(*IMAGES).history == whole.history
        np.testing.assert_equal(other.state(), whole.state())
        for _, p in other.model.named_parameters():
            assert backend_of(p.data).name == backend


@every_backend
@pytest.mark.parametrize(
    "lr, began",
    [
        (1e39, "batch 1 of the training images, in decoder.decoder_conv.6.bias after"),
        (1e37, "batch 2 of the training images, in what encoder."),
    ],
)
def test_a_divergence_is_found_where_it_began(backend, lr, began):
    """A step beyond float32, and finite weights with an infinite product."""
    how = {"optimizer": partial(Adam, lr=lr)}
    with pytest.raises(TrainingDiverged, match="The loss of epoch 1 is not finite"):
        training(backend, **how).run(*IMAGES)
    where = first_nonfinite(training(backend, **how), IMAGES[0])
    assert where.startswith(f"It began in {began}")
