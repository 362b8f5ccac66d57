"""Random erasing has torchvision's distribution and changes one box only."""

import math

import numpy as np
import pytest
from data_draws import DTYPES, Constant, pictures, rng
from scipy import stats

from data_tools import RandomErasing


def erase_one(generator, H, W, erasing):
    """Draw one box (top, left, h, w) as torchvision's RandomErasing does, or None."""
    if not generator.random() < erasing.p:
        return None
    for _ in range(10):
        area = H * W * generator.uniform(*erasing.scale)
        aspect = math.exp(generator.uniform(*map(math.log, erasing.ratio)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < H and w < W:
            if h == 0 or w == 0:
                return None  # a box without a pixel
            top = generator.integers(0, H - h, endpoint=True)
            return top, generator.integers(0, W - w, endpoint=True), h, w
    return None


def boxes_drawn(corrupted):
    """The boxes of zeros (top, left, h, w) in images of ones, where there is one."""
    erased = corrupted[:, 0] == 0
    erased = erased[erased.any(axis=(1, 2))]
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    h, w = rows.sum(axis=1), columns.sum(axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    assert (erased.sum(axis=(1, 2)) == h * w).all()  # full, and below: unbroken
    assert (rows[:, ::-1].argmax(axis=1) == rows.shape[1] - top - h).all()
    assert (columns[:, ::-1].argmax(axis=1) == columns.shape[1] - left - w).all()
    return np.stack([top, left, h, w], axis=1)


DRAWS = 20_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "H, W, erasing",
    [
        (28, 28, RandomErasing()),  # the report's
        (20, 31, RandomErasing(0.8, (0.1, 0.5), (0.5, 4.0))),  # sides differ
        (9, 12, RandomErasing(1.0, (0.8, 1.0))),  # few boxes fit: the tries matter
        (6, 5, RandomErasing(1.0, (0.01, 0.2), (0.2, 5.0))),  # the rounding matters
    ],
)
def test_erasing_has_torchvisions_distribution(dtype, H, W, erasing):
    ours = boxes_drawn(erasing(np.ones((DRAWS, 1, H, W), dtype), rng(7)))
    generator = rng(8)
    drawn = [erase_one(generator, H, W, erasing) for _ in range(DRAWS)]
    theirs = np.array([box for box in drawn if box is not None])

    share, expected = len(ours) / DRAWS, len(theirs) / DRAWS  # of images with a box
    variance = 2 * max(expected * (1 - expected), 0.001) / DRAWS
    assert abs(share - expected) < 5 * math.sqrt(variance)

    def statistics(boxes):
        top, left, h, w = boxes.T
        return top, left, h, w, h * w, h / w, top / (H - h), left / (W - w)

    for a, b in zip(statistics(ours), statistics(theirs), strict=True):
        assert stats.ks_2samp(a, b, method="asymp").pvalue > 0.001


@pytest.mark.parametrize("value", [0.0, -1.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_box_changes(value, dtype):
    images = pictures((300, 3, 12, 11), dtype)
    corrupted = RandomErasing(p=0.6, value=value)(images, rng())
    changed = corrupted != images
    assert (changed == changed[:, :1]).all()  # all channels at the same places
    assert (corrupted[changed] == np.dtype(dtype).type(value)).all()
    assert 0.5 < changed.any(axis=(1, 2, 3)).mean() < 0.7
    assert corrupted[~changed].tobytes() == images[~changed].tobytes()


def test_probabilities_0_and_1():
    images = pictures((500, 1, 10, 10))
    for generator in (rng(), Constant(0.0)):
        np.testing.assert_array_equal(RandomErasing(p=0)(images, generator), images)
    assert (RandomErasing(p=1)(images, rng()) != images).any(axis=(1, 2, 3)).all()


class Scripted:
    """A generator that draws `tries` (10, N) for the boxes, then each of `others`."""

    def __init__(self, tries, others):
        self.tries, self.others = tries, iter(others)

    def random(self, size, dtype):
        if size == self.tries.shape:
            return self.tries.astype(dtype)
        return np.full(size, next(self.others), dtype)


NINTH = RandomErasing(p=1, scale=(1 / 9, 1), ratio=(1, 1))  # for draws of 0


def test_the_first_of_ten_tries_that_fits():
    # Image i draws i boxes of the image's size, which do not fit; then one of 10 x 10
    # pixels; then ones of 20 x 20.
    tries, images = np.indices((10, 12))
    draws = np.where(tries < images, 1.0, np.where(tries == images, 0.0, 0.33))
    corrupted = NINTH(np.ones((12, 1, 30, 30)), Scripted(draws, [0.5] * 3))
    assert (corrupted == 0).sum(axis=(1, 2, 3)).tolist() == [100] * 10 + [0, 0]


@pytest.mark.parametrize("u, place", [(0.0, 0), (1 - 2**-24, 20), (1.0, 20)])
def test_the_rarest_draws_stay_inside(u, place):
    # 1 - 2^-24 is the largest float32 below 1; a GPU may round up to 1.
    generator = Scripted(np.zeros((10, 2)), [0.5, u, u])
    corrupted = NINTH(np.ones((2, 1, 30, 30), "float32"), generator)
    assert boxes_drawn(corrupted).tolist() == [[place, place, 10, 10]] * 2
