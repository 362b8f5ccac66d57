"""Gaussian noise: normal, independent, as large as asked."""

import math

import numpy
import pytest
from draws import DTYPES, Constant, pictures, rng
from scipy import stats

from data_tools import GaussianNoise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(101, 3, 31, 37), (200, 1, 28, 28)]
)  # an odd number of values, and an even one
def test_noise_is_normal(dtype, shape):
    images = pictures(shape, dtype)
    noise = (
        GaussianNoise(0.25)(images, rng(3)).astype("float64") - images
    ).ravel() / 0.25
    n = noise.size
    assert abs(noise.mean()) < 5 / math.sqrt(n)
    assert abs(noise.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((noise**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((noise**4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert 3.5 < abs(noise).max() < 6.5  # tails as far out as so many values have them


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_values_are_independent(dtype):
    noise = GaussianNoise(1)(numpy.zeros((400, 1, 28, 28), dtype), rng(4)).ravel()
    half = noise.size // 2
    cosines, sines = (
        noise[:half],
        noise[half:],
    )  # value i of each comes from one and the same pair of uniforms
    for a, b in [
        (cosines, sines),
        (noise[:-1], noise[1:]),
        (noise[:-28], noise[28:]),
        (noise[:-784], noise[784:]),
    ]:
        for power in (1, 2):
            assert abs(numpy.corrcoef(a**power, b**power)[0, 1]) < 5 / math.sqrt(len(a))
        assert abs(numpy.corrcoef(abs(a), b)[0, 1]) < 5 / math.sqrt(len(a))
    assert (
        len(numpy.unique(noise)) > 0.95 * noise.size
    )  # none is used twice; float32 has few enough to coincide


def test_noise_is_drawn_anew_for_every_image_and_channel():
    noise = GaussianNoise(1)(numpy.zeros((6, 3, 4, 5)), rng())
    assert len(numpy.unique(noise)) == noise.size


def test_noise_scales_with_sigma():
    images = pictures((9, 1, 7, 5), "float64")
    small, large = (
        GaussianNoise(sigma)(images, rng()) - images for sigma in (0.5, 2.0)
    )
    numpy.testing.assert_allclose(large, 4 * small, rtol=1e-9, atol=1e-12)


def test_no_noise_is_an_equal_copy():
    images = pictures((5, 1, 7, 9))
    numpy.testing.assert_array_equal(GaussianNoise(0)(images, rng()), images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "u", [0.0, 1.0]
)  # NumPy's generators may draw 0; a GPU's may round up to 1
def test_noise_is_finite_for_the_rarest_draws(dtype, u):
    noise = GaussianNoise(1)(numpy.zeros((2, 1, 3, 3), dtype), Constant(u))
    assert numpy.isfinite(noise).all() and abs(noise).max() < 9
