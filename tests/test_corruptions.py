"""What both corruptions share: input untouched, the same on every backend, wrong arguments named."""

import math
import random

import numpy
import pytest
from backends import every_other, readbacks
from draws import DTYPES, pictures, rng

from data_tools import GaussianNoise, RandomErasing
from tinyae.backend import choose

BOTH = [GaussianNoise(0.5), RandomErasing(p=0.7, value=0.25)]


# ---- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (3, 1, 5, 7), (4, 3, 6, 9), (50, 1, 28, 28)]
)
def test_a_new_array_of_the_same_kind(corruption, dtype, shape):
    images = pictures(shape, dtype)
    before = images.copy()
    images.flags.writeable = False
    corrupted = corruption(images, rng())
    assert corrupted.shape == shape and corrupted.dtype == dtype
    assert not numpy.shares_memory(corrupted, images)
    numpy.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
def test_the_generator_decides_all(corruption):
    images = pictures((40, 1, 28, 28))
    one, same, other = (corruption(images, rng(seed)) for seed in (5, 5, 6))
    numpy.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
def test_memory_layout_does_not_matter(corruption):
    images = pictures((10, 2, 6, 7))
    batch_last = numpy.ascontiguousarray(images.transpose(1, 2, 3, 0)).transpose(
        3, 0, 1, 2
    )
    assert not batch_last.flags.c_contiguous
    numpy.testing.assert_array_equal(
        corruption(batch_last, rng()), corruption(images, rng())
    )
    numpy.testing.assert_array_equal(
        corruption(images[::2, :, ::-1], rng()),
        corruption(images[::2, :, ::-1].copy(), rng()),
    )


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 1, 5, 7), (20, 3, 9, 8)])
@pytest.mark.parametrize("name", ["strict", "counted"])
def test_the_same_on_a_device_that_is_not_the_host(corruption, dtype, shape, name):
    backend, _ = choose(name)
    images = pictures(shape, dtype)
    on_device, generator = backend.from_numpy(images), backend.rng(1, 2, "noise")
    with readbacks() as reads:
        corrupted = corruption(on_device, generator)
    assert (
        not reads
        and isinstance(corrupted, backend.array_type)
        and corrupted.device == on_device.device
    )
    numpy.testing.assert_array_equal(backend.to_numpy(on_device), images)
    numpy.testing.assert_array_equal(
        backend.to_numpy(corrupted), corruption(images, rng([1, 2, *b"noise"]))
    )
    with pytest.raises(TypeError, match="^rng: got .*expected .*backend"):
        corruption(on_device, rng())  # NumPy's numbers for images on a device


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@every_other
def test_every_backend_corrupts_and_replays(corruption, backend):
    backend, _ = choose(backend)
    images = backend.from_numpy(numpy.ones((500, 1, 28, 28), "float32"))
    one, same, other = (
        backend.to_numpy(corruption(images, backend.rng(0, epoch, "noise")))
        for epoch in (1, 1, 2)
    )
    numpy.testing.assert_array_equal(one, same)
    assert one.dtype == numpy.float32 and (one != other).any()
    changed, expected = (
        (one != 1).any(axis=(1, 2, 3)).mean(),
        getattr(corruption, "p", 1),
    )
    assert abs(changed - expected) < 0.1


def test_a_corruption_is_a_value():
    assert (
        GaussianNoise(1) == GaussianNoise(1.0)
        and repr(GaussianNoise(1)) == "GaussianNoise(sigma=1.0)"
    )
    assert GaussianNoise(1) != GaussianNoise(2)
    assert RandomErasing() == RandomErasing(0.5, [0.02, 0.33], (0.3, 3.3), 0)
    assert RandomErasing() != RandomErasing(
        value=1
    ) and RandomErasing() != RandomErasing(scale=(0.02, 0.3))
    assert (
        repr(RandomErasing())
        == "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0)"
    )
    assert (
        len(
            {
                GaussianNoise(1),
                GaussianNoise(1.0),
                RandomErasing(),
                RandomErasing(p=0.5),
            }
        )
        == 2
    )
    with pytest.raises(AttributeError):
        GaussianNoise(1).sigma = 2


