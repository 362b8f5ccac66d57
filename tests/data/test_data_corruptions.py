"""A corruption is its formula, leaves its input alone, and names wrong arguments."""

import math
from typing import NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
from scipy import stats

from data_tools import GaussianNoise, Masking, Mixture, RandomErasing, SaltAndPepper


def rng(seed=5):
    return np.random.default_rng(seed)


def pictures(shape=(5, 3, 7, 9), dtype="float64"):
    return rng(1).uniform(-1, 1, shape).astype(dtype)


# Each corruption is its formula, computed here from the same uniform numbers.

AMOUNTS = [0.0, 0.3, 1.0, (0.2, 0.7)]
SHAPES = [(9, 1, 7, 5), (8, 3, 4, 6)]  # an odd and an even number of pixels


def drawn(amount, generator, images):
    """One amount, or for a pair one for each image, uniform between the two."""
    if isinstance(amount, float):
        return amount
    low, high = amount
    return low + (high - low) * generator.random((len(images), 1, 1, 1), images.dtype)


class Draws:
    """A generator of the given numbers, each for one call: for the rarest draws."""

    def __init__(self, *numbers):
        self.numbers = iter(numbers)

    def random(self, size, dtype):
        return np.full(size, next(self.numbers), dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", AMOUNTS)
@pytest.mark.parametrize("dtype, error", [("float32", 1e-5), ("float64", 1e-12)])
def test_noise_is_box_and_mullers(shape, sigma, dtype, error):
    images, generator = pictures(shape, dtype), rng()
    u, v = generator.random((2, (images.size + 1) // 2), dtype).astype("float64")
    radius = np.sqrt(-2 * np.log(u + np.finfo(dtype).eps / 4))
    noise = np.append(radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v))
    noise = noise[: images.size].reshape(shape)
    expected = images + drawn(sigma, generator, images) * noise
    np.testing.assert_allclose(GaussianNoise(sigma)(images, rng()), expected, 0, error)


def test_box_and_muller_make_normal_numbers():
    noise = GaussianNoise(1)(np.zeros((100, 1, 30, 30)), rng()).ravel()
    assert stats.kstest(noise, "norm").pvalue > 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("u, share", [(0, 1), (1, 0)])  # a GPU may round up to 1
def test_noise_is_finite_for_the_rarest_draws(dtype, u, share):
    noise = GaussianNoise(1)(np.zeros((2, 1, 3, 3), dtype), Draws(u))
    most = math.sqrt(-2 * math.log(np.finfo(dtype).eps / 4))
    assert noise.max() == pytest.approx(share * most)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("amount", AMOUNTS)
def test_an_amount_of_the_pixels_is_painted(shape, amount):
    images, generator = pictures(shape), rng()
    share = drawn(amount, generator, images)
    u = generator.random(shape)
    masked = np.where(u < share, 2.5, images)
    np.testing.assert_array_equal(Masking(amount, 2.5)(images, rng()), masked)
    salted = np.where(u < share / 2, -2, np.where(u < share, 3, images))
    np.testing.assert_array_equal(SaltAndPepper(amount, -2, 3)(images, rng()), salted)


def erased(images, erasing, generator):
    """Erase as torchvision does: image by image, try by try."""
    N, _, H, W = images.shape
    chosen = generator.random(N) < erasing.p
    low, high = erasing.scale
    areas = H * W * (low + (high - low) * generator.random((10, N)))
    low, high = np.log(erasing.ratio)
    ratios = np.exp(low + (high - low) * generator.random((10, N)))
    tops, lefts = generator.random((2, N))
    images = images.copy()
    for i in np.flatnonzero(chosen):
        for area, ratio in zip(areas[:, i], ratios[:, i], strict=True):
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < H and w < W:
                top = int(tops[i] * (H - h + 1))
                left = int(lefts[i] * (W - w + 1))
                images[i, :, top : top + h, left : left + w] = erasing.value
                break
    return images


@pytest.mark.parametrize(
    "H, W, erasing",
    [
        (28, 28, RandomErasing()),  # the report's
        (20, 31, RandomErasing(0.8, (0.1, 0.5), (0.5, 4.0), 0.3)),  # sides differ
        (9, 12, RandomErasing(1, (0.8, 1.0))),  # few boxes fit: the tries matter
        (6, 5, RandomErasing(1, (0.01, 0.2), (0.2, 5.0))),  # the rounding matters
    ],
)
def test_erasing_is_torchvisions(H, W, erasing):
    images = pictures((2000, 2, H, W))
    ours = erasing(images, rng())
    np.testing.assert_array_equal(ours, erased(images, erasing, rng()))


@pytest.mark.parametrize("u, place", [(0, 0), (1 - 2**-24, 20), (1, 20)])
def test_a_box_stays_inside_for_the_rarest_draws(u, place):
    # 1 - 2^-24 is the largest float32 below 1; a GPU may round up to 1.
    ninth = RandomErasing(1, scale=(1 / 9, 1 / 9), ratio=(1, 1))
    box = ninth(np.ones((1, 1, 30, 30), "float32"), Draws(0, 0, 0, u, u))[0, 0] == 0
    assert np.argwhere(box)[[0, -1]].tolist() == [[place] * 2, [place + 9] * 2]
    assert box.sum() == 100


@pytest.mark.parametrize(
    "corruption", [Masking(0, 9), SaltAndPepper(0, 9, 9), RandomErasing(0, value=9)]
)
def test_what_has_probability_0_never_happens(corruption):
    images = pictures()
    np.testing.assert_array_equal(corruption(images, Draws(*[0] * 5)), images)


def test_a_mixture_takes_each_image_from_one_corruption():
    parts = GaussianNoise((0.5, 2.0)), RandomErasing(), Masking(0.5, value=3)
    images, generator = pictures((300, 2, 5, 4)), rng()
    part = (3 * generator.random(300)).astype(int)
    results = np.stack([corruption(images, generator) for corruption in parts])
    mixed = Mixture(parts)(images, rng())
    np.testing.assert_array_equal(mixed, results[part, np.arange(300)])
    both = Mixture((Masking(1, value=3), Masking(1, value=4)))
    for u, value in ((0, 3), (0.5, 4)):  # each ends where the next begins
        assert (both(images, Draws(u, 0, 0)) == value).all()


# What all corruptions have in common.

SINGLE = [GaussianNoise((0.1, 0.9)), SaltAndPepper(0.4), Masking(0.4), RandomErasing()]
every = pytest.mark.parametrize("corruption", [*SINGLE, Mixture(SINGLE)])


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 7, 9)])
def test_a_new_array_of_the_same_kind(corruption, dtype, shape):
    images = pictures(shape, dtype)
    images.flags.writeable = False
    corrupted = corruption(images, rng())
    assert corrupted.shape == shape and corrupted.dtype == dtype
    assert corrupted.flags.writeable and not np.shares_memory(corrupted, images)


