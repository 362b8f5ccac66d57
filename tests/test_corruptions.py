"""The corruptions: right distribution, right places, input untouched, the same on every backend, bad arguments named.

Every generator is seeded, so every number here is the same in each run; the bounds are five standard deviations of
the estimate or a small p-value, so that a right program fails for hardly any seed, and a wrong one for nearly all.
"""

import math
import random

import numpy
import pytest
from scipy import stats

from backends import every_other, readbacks
from data_tools import GaussianNoise, RandomErasing
from tinyae.backend import choose

BOTH = [GaussianNoise(0.5), RandomErasing(p=0.7, value=0.25)]
DTYPES = ["float32", "float64"]


def rng(seed=0):
    return numpy.random.default_rng(seed)


def pictures(shape, dtype="float32", seed=1):
    return rng(seed).uniform(-1, 1, shape).astype(dtype)


class Constant:
    """A generator that always draws the same number: the rarest draws, on demand."""

    def __init__(self, u):
        self.u = u

    def random(self, size, dtype):
        return numpy.full(size, self.u, dtype)


# ---- both ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 5, 7), (4, 3, 6, 9), (50, 1, 28, 28)])
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
    batch_last = numpy.ascontiguousarray(images.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    assert not batch_last.flags.c_contiguous
    numpy.testing.assert_array_equal(corruption(batch_last, rng()), corruption(images, rng()))
    numpy.testing.assert_array_equal(corruption(images[::2, :, ::-1], rng()),
                                     corruption(images[::2, :, ::-1].copy(), rng()))


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
    assert not reads and isinstance(corrupted, backend.array_type) and corrupted.device == on_device.device
    numpy.testing.assert_array_equal(backend.to_numpy(on_device), images)
    numpy.testing.assert_array_equal(backend.to_numpy(corrupted), corruption(images, rng([1, 2, *b"noise"])))
    with pytest.raises(TypeError, match="^rng: got .*expected .*backend"):
        corruption(on_device, rng())  # NumPy's numbers for images on a device


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@every_other
def test_every_backend_corrupts_and_replays(corruption, backend):
    backend, _ = choose(backend)
    images = backend.from_numpy(numpy.ones((500, 1, 28, 28), "float32"))
    one, same, other = (backend.to_numpy(corruption(images, backend.rng(0, epoch, "noise"))) for epoch in (1, 1, 2))
    numpy.testing.assert_array_equal(one, same)
    assert one.dtype == numpy.float32 and (one != other).any()
    changed, expected = (one != 1).any(axis=(1, 2, 3)).mean(), getattr(corruption, "p", 1)
    assert abs(changed - expected) < 0.1


def test_a_corruption_is_a_value():
    assert GaussianNoise(1) == GaussianNoise(1.0) and repr(GaussianNoise(1)) == "GaussianNoise(sigma=1.0)"
    assert GaussianNoise(1) != GaussianNoise(2)
    assert RandomErasing() == RandomErasing(0.5, [0.02, 0.33], (0.3, 3.3), 0)
    assert RandomErasing() != RandomErasing(value=1) and RandomErasing() != RandomErasing(scale=(0.02, 0.3))
    assert repr(RandomErasing()) == "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0)"
    assert len({GaussianNoise(1), GaussianNoise(1.0), RandomErasing(), RandomErasing(p=0.5)}) == 2
    with pytest.raises(AttributeError):
        GaussianNoise(1).sigma = 2


# ---- Gaussian noise ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(101, 3, 31, 37), (200, 1, 28, 28)])  # an odd number of values, and an even one
def test_noise_is_normal(dtype, shape):
    images = pictures(shape, dtype)
    noise = (GaussianNoise(0.25)(images, rng(3)).astype("float64") - images).ravel() / 0.25
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
    cosines, sines = noise[:half], noise[half:]  # value i of each comes from one and the same pair of uniforms
    for a, b in [(cosines, sines), (noise[:-1], noise[1:]), (noise[:-28], noise[28:]), (noise[:-784], noise[784:])]:
        for power in (1, 2):
            assert abs(numpy.corrcoef(a**power, b**power)[0, 1]) < 5 / math.sqrt(len(a))
        assert abs(numpy.corrcoef(abs(a), b)[0, 1]) < 5 / math.sqrt(len(a))
    assert len(numpy.unique(noise)) > 0.95 * noise.size  # none is used twice; float32 has few enough to coincide


def test_noise_is_drawn_anew_for_every_image_and_channel():
    noise = GaussianNoise(1)(numpy.zeros((6, 3, 4, 5)), rng())
    assert len(numpy.unique(noise)) == noise.size


def test_noise_scales_with_sigma():
    images = pictures((9, 1, 7, 5), "float64")
    small, large = (GaussianNoise(sigma)(images, rng()) - images for sigma in (0.5, 2.0))
    numpy.testing.assert_allclose(large, 4 * small, rtol=1e-9, atol=1e-12)


def test_no_noise_is_an_equal_copy():
    images = pictures((5, 1, 7, 9))
    numpy.testing.assert_array_equal(GaussianNoise(0)(images, rng()), images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("u", [0.0, 1.0])  # NumPy's generators may draw 0; a GPU's may round up to 1
def test_noise_is_finite_for_the_rarest_draws(dtype, u):
    noise = GaussianNoise(1)(numpy.zeros((2, 1, 3, 3), dtype), Constant(u))
    assert numpy.isfinite(noise).all() and abs(noise).max() < 9


# ---- random erasing ------------------------------------------------------------------------------------------------

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
            return generator.integers(0, H - h, endpoint=True), generator.integers(0, W - w, endpoint=True), h, w
    return None


def boxes_drawn(corrupted):
    """The boxes of zeros in what were images of ones: (top, left, h, w) for each image that has one."""
    erased = corrupted[:, 0] == 0
    erased = erased[erased.any(axis=(1, 2))]
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    h, w = rows.sum(axis=1), columns.sum(axis=1)
    assert (erased.sum(axis=(1, 2)) == h * w).all()  # with h rows and w columns this makes it one full ...
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    assert (rows[:, ::-1].argmax(axis=1) == rows.shape[1] - top - h).all()  # ... and unbroken box
    assert (columns[:, ::-1].argmax(axis=1) == columns.shape[1] - left - w).all()
    return numpy.stack([top, left, h, w], axis=1)


DRAWS = 20_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H, W, settings", [
    (28, 28, {}),  # the report's
    (20, 31, {"p": 0.8, "scale": (0.1, 0.5), "ratio": (0.5, 4.0)}),  # nothing alike: swapped sides would show
    (9, 12, {"p": 1.0, "scale": (0.8, 1.0), "ratio": (0.3, 3.3)}),  # few boxes fit: the ten tries matter
    (6, 5, {"p": 1.0, "scale": (0.01, 0.2), "ratio": (0.2, 5.0)}),  # small: the rounding matters
])
def test_erasing_has_torchvisions_distribution(dtype, H, W, settings):
    erasing = RandomErasing(**settings)
    ours = boxes_drawn(erasing(numpy.ones((DRAWS, 1, H, W), dtype), rng(7)))
    generator = rng(8)
    drawn = [erase_one(generator, H, W, erasing.p, erasing.scale, erasing.ratio) for _ in range(DRAWS)]
    reference = numpy.array([box for box in drawn if box is not None])

    share, expected = len(ours) / DRAWS, len(reference) / DRAWS  # how many images were erased at all
    assert abs(share - expected) < 5 * math.sqrt(2 * max(expected * (1 - expected), 0.001) / DRAWS)
    def statistics(boxes):
        top, left, h, w = boxes.T
        return {"top": top, "left": left, "height": h, "width": w, "area": h * w, "ratio": h / w,
                "space above": top / (H - h), "space left": left / (W - w)}

    theirs = statistics(reference)
    for name, a in statistics(ours).items():
        b = theirs[name]
        assert abs(a.mean() - b.mean()) < 5 * math.sqrt(a.var() / len(a) + b.var() / len(b)) + 1e-12, name
        assert stats.ks_2samp(a, b, method="asymp").pvalue > 0.001, name


