"""Random erasing: torchvision's distribution, one box in its place, the other pixels as before."""

import math

import numpy
import pytest
from draws import DTYPES, Constant, pictures, rng
from scipy import stats

from data_tools import RandomErasing


def erase_one(generator, H, W, p, scale, ratio):
    """What torchvision's RandomErasing does to one image, step by step: (top, left, h, w), or None if nothing."""
    if not generator.random() < p:
        return None
    for _ in range(10):
        area = H * W * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < H and w < W:
            if h == 0 or w == 0:
                return None  # a box without a pixel
            return (
                generator.integers(0, H - h, endpoint=True),
                generator.integers(0, W - w, endpoint=True),
                h,
                w,
            )
    return None


def boxes_drawn(corrupted):
    """The boxes of zeros in what were images of ones: (top, left, h, w) for each image that has one."""
    erased = corrupted[:, 0] == 0
    erased = erased[erased.any(axis=(1, 2))]
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    h, w = rows.sum(axis=1), columns.sum(axis=1)
    assert (
        erased.sum(axis=(1, 2)) == h * w
    ).all()  # with h rows and w columns this makes it one full ...
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    assert (
        rows[:, ::-1].argmax(axis=1) == rows.shape[1] - top - h
    ).all()  # ... and unbroken box
    assert (columns[:, ::-1].argmax(axis=1) == columns.shape[1] - left - w).all()
    return numpy.stack([top, left, h, w], axis=1)


DRAWS = 20_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "H, W, settings",
    [
        (28, 28, {}),  # the report's
        (
            20,
            31,
            {"p": 0.8, "scale": (0.1, 0.5), "ratio": (0.5, 4.0)},
        ),  # nothing alike: swapped sides would show
        (
            9,
            12,
            {"p": 1.0, "scale": (0.8, 1.0), "ratio": (0.3, 3.3)},
        ),  # few boxes fit: the ten tries matter
        (
            6,
            5,
            {"p": 1.0, "scale": (0.01, 0.2), "ratio": (0.2, 5.0)},
        ),  # small: the rounding matters
    ],
)
def test_erasing_has_torchvisions_distribution(dtype, H, W, settings):
    erasing = RandomErasing(**settings)
    ours = boxes_drawn(erasing(numpy.ones((DRAWS, 1, H, W), dtype), rng(7)))
    generator = rng(8)
    drawn = [
        erase_one(generator, H, W, erasing.p, erasing.scale, erasing.ratio)
        for _ in range(DRAWS)
    ]
    reference = numpy.array([box for box in drawn if box is not None])

    share, expected = (
        len(ours) / DRAWS,
        len(reference) / DRAWS,
    )  # how many images were erased at all
    assert abs(share - expected) < 5 * math.sqrt(
        2 * max(expected * (1 - expected), 0.001) / DRAWS
    )

    def statistics(boxes):
        top, left, h, w = boxes.T
        return {
            "top": top,
            "left": left,
            "height": h,
            "width": w,
            "area": h * w,
            "ratio": h / w,
            "space above": top / (H - h),
            "space left": left / (W - w),
        }

    theirs = statistics(reference)
    for name, a in statistics(ours).items():
        b = theirs[name]
        assert (
            abs(a.mean() - b.mean())
            < 5 * math.sqrt(a.var() / len(a) + b.var() / len(b)) + 1e-12
        ), name
        assert stats.ks_2samp(a, b, method="asymp").pvalue > 0.001, name


def test_the_area_and_the_ratio_are_as_asked():
    boxes = boxes_drawn(
        RandomErasing(p=1, scale=(0.1, 0.2), ratio=(0.5, 2))(
            numpy.ones((4000, 1, 101, 103)), rng()
        )
    )
    h, w = boxes[:, 2], boxes[:, 3]
    share, ratio = (
        h * w / (101 * 103),
        numpy.log(h / w) / math.log(2),
    )  # the ratio's logarithm, from -1 to 1
    assert (
        share.min() > 0.095 and share.max() < 0.205 and abs(share.mean() - 0.15) < 0.003
    )
    assert ratio.min() > -1.05 and ratio.max() < 1.05 and abs(ratio.mean()) < 0.05
    assert stats.kstest(share, "uniform", (0.1, 0.1)).pvalue > 0.001
    assert stats.kstest(ratio, "uniform", (-1, 2)).pvalue > 0.001


