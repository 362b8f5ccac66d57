"""The autoencoder on every backend: trained, evaluated, saved, resumed and copied."""

import copy
import pickle
import re
from functools import partial

import array_api_strict as strict
import cases
import numpy as np
import pytest
from backends import DEVICE, assert_close, every_backend, every_other, readbacks
from counted import CountedArray
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import GaussianNoise, RandomErasing
from tinyae import Adam, AnelloAutoencoder, MSELoss, checkpoint
from tinyae.backend import HostGenerator, backend_of, get_backend, to_numpy
from tinyae.diagnosis import first_nonfinite
from tinyae.experiment import Experiment
from tinyae.training import Training, TrainingDiverged

# The autoencoder


def train(backend, dtype, seed, N, steps=3):
    """Take steps on random images with noise; return the losses, model and images."""
    device, _ = get_backend(backend)
    coarse = np.random.default_rng(seed).uniform(0, 1, (N, 1, 7, 7)).astype(dtype)
    images = device.from_numpy(np.kron(coarse, np.ones((1, 1, 4, 4), dtype)))
    model = AnelloAutoencoder(3, dtype=dtype, seed=seed, width=3).to(backend)
    adam, loss = Adam(model.parameters(), lr=0.01, weight_decay=1e-3), MSELoss()
    losses = []
    for number in range(steps):
        rng = HostGenerator([seed, number], device.from_numpy)
        x = GaussianNoise(0.1)(images, rng)
        losses.append(loss.forward(model.forward(x), images))
        model.backward(loss.backward(), input_grad=False)
        adam.step()
    losses.append(loss.forward(model.eval().forward(images), images))
    return to_numpy(device.xp.stack(losses)), model, images


@every_other
@settings(max_examples=4)  # each trains four times
@given(seed=cases.seeds, N=st.integers(2, 6))
def test_training_agrees_with_numpy(backend, seed, N):
    """All weights in float64; in float32 only the losses.

    The gradients of the biases before a batch norm are zero but for rounding. Adam
    turns such rounding errors into whole steps, and they differ between machines.
    """
    losses, model, images = train(backend, "float64", seed, N)
    want, reference, _ = train("numpy", "float64", seed, N)
    assert_close(losses, want, "float64", "losses")
    for name, values in reference.state_dict().items():
        assert_close(model.state_dict()[name], values, "float64", name)
    codes = reference.encode(to_numpy(images))
    assert_close(to_numpy(model.encode(images)), codes, "float64", "codes")
    losses, want = (train(name, "float32", seed, N)[0] for name in (backend, "numpy"))
    assert_close(losses, want, "float32", "float32 losses")


@every_backend
def test_weights_go_to_the_device_and_back_unchanged(backend):
    _, model, images = train(backend, "float32", 3, 2)
    state, there = model.state_dict(), to_numpy(model.forward(images))
    again = AnelloAutoencoder(3, width=3, seed=9).eval().to(backend)
    again.load_state_dict(state)
    assert (to_numpy(again.forward(images)) == there).all()
    for _, p in [*model.named_parameters(), *again.named_parameters()]:
        assert backend_of(p.data) is get_backend(backend)[0]
    host = model.to("numpy")
    assert all((host.state_dict()[n] == values).all() for n, values in state.items())
    assert all(p.grad is None for p in host.parameters()), "it was on another device"
    assert_close(host.forward(to_numpy(images)), there, "float32")


# The tools themselves


def test_strict_refuses_what_a_gpu_would():
    there, here = strict.asarray([1.0], device=DEVICE), strict.asarray([1.0])
    with pytest.raises(RuntimeError):
        np.asarray(there)
    with pytest.raises(ValueError):
        there + here
    with pytest.raises(TypeError):
        there + np.ones(1)
    assert not hasattr(strict, "einsum")


READS = {
    "__float__": float,
    "__int__": int,
    "__bool__": bool,
    "__complex__": complex,
    "to_device": to_numpy,
}


@pytest.mark.parametrize("name, read", READS.items(), ids=READS)
def test_readbacks_are_seen(name, read):
    with readbacks() as reads:
        read(strict.asarray(1.0, device=DEVICE))
    assert reads == {name: 1}