# ---- bad arguments -------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
BAD_SETTINGS = [
    (GaussianNoise, {"sigma": -0.1}, ValueError),
    (GaussianNoise, {"sigma": NAN}, ValueError),
    (GaussianNoise, {"sigma": INF}, ValueError),
    (GaussianNoise, {"sigma": "1"}, TypeError),
    (GaussianNoise, {"sigma": None}, TypeError),
    (GaussianNoise, {"sigma": True}, TypeError),
    (GaussianNoise, {"sigma": 1j}, TypeError),
    (GaussianNoise, {"sigma": 10**400}, ValueError),
    (RandomErasing, {"p": -0.1}, ValueError),
    (RandomErasing, {"p": 1.01}, ValueError),
    (RandomErasing, {"p": NAN}, ValueError),
    (RandomErasing, {"p": "half"}, TypeError),
    (RandomErasing, {"scale": (0.33, 0.02)}, ValueError),
    (RandomErasing, {"scale": (0, 0.3)}, ValueError),
    (RandomErasing, {"scale": (-0.1, 0.3)}, ValueError),
    (RandomErasing, {"scale": (0.1, 1.1)}, ValueError),
    (RandomErasing, {"scale": (0.1, NAN)}, ValueError),
    (RandomErasing, {"scale": (NAN, 0.1)}, ValueError),
    (RandomErasing, {"scale": (0.1,)}, ValueError),
    (RandomErasing, {"scale": (0.1, 0.2, 0.3)}, ValueError),
    (RandomErasing, {"scale": 0.3}, TypeError),
    (RandomErasing, {"scale": "ab"}, TypeError),
    (RandomErasing, {"scale": (0.1, "b")}, TypeError),
    (RandomErasing, {"ratio": (3.3, 0.3)}, ValueError),
    (RandomErasing, {"ratio": (0, 3.3)}, ValueError),
    (RandomErasing, {"ratio": (0.3, INF)}, ValueError),
    (RandomErasing, {"ratio": (-1, 1)}, ValueError),
    (RandomErasing, {"ratio": None}, TypeError),
    (RandomErasing, {"ratio": (0.3, 1, 3.3)}, ValueError),
    (RandomErasing, {"value": NAN}, ValueError),
    (RandomErasing, {"value": -INF}, ValueError),
    (RandomErasing, {"value": "random"}, TypeError),
    (RandomErasing, {"value": (0.1, 0.2)}, TypeError),
]


@pytest.mark.parametrize("kind, settings, error", BAD_SETTINGS)
def test_bad_settings_are_named(kind, settings, error):
    [name] = settings
    with pytest.raises(error, match=rf"^{name}: got .*, expected "):
        kind(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (0.1, 0.1)},
        {"scale": (0.5, 1)},
        {"ratio": (2, 2)},
        {"p": 0},
        {"p": 1},
        {"value": -1},
    ],
)
def test_settings_at_the_edge_are_accepted(settings):
    RandomErasing(**settings)


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize(
    "images, error",
    [
        (numpy.zeros((2, 1, 4, 4), "uint8"), TypeError),
        (numpy.zeros((2, 1, 4, 4), "int64"), TypeError),
        (numpy.zeros((2, 1, 4, 4), "float16"), TypeError),
        (numpy.zeros((2, 1, 4, 4), bool), TypeError),
        (numpy.zeros((2, 1, 4, 4), "complex64"), TypeError),
        ([[[[0.0]]]], TypeError),
        (None, TypeError),
        (numpy.zeros((4, 4)), ValueError),
        (numpy.zeros((2, 4, 4)), ValueError),
        (numpy.zeros((2, 1, 1, 4, 4)), ValueError),
        (numpy.zeros((0, 1, 4, 4)), ValueError),
        (numpy.zeros((2, 0, 4, 4)), ValueError),
        (numpy.zeros((2, 1, 4, 0)), ValueError),
    ],
)
def test_bad_images_are_named(corruption, images, error):
    with pytest.raises(error, match="^images: got .*, expected "):
        corruption(images, rng())


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize(
    "generator", [None, 7, "seed", numpy.random.RandomState(0), random.Random(0)]
)
def test_a_bad_generator_is_named(corruption, generator):
    with pytest.raises(TypeError, match="^rng: got .*expected a NumPy Generator"):
        corruption(pictures((2, 1, 4, 4)), generator)