@every
def test_the_generator_decides_all_and_the_memory_layout_nothing(corruption):
    images = pictures((2, 6, 7, 20)).transpose(3, 0, 1, 2)[::2, :, ::-1]
    one, same, other = (corruption(images, rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_array_equal(corruption(images.copy(order="C"), rng(5)), one)


def test_a_corruption_is_its_settings():
    assert RandomErasing() == RandomErasing(0.5, [0.02, 0.33], (0.3, 3.3), 0)
    assert len({SaltAndPepper([0, 1]), SaltAndPepper((0.0, 1.0), 0, 1)}) == 1
    assert Mixture([Masking(1)]) == Mixture((Masking(1.0, 0),))
    assert repr(Masking(1)) == "Masking(amount=1.0, value=0.0)"
    assert len({*SINGLE, Mixture(SINGLE)}) == 5  # they can be hashed


AMOUNT = [-0.1, math.inf, True, (-0.1, 1), (0.5, 0.4), (0.1, 0.2, 0.3), (0.1, "b")]
SHARE = [-0.1, 1.1, (0, 1.1)]
FINITE = [math.nan, -math.inf, "1"]
NOT_PARTS = [(), Masking(1), (Masking(1), 1), [Masking]]  # the class, not an object


@pytest.mark.parametrize(
    "kind, name, values",
    [
        (GaussianNoise, "sigma", AMOUNT),
        (SaltAndPepper, "amount", SHARE),
        (SaltAndPepper, "low", FINITE),
        (SaltAndPepper, "high", FINITE),
        (Masking, "amount", SHARE),
        (Masking, "value", FINITE),
        (RandomErasing, "p", [-0.1, 1.01]),
        (RandomErasing, "scale", [0.3, (0, 0.3), (0.1, 1.1), (0.2, 0.1)]),
        (RandomErasing, "ratio", [3, (0, 0.3), (0.3, math.inf), (0.2, 0.1)]),
        (RandomErasing, "value", FINITE),
        (Mixture, "corruptions", NOT_PARTS),
    ],
)
def test_bad_settings_are_named(kind, name, values):
    required = {"amount": 0.5} if kind in (SaltAndPepper, Masking) else {}
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"^{name}: got .*expected "):
            kind(**required | {name: value})


@every
def test_bad_arguments_are_named(corruption):
    images = pictures()
    for bad in (images.astype("uint8"), images.tolist(), images[0], images[:0]):
        with pytest.raises((TypeError, ValueError), match="^images: got .*expected "):
            corruption(bad, rng())
    for bad in (7, np.random.RandomState(0), Mock()):
        with pytest.raises(TypeError, match="^rng: got .*expected a NumPy Generator"):
            corruption(images, bad)


class Brighten(NamedTuple):
    """A corruption that works in place."""

    amount: float

    def __call__(self, images, rng):
        images += self.amount
        return images


def repeated(corruption, times):
    def apply(images, rng):
        images = corruption(images, rng)
        return repeated(corruption, times - 1)(images, rng) if times > 1 else images

    return apply


def test_the_parts_of_a_mixture_may_work_in_place():
    images = np.zeros((50, 1, 2, 2))
    mixed = Mixture((Brighten(2), repeated(Brighten(2), 3)))(images, rng())
    assert np.unique(mixed).tolist() == [2, 6] and not images.any()


@pytest.mark.parametrize(
    "change, got",
    [
        (lambda images: None, "NoneType"),
        (lambda images: images.astype("float32"), "float32 on numpy"),
        (lambda images: images[::2], r"shape \(3, 3, 7, 9\)"),
    ],
)
def test_a_mixture_refuses_what_is_not_the_same_kind(change, got):
    mixture = Mixture((Masking(0), lambda images, rng: change(images)))
    says = rf"^corruptions\[1\]\(images, rng\): got {got}, expected "
    with pytest.raises((TypeError, ValueError), match=says):
        mixture(pictures(), rng())


@pytest.mark.parametrize(
    "wrong, right",
    [
        (SaltAndPepper(0.2), SaltAndPepper(0.2, low=-1.0, high=2.0)),
        (Masking((0.1, 0.2)), Masking((0.1, 0.2), value=-1.0)),
    ],
)
def test_black_and_white_are_those_of_the_pixel_range(wrong, right):
    free = RandomErasing(), repeated(right, 2)  # these may paint any colour
    for corruption in (right, Mixture((*free, right))):
        corruption.check_range((-1.0, 2.0))
    for corruption in (wrong, Mixture((*free, right, wrong))):
        with pytest.raises(ValueError) as caught:
            corruption.check_range((-1.0, 2.0))
        told = f"corruption: got {wrong}, expected {right}, because "
        assert str(caught.value).startswith(told)
