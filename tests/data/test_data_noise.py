"""Gaussian noise is normal, independent and of the given sigma."""

import math

import numpy as np
import pytest
from data_draws import DTYPES, Constant, pictures, rng
from scipy import stats

from data_tools import GaussianNoise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(101, 3, 31, 37), (200, 1, 28, 28)])  # odd and even
def test_noise_is_normal(dtype, shape):
    images = pictures(shape, dtype)
    noisy = GaussianNoise(0.25)(images, rng(3)).astype("float64")
    noise = (noisy - images).ravel() / 0.25
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert 3.5 < abs(noise).max() < 6.5  # the tails of so many values


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_values_are_independent(dtype):
    noise = GaussianNoise(1)(np.zeros((400, 1, 28, 28), dtype), rng(4)).ravel()
    # The values i and half + i come from the same two uniform numbers; the others are
    # neighbours in a row, in a column and in the batch.
    for distance in (noise.size // 2, 1, 28, 784):
        a, b = noise[:-distance], noise[distance:]
        for power in (1, 2):
            assert abs(np.corrcoef(a**power, b**power)[0, 1]) < 5 / math.sqrt(len(a))
    # No number is used twice; in float32 a few are equal all the same.
    assert len(np.unique(noise)) > 0.95 * noise.size


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_box_and_mullers_formula(sigma, dtype):
    images = pictures((9, 1, 7, 5), dtype)
    u, v = rng().random((2, 158), dtype=dtype).astype("float64")  # 316 for 315 values
    radius = sigma * np.sqrt(-2 * np.log(u + np.finfo(dtype).eps / 4))
    noise = np.append(radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v))
    expected = images + noise[:315].reshape(images.shape)
    noisy = GaussianNoise(sigma)(images, rng())
    np.testing.assert_allclose(
        noisy, expected, atol=1e-12 if dtype == DTYPES[1] else 1e-5
    )
    equal = GaussianNoise((sigma, sigma))(images, rng())  # a pair, by another line
    np.testing.assert_allclose(equal, noisy, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_image_draws_its_sigma_from_a_pair(dtype):
    noise = GaussianNoise((0.2, 0.8))(np.zeros((500, 1, 60, 61), dtype), rng(5))
    sigmas = noise.std(axis=(1, 2, 3))
    assert stats.kstest(sigmas, "uniform", (0.2, 0.6)).pvalue > 0.001
    standard = (noise / sigmas[:, None, None, None]).ravel()
    assert stats.kstest(standard, "norm").pvalue > 0.001


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("u", [0.0, 1.0])  # a GPU may round up to 1
def test_noise_is_finite_for_the_rarest_draws(dtype, u):
    images = np.zeros((2, 1, 3, 3), dtype)
    for sigma in (1, (0, 1)):
        noise = GaussianNoise(sigma)(images, Constant(u))
        assert np.isfinite(noise).all() and abs(noise).max() < 9