def test_the_area_and_the_ratio_are_as_asked():
    boxes = boxes_drawn(RandomErasing(p=1, scale=(0.1, 0.2), ratio=(0.5, 2))(numpy.ones((4000, 1, 101, 103)), rng()))
    h, w = boxes[:, 2], boxes[:, 3]
    share, ratio = h * w / (101 * 103), numpy.log(h / w) / math.log(2)  # the ratio's logarithm, from -1 to 1
    assert share.min() > 0.095 and share.max() < 0.205 and abs(share.mean() - 0.15) < 0.003
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
    numpy.testing.assert_array_equal(RandomErasing(p=1, scale=(0.9, 1), ratio=(1, 1))(images, rng()), images)


@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])  # the least and the largest number that a generator of float32 draws
def test_the_rarest_draws_stay_inside(u):
    images = numpy.ones((2, 1, 20, 29), "float32")
    [top, left, h, w], _ = boxes_drawn(RandomErasing(p=1, scale=(0.2, 0.3), ratio=(0.5, 2))(images, Constant(u)))
    assert (top, left) == ((0, 0) if u == 0 else (20 - h, 29 - w))


class Scripted:
    """A generator for RandomErasing: `tries` (10, N) for the boxes' areas and ratios; every other draw in its turn."""

    def __init__(self, tries, others):
        self.tries, self.others = tries, iter(others)

    def random(self, size, dtype):
        return self.tries.astype(dtype) if size == self.tries.shape else numpy.full(size, next(self.others), dtype)


def test_the_first_of_ten_tries_that_fits():
    # Image i draws i boxes as large as the image, which do not fit; then one of 10 x 10 pixels; then ones of 20 x 20.
    tries, images = numpy.indices((10, 12))
    draws = numpy.where(tries < images, 1.0, numpy.where(tries == images, 0.0, 0.33))
    erasing = RandomErasing(p=1, scale=(1 / 9, 1), ratio=(1, 1))
    corrupted = erasing(numpy.ones((12, 1, 30, 30)), Scripted(draws, [0.5] * 3))
    assert (corrupted == 0).sum(axis=(1, 2, 3)).tolist() == [100] * 10 + [0, 0]


