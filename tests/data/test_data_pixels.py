"""Salt and pepper, masking and mixtures change the right share of the pixels."""

import math

import numpy as np
import pytest
from data_draws import DTYPES, Constant, pictures, rng
from scipy import stats

from data_tools import GaussianNoise, Masking, Mixture, RandomErasing, SaltAndPepper

PIXELS = [
    (lambda amount: Masking(amount, value=2.5), [2.5]),
    (lambda amount: SaltAndPepper(amount, low=-2.0, high=3.0), [-2.0, 3.0]),
]
both = pytest.mark.parametrize("kind, values", PIXELS, ids=["masking", "salt"])


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("amount", [0.05, 0.5, 0.9])
def test_the_share_of_pixels_and_their_values(kind, values, dtype, amount):
    images = pictures((60, 3, 28, 29), dtype)  # in [-1, 1], unlike the values
    corrupted = kind(amount)(images, rng(2))
    changed = corrupted != images
    assert corrupted[~changed].tobytes() == images[~changed].tobytes()
    assert set(np.unique(corrupted[changed])) == set(values)
    for value in values:
        p = amount / len(values)
        bound = 5 * math.sqrt(p * (1 - p) / images.size)
        assert abs((corrupted == value).mean() - p) < bound
    # Neighbours in a row, a column, the channels and the batch are independent.
    flat = np.where(changed, corrupted, 0).ravel()
    for distance in (1, 29, 28 * 29, 3 * 28 * 29):
        correlation = np.corrcoef(flat[:-distance], flat[distance:])[0, 1]
        assert abs(correlation) < 5 / math.sqrt(flat.size)


@both
def test_each_image_draws_its_amount_from_a_pair(kind, values):
    images = np.zeros((500, 1, 60, 61), "float32")
    shares = (kind((0.2, 0.7))(images, rng(5)) != 0).mean(axis=(1, 2, 3))
    assert stats.kstest(shares, "uniform", (0.2, 0.5)).pvalue > 0.001


@both
def test_amounts_0_and_1(kind, values):
    images = pictures((20, 1, 10, 10))
    for amount, changes in ((0, False), ((0, 0), False), (1, True), ((1, 1), True)):
        assert ((kind(amount)(images, rng()) != images) == changes).all()
    np.testing.assert_array_equal(kind(0)(images, Constant(0.0)), images)


def test_a_mixture_gives_each_image_one_corruption():
    parts = [Masking(1, value=value) for value in (3, 4, 5)]
    images = pictures((6000, 2, 2, 3))
    mixed = Mixture((*parts, Masking(0)))(images, rng(3))
    left = (mixed == images).all(axis=(1, 2, 3))
    first = np.where(left, 0, mixed[:, 0, 0, 0])
    assert (mixed[~left] == first[~left, None, None, None]).all()  # all of the image
    numbers, counts = np.unique(first, return_counts=True)
    assert numbers.tolist() == [0, 3, 4, 5]
    assert stats.chisquare(counts).pvalue > 0.001
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 5 / math.sqrt(6000)


def test_the_parts_of_a_mixture_are_as_they_are_alone():
    images = np.zeros((4000, 1, 12, 12))
    mixed = Mixture((GaussianNoise((0.5, 2)), RandomErasing(p=1, value=9)))
    corrupted = mixed(images, rng(4))
    erased = (corrupted == 9).any(axis=(1, 2, 3))
    for part, corruption in zip((~erased, erased), mixed.corruptions, strict=True):
        deviations = corrupted[part].std(axis=(1, 2, 3))
        alone = corruption(images, rng(5)).std(axis=(1, 2, 3))
        assert stats.ks_2samp(deviations, alone, method="asymp").pvalue > 0.001


@pytest.mark.parametrize("u", [0.0, 1.0])  # a GPU may round up to 1
def test_a_mixture_for_the_rarest_draws(u):
    mixture = Mixture([Masking(1, value=3), Mixture((Masking(1, value=4),))])
    mixed = mixture(pictures((2, 1, 3, 3)), Constant(u * (1 - 1e-3)))
    assert (mixed == 3 + u).all()