def test_every_place_is_equally_likely():
    # A square of 5 x 5 in an image of 8 x 9: 4 x 5 places, the last ones included.
    exactly = RandomErasing(p=1, scale=(25 / 72, 25 / 72), ratio=(1, 1))
    boxes = boxes_drawn(exactly(numpy.ones((DRAWS, 1, 8, 9)), rng()))
    assert (boxes[:, 2:] == 5).all() and len(boxes) == DRAWS
    counts = numpy.zeros((4, 5))
    numpy.add.at(counts, (boxes[:, 0], boxes[:, 1]), 1)
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


@pytest.mark.parametrize("value", [0.0, -1.0, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_erased_pixels_are_the_value_and_the_others_as_before(value, dtype):
    images = pictures((300, 3, 12, 11), dtype)
    corrupted = RandomErasing(p=0.6, value=value)(images, rng())
    changed = corrupted != images
    assert (changed == changed[:, :1]).all()  # all channels at the same places
    assert (corrupted[changed] == numpy.dtype(dtype).type(value)).all()
    assert 0.5 < changed.any(axis=(1, 2, 3)).mean() < 0.7
    assert corrupted[~changed].tobytes() == images[~changed].tobytes()


def test_probabilities_0_and_1():
    images = pictures((500, 1, 10, 10))
    numpy.testing.assert_array_equal(RandomErasing(p=0)(images, rng()), images)
    assert (RandomErasing(p=1)(images, rng()) != images).any(axis=(1, 2, 3)).all()


def test_images_too_small_for_any_box_stay():
    images = pictures((100, 1, 1, 1))  # a box must be smaller than the image both ways
    numpy.testing.assert_array_equal(
        RandomErasing(p=1, scale=(0.9, 1), ratio=(1, 1))(images, rng()), images
    )


@pytest.mark.parametrize(
    "u", [0.0, 1 - 2**-24]
)  # the least and the largest number that a generator of float32 draws
def test_the_rarest_draws_stay_inside(u):
    images = numpy.ones((2, 1, 20, 29), "float32")
    [top, left, h, w], _ = boxes_drawn(
        RandomErasing(p=1, scale=(0.2, 0.3), ratio=(0.5, 2))(images, Constant(u))
    )
    assert (top, left) == ((0, 0) if u == 0 else (20 - h, 29 - w))


class Scripted:
    """A generator for RandomErasing: `tries` (10, N) for the boxes' areas and ratios; every other draw in its turn."""

    def __init__(self, tries, others):
        self.tries, self.others = tries, iter(others)

    def random(self, size, dtype):
        return (
            self.tries.astype(dtype)
            if size == self.tries.shape
            else numpy.full(size, next(self.others), dtype)
        )


def test_the_first_of_ten_tries_that_fits():
    # Image i draws i boxes as large as the image, which do not fit; then one of 10 x 10 pixels; then ones of 20 x 20.
    tries, images = numpy.indices((10, 12))
    draws = numpy.where(tries < images, 1.0, numpy.where(tries == images, 0.0, 0.33))
    erasing = RandomErasing(p=1, scale=(1 / 9, 1), ratio=(1, 1))
    corrupted = erasing(numpy.ones((12, 1, 30, 30)), Scripted(draws, [0.5] * 3))
    assert (corrupted == 0).sum(axis=(1, 2, 3)).tolist() == [100] * 10 + [0, 0]


def test_a_draw_rounded_up_to_1_stays_inside():
    erasing = RandomErasing(p=1, scale=(1 / 9, 1), ratio=(1, 1))
    corrupted = erasing(
        numpy.ones((2, 1, 30, 30)), Scripted(numpy.zeros((10, 2)), [0.5, 1.0, 1.0])
    )
    assert boxes_drawn(corrupted).tolist() == [[20, 20, 10, 10]] * 2


def test_probability_0_is_never():
    images = pictures((5, 1, 10, 10))
    numpy.testing.assert_array_equal(RandomErasing(p=0)(images, Constant(0.0)), images)