def test_a_draw_rounded_up_to_1_stays_inside():
    erasing = RandomErasing(p=1, scale=(1 / 9, 1), ratio=(1, 1))
    corrupted = erasing(numpy.ones((2, 1, 30, 30)), Scripted(numpy.zeros((10, 2)), [0.5, 1.0, 1.0]))
    assert boxes_drawn(corrupted).tolist() == [[20, 20, 10, 10]] * 2


def test_probability_0_is_never():
    images = pictures((5, 1, 10, 10))
    numpy.testing.assert_array_equal(RandomErasing(p=0)(images, Constant(0.0)), images)


# ---- bad arguments -------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
BAD_SETTINGS = [
    (GaussianNoise, {"sigma": -0.1}, ValueError), (GaussianNoise, {"sigma": NAN}, ValueError),
    (GaussianNoise, {"sigma": INF}, ValueError), (GaussianNoise, {"sigma": "1"}, TypeError),
    (GaussianNoise, {"sigma": None}, TypeError), (GaussianNoise, {"sigma": True}, TypeError),
    (GaussianNoise, {"sigma": 1j}, TypeError), (GaussianNoise, {"sigma": 10**400}, ValueError),
    (RandomErasing, {"p": -0.1}, ValueError), (RandomErasing, {"p": 1.01}, ValueError),
    (RandomErasing, {"p": NAN}, ValueError), (RandomErasing, {"p": "half"}, TypeError),
    (RandomErasing, {"scale": (0.33, 0.02)}, ValueError), (RandomErasing, {"scale": (0, 0.3)}, ValueError),
    (RandomErasing, {"scale": (-0.1, 0.3)}, ValueError), (RandomErasing, {"scale": (0.1, 1.1)}, ValueError),
    (RandomErasing, {"scale": (0.1, NAN)}, ValueError), (RandomErasing, {"scale": (NAN, 0.1)}, ValueError),
    (RandomErasing, {"scale": (0.1,)}, ValueError), (RandomErasing, {"scale": (0.1, 0.2, 0.3)}, ValueError),
    (RandomErasing, {"scale": 0.3}, TypeError), (RandomErasing, {"scale": "ab"}, TypeError),
    (RandomErasing, {"scale": (0.1, "b")}, TypeError),
    (RandomErasing, {"ratio": (3.3, 0.3)}, ValueError), (RandomErasing, {"ratio": (0, 3.3)}, ValueError),
    (RandomErasing, {"ratio": (0.3, INF)}, ValueError), (RandomErasing, {"ratio": (-1, 1)}, ValueError),
    (RandomErasing, {"ratio": None}, TypeError), (RandomErasing, {"ratio": (0.3, 1, 3.3)}, ValueError),
    (RandomErasing, {"value": NAN}, ValueError), (RandomErasing, {"value": -INF}, ValueError),
    (RandomErasing, {"value": "random"}, TypeError), (RandomErasing, {"value": (0.1, 0.2)}, TypeError),
]


@pytest.mark.parametrize("kind, settings, error", BAD_SETTINGS)
def test_bad_settings_are_named(kind, settings, error):
    [name] = settings
    with pytest.raises(error, match=rf"^{name}: got .*, expected "):
        kind(**settings)


@pytest.mark.parametrize("settings", [{"scale": (0.1, 0.1)}, {"scale": (0.5, 1)}, {"ratio": (2, 2)}, {"p": 0},
                                      {"p": 1}, {"value": -1}])
def test_settings_at_the_edge_are_accepted(settings):
    RandomErasing(**settings)


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize("images, error", [
    (numpy.zeros((2, 1, 4, 4), "uint8"), TypeError), (numpy.zeros((2, 1, 4, 4), "int64"), TypeError),
    (numpy.zeros((2, 1, 4, 4), "float16"), TypeError), (numpy.zeros((2, 1, 4, 4), bool), TypeError),
    (numpy.zeros((2, 1, 4, 4), "complex64"), TypeError), ([[[[0.0]]]], TypeError), (None, TypeError),
    (numpy.zeros((4, 4)), ValueError), (numpy.zeros((2, 4, 4)), ValueError), (numpy.zeros((2, 1, 1, 4, 4)), ValueError),
    (numpy.zeros((0, 1, 4, 4)), ValueError), (numpy.zeros((2, 0, 4, 4)), ValueError),
    (numpy.zeros((2, 1, 4, 0)), ValueError),
])
def test_bad_images_are_named(corruption, images, error):
    with pytest.raises(error, match="^images: got .*, expected "):
        corruption(images, rng())


@pytest.mark.parametrize("corruption", BOTH, ids=repr)
@pytest.mark.parametrize("generator", [None, 7, "seed", numpy.random.RandomState(0), random.Random(0)])
def test_a_bad_generator_is_named(corruption, generator):
    with pytest.raises(TypeError, match="^rng: got .*expected a NumPy Generator"):
        corruption(pictures((2, 1, 4, 4)), generator)
