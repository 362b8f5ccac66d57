"""Every layer, loss and corruption computes the same on every backend."""

import copy
import pickle

import numpy as np
import pytest
from backends import assert_close, every_backend, every_other, readbacks
from cases import LOSSES, arrays, every, every_dtype, every_layer, every_mode, new

from data_tools import GaussianNoise, Masking, Mixture, RandomErasing, SaltAndPepper
from tinyae.backend import backend_of, get_backend, to_numpy


def step(layer, shape, backend, dtype="float32"):
    """Run forward and backward there; return all arrays it made, on the host."""
    device, _ = get_backend(backend)
    (x,) = arrays(1, shape, dtype=dtype)
    x_there = device.from_numpy(x)
    y = layer.forward(x_there)
    (dy,) = arrays(2, tuple(y.shape), dtype=dtype)
    dy_there = device.from_numpy(dy)
    made = {"y": y, "dx": layer.backward(dy_there)}
    made |= {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
    made |= {name: p.data for name, p in layer.named_parameters()}
    made = {name: array for name, array in made.items() if array is not None}
    assert {backend_of(array) for array in made.values()} == {device}
    assert (to_numpy(x_there) == x).all() and (to_numpy(dy_there) == dy).all()
    return {name: to_numpy(array) for name, array in made.items()}


@every_other
@every_layer
@every_mode
@every_dtype
def test_a_layer_computes_what_numpy_computes(backend, part, shape, training, dtype):
    layer = new(part, dtype).train(training)
    want = step(copy.deepcopy(layer), shape, "numpy", dtype)
    with readbacks() as reads:
        got = step(layer.to(backend), shape, backend, dtype)
    assert not reads.keys() - {"to_device"}  # that is to_numpy
    assert got.keys() == want.keys()
    for name, values in want.items():
        assert_close(got[name], values, name)


@every_other
@every(LOSSES)
def test_a_loss_computes_what_numpy_computes(backend, part, shape):
    y, target = np.random.default_rng(1).random((2, *shape), dtype="float32")
    want = part.forward(y, target), part.backward()
    device, _ = get_backend(backend)
    value = part.forward(device.from_numpy(y), device.from_numpy(target))
    assert backend_of(value) is device and tuple(value.shape) == ()
    for got, wanted in zip((value, part.backward()), want, strict=True):
        assert_close(to_numpy(got), wanted)


@every_backend
@every_layer
def test_a_layer_can_be_copied_and_pickled_at_any_time(backend, part, shape):
    """The copy computes the same, and neither changes the other."""
    layer = new(part).to(backend)
    for _ in range(2):  # before a forward, and after a forward and backward
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
        state, want = layer.state_dict(), step(layer, shape, backend)
        for other in copies:
            for name, values in other.state_dict().items():
                np.testing.assert_array_equal(values, state[name])
            np.testing.assert_equal(step(other, shape, backend), want)


SINGLE = (
    GaussianNoise(0.5),
    GaussianNoise((0.1, 0.9)),
    SaltAndPepper((0.1, 0.9), low=-1.0),
    Masking(0.4, value=0.25),
    RandomErasing(p=0.7, value=0.25),
)
CORRUPTIONS = [*SINGLE, Mixture(SINGLE)]
every_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)


@every_corruption
@every_dtype
def test_a_corruption_computes_what_numpy_computes_and_reads_nothing(corruption, dtype):
    images = np.random.default_rng(1).random((6, 3, 7, 9), dtype=dtype)
    device, _ = get_backend("strict")
    there, rng = device.from_numpy(images), device.rng(1, 2, "noise")
    with readbacks() as reads:
        corrupted = corruption(there, rng)
    assert not reads and backend_of(corrupted) is device
    assert (to_numpy(there) == images).all(), "it changed its argument"
    want = corruption(images, get_backend("numpy")[0].rng(1, 2, "noise"))
    assert_close(to_numpy(corrupted), want)


@every_backend
def test_random_numbers_fill_0_to_1_and_differ_by_seed_epoch_and_purpose(backend):
    device, _ = get_backend(backend)

    def draw(*key):
        return to_numpy(device.rng(*key).random((500,), dtype=device.xp.float32))

    first = draw(1, 2, "noise")
    assert first.dtype == "float32" and 0 <= first.min() < 0.1 and 0.9 < first.max() < 1
    assert (first == draw(1, 2, "noise")).all()
    for other in [(2, 2, "noise"), (1, 3, "noise"), (1, 2, "order")]:
        assert (first != draw(*other)).any()
