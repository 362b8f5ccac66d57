"""All corruptions leave their input alone, repeat, and name wrong arguments."""

import math
import random

import numpy as np
import pytest
from data_draws import DTYPES, pictures, rng

from data_tools import GaussianNoise, Masking, Mixture, RandomErasing, SaltAndPepper

SINGLE = [
    GaussianNoise(0.5),
    GaussianNoise((0.1, 0.9)),
    SaltAndPepper(0.4),
    SaltAndPepper((0.1, 0.9), low=-1.0),
    Masking(0.4, value=0.25),
    Masking((0.1, 0.9)),
    RandomErasing(p=0.7, value=0.25),
]
EVERY = [*SINGLE, Mixture(SINGLE)]
every = pytest.mark.parametrize("corruption", EVERY, ids=repr)


@every
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 3, 6, 9), (50, 1, 28, 28)])
def test_a_new_array_of_the_same_kind(corruption, dtype, shape):
    images = pictures(shape, dtype)
    before = images.copy()
    images.flags.writeable = False
    corrupted = corruption(images, rng())
    assert corrupted.shape == shape and corrupted.dtype == dtype
    assert not np.shares_memory(corrupted, images)
    np.testing.assert_array_equal(images, before)


@every
def test_the_generator_decides_all(corruption):
    images = pictures((40, 1, 28, 28))
    one, same, other = (corruption(images, rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@every
def test_memory_layout_does_not_matter(corruption):
    images = pictures((2, 6, 7, 20)).transpose(3, 0, 1, 2)[::2, :, ::-1]
    expected = corruption(images.copy(order="C"), rng())
    np.testing.assert_array_equal(corruption(images, rng()), expected)


def test_equal_settings_make_equal_corruptions():
    assert RandomErasing() == RandomErasing(0.5, [0.02, 0.33], (0.3, 3.3), 0)
    assert len({GaussianNoise(1), GaussianNoise(1.0), Masking(1), Masking(1, 0)}) == 2
    pairs = {SaltAndPepper([0, 1]), SaltAndPepper((0.0, 1.0), 0, 1)}
    assert len({Mixture(pairs) for pairs in ([*pairs], (*pairs, *pairs))}) == 2
    assert Mixture([*pairs]) == Mixture((*pairs,))
    assert GaussianNoise(1) != GaussianNoise(2) and Masking(1) != Masking((1, 1))
    texts = (
        "GaussianNoise(sigma=1.0)",
        "GaussianNoise(sigma=(0.0, 1.0))",
        "SaltAndPepper(amount=0.5, low=0.0, high=1.0)",
        "Masking(amount=(0.0, 0.5), value=0.0)",
        "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0)",
        "Mixture(corruptions=(GaussianNoise(sigma=1.0),))",
    )
    for text in texts:  # the text is in the key of a lesson's cache
        assert repr(eval(text)) == text
    with pytest.raises(AttributeError):
        GaussianNoise(1).sigma = 2


NAN, INF = math.nan, math.inf
BAD_NUMBERS = [(NAN, ValueError), ("1", TypeError), (None, TypeError), (1j, TypeError)]
BAD_AMOUNTS = [
    *BAD_NUMBERS,
    (-0.1, ValueError),
    (INF, ValueError),
    (True, TypeError),
    ((0.5, 0.4), ValueError),
    ((-0.1, 0.4), ValueError),
    ((0.1, NAN), ValueError),
    ((0.1,), ValueError),
    ((0.1, 0.2, 0.3), ValueError),
    ((0.1, "b"), TypeError),
]
BAD_PAIRS = [*BAD_AMOUNTS[7:], ((0, 0.3), ValueError), (0.3, TypeError)]
BAD_SETTINGS = [
    (GaussianNoise, "sigma", [*BAD_AMOUNTS, (10**400, ValueError)]),
    (SaltAndPepper, "amount", [*BAD_AMOUNTS, (1.1, ValueError), ((0, 2), ValueError)]),
    (SaltAndPepper, "low", [*BAD_NUMBERS, (-INF, ValueError), ((0, 1), TypeError)]),
    (SaltAndPepper, "high", [*BAD_NUMBERS, (INF, ValueError)]),
    (Masking, "amount", [*BAD_AMOUNTS, (1.1, ValueError), ((0, 2), ValueError)]),
    (Masking, "value", [*BAD_NUMBERS, (INF, ValueError)]),
    (RandomErasing, "p", [*BAD_NUMBERS, (-0.1, ValueError), (1.01, ValueError)]),
    (RandomErasing, "scale", [*BAD_PAIRS, ((0.1, 1.1), ValueError)]),
    (RandomErasing, "ratio", [*BAD_PAIRS, ((0.3, INF), ValueError)]),
    (RandomErasing, "value", [*BAD_NUMBERS, (-INF, ValueError), ((0, 1), TypeError)]),
    (Mixture, "corruptions", [((), ValueError), ((1,), TypeError), (None, TypeError)]),
    (Mixture, "corruptions", [("ab", TypeError), (Masking(1), TypeError)]),
    (Mixture, "corruptions", [([Masking], TypeError)]),  # the class, not an object
]


@pytest.mark.parametrize("kind, name, bad", BAD_SETTINGS)
def test_bad_settings_are_named(kind, name, bad):
    required = {SaltAndPepper: {"amount": 0.5}, Masking: {"amount": 0.5}}.get(kind, {})
    for value, error in bad:
        with pytest.raises(error, match=rf"^{name}: got .*, expected "):
            kind(**required | {name: value})


@every
@pytest.mark.parametrize(
    "images, error",
    [
        (np.zeros((2, 1, 4, 4), "uint8"), TypeError),
        (np.zeros((2, 1, 4, 4), "float16"), TypeError),
        (np.zeros((2, 1, 4, 4), bool), TypeError),
        ([[[[0.0]]]], TypeError),
        (None, TypeError),
        (np.zeros((4, 4)), ValueError),
        (np.zeros((0, 1, 4, 4)), ValueError),
        (np.zeros((2, 1, 4, 0)), ValueError),
    ],
)
def test_bad_images_are_named(corruption, images, error):
    with pytest.raises(error, match="^images: got .*, expected "):
        corruption(images, rng())


@every
@pytest.mark.parametrize(
    "generator", [None, 7, "seed", np.random.RandomState(0), random.Random(0)]
)
def test_a_bad_generator_is_named(corruption, generator):
    with pytest.raises(TypeError, match="^rng: got .*expected a NumPy Generator"):
        corruption(pictures((2, 1, 4, 4)), generator)