REFUSED = [
    np.asarray,
    np.exp,
    iter,
    float,
    lambda x: x + np.ones(3),
    lambda x: np.ones(3) * x,
    lambda x: x[np.array([0])],
]


@pytest.mark.parametrize("wrong", REFUSED)
def test_counted_refuses_numpy(wrong):
    with pytest.raises(TypeError):
        wrong(CountedArray(np.ones(3)))


# Training


def pixels(M, seed):
    return np.random.default_rng(seed).integers(0, 256, (M, 28, 28), dtype="uint8")


IMAGES = pixels(20, 1), pixels(7, 2)  # in batches of 8 the last ones are smaller
every_corruption = pytest.mark.parametrize(
    "corruption", [None, GaussianNoise(0.5), RandomErasing()], ids=repr
)


def training(backend, epochs=2, **how):
    """Return a new Training of a small network."""
    model = partial(AnelloAutoencoder, 3, width=2)
    how = {"model": model, "epochs": epochs, "batch_size": 8} | how
    return Training(Experiment(backend=backend, **how))


def assert_same(one, other):
    assert one.history == other.history
    for name, values in one.state().items():
        np.testing.assert_array_equal(other.state()[name], values, name, strict=True)


@pytest.mark.parametrize("backend", ["strict", "counted"])  # their numbers are NumPy's
@every_corruption
def test_training_has_numpys_history(backend, corruption):
    want = training("numpy", corruption=corruption).run(*IMAGES).history
    got = training(backend, corruption=corruption).run(*IMAGES).history
    np.testing.assert_allclose(got, want, rtol=1e-5)


@every_backend
@every_corruption
def test_a_straight_run_equals_a_resumed_one(backend, corruption, tmp_path):
    """From the device to a file and back: not a bit differs."""
    whole = training(backend, 3, corruption=corruption).run(*IMAGES)
    first = training(backend, 3, corruption=corruption).run(*IMAGES, epochs=1)
    checkpoint.save(tmp_path / "file", first.state())
    state = checkpoint.load(tmp_path / "file")
    resumed = training(backend, 3, corruption=corruption).restore(state)
    assert_same(resumed.run(*IMAGES), whole)
    for _, p in resumed.model.named_parameters():
        assert backend_of(p.data).name == backend
    images = np.random.default_rng(3).random((5, 1, 28, 28), dtype="float32")
    for after_first in (False, True):
        one, other = (t.reconstruct(images, after_first) for t in (whole, resumed))
        np.testing.assert_array_equal(one, other)


@every_backend
def test_a_training_can_be_copied_and_pickled(backend):
    first = training(backend).run(*IMAGES, epochs=1)
    copies = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
    first.run(*IMAGES)
    for other in copies:
        assert len(other.history) == 1
        assert_same(other.run(*IMAGES), first)


@every_backend
def test_an_epoch_can_be_repeated(backend):
    one = training(backend, corruption=GaussianNoise(0.1))
    there = one.backend.from_numpy(IMAGES[0])

    def draw(epoch):
        batches = [to_numpy(x) for x, _ in one.train_batches(there, epoch)]
        return np.concatenate(batches)

    assert (draw(2) == draw(2)).all() and (draw(1) != draw(2)).any()


@every_backend
@pytest.mark.parametrize(
    "lr, began",
    [
        (1e39, "in batch 1 of the training images, in the weights after Adam's step."),
        (1e37, r"in batch 2 of the training images, in the output of [\w.]+ \(\w+\)."),
    ],
)
def test_a_divergence_is_found_where_it_began(backend, lr, began):
    """A step beyond float32, and finite weights with an infinite product."""
    with pytest.raises(TrainingDiverged, match="The loss of epoch 1 is not finite"):
        training(backend, lr=lr).run(*IMAGES)
    where = first_nonfinite(training(backend, lr=lr), IMAGES[0])
    assert re.fullmatch(f"It began {began}", where)


@every_corruption
def test_an_epoch_reads_back_twice(corruption):
    """The processor waits for two mean losses, and for nothing else."""
    one = training("strict", 3, corruption=corruption)
    with readbacks() as reads:
        one.run(*IMAGES)
    assert reads == {"to_device": 6}
