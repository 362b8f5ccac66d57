"""Two ways to corrupt a batch of images, those of the report: Gaussian noise, and a grey box over some of them.

    corruption = GaussianNoise(sigma=0.5)
    noisy = corruption(images, rng)     # a new array; `images` stays as it was

A corruption is a value: it holds its settings and nothing else, and two with the same settings are equal. All chance
comes from `rng`, so the same generator state gives the same corruption. `rng` is a NumPy Generator, or anything with
`random(size, dtype)` that gives numbers uniform in [0, 1) on the images' device, as Backend.rng(...) does. From these
uniform numbers everything else is made here, by formulas on whole arrays; there is no loop over images.

Letters: N images of C channels, H rows and W columns.
"""

import math
from dataclasses import dataclass

from tinyae import checks
from tinyae.backend import backend_of, zeros


def _range(name: str, value, most=math.inf) -> tuple[float, float]:
    """`value` as a pair 0 < low <= high <= most. Raises TypeError if it is no pair of numbers, else ValueError."""
    low, high = checks.several(
        name,
        value,
        2,
        "a pair (low, high)",
        checks.number,
        low=0,
        high=most,
        low_open=True,
    )
    if low > high:
        raise ValueError(
            f"{name}: got {value!r}, expected (low, high) with low <= high"
        )
    return low, high


def _checked(images):
    """The namespace of `images`. Raises TypeError or ValueError if they are not a batch (N, C, H, W) of floats."""
    xp = backend_of(images, "images").xp
    if images.dtype not in (xp.float32, xp.float64):
        raise TypeError(
            f"images: got dtype {images.dtype}, expected float32 or float64"
        )
    if len(images.shape) != 4 or 0 in images.shape:
        raise ValueError(
            f"images: got shape {images.shape}, expected (N, C, H, W), none of them 0"
        )
    return xp


def _uniform(rng, shape, images):
    """Numbers uniform in [0, 1), with the dtype and on the device of `images`. Raises TypeError for a wrong `rng`."""
    expected = "expected a NumPy Generator, or for images on another device their backend's rng(seed, epoch, purpose)"
    try:
        u = rng.random(shape, dtype=images.dtype)
    except (
        AttributeError,
        TypeError,
    ) as error:  # a seed, an older kind of generator, a dtype it does not know
        raise TypeError(f"rng: got {rng!r}, {expected} ({error})") from error
    if not isinstance(u, backend_of(images).array_type):
        raise TypeError(f"rng: got {rng!r}, which draws on another device, {expected}")
    return u


@dataclass(frozen=True)
class GaussianNoise:
    """Add independent normal noise of mean 0 and standard deviation `sigma` to every value of every image.

    Raises TypeError or ValueError unless sigma is a number, finite and not negative.

    Computers draw uniform numbers; Box and Muller make normal ones from them. Two independent normal numbers are a
    point (x, y) in the plane. Its direction is uniform in [0, 2 pi), and its squared length, x^2 + y^2, exceeds t
    with probability exp(-t/2): it is distributed as -2 log u. Hence two uniform numbers u and v give two normal ones:

        x = sqrt(-2 log u) cos(2 pi v)        y = sqrt(-2 log u) sin(2 pi v)
    """

    sigma: float

    def __post_init__(self):
        object.__setattr__(
            self, "sigma", checks.number("sigma", self.sigma, 0)
        )  # 1 and 1.0 are one setting, 1.0

    def __call__(self, images, rng):
        """images (N, C, H, W), float32 or float64 -> a new array of that shape and dtype.

        Raises TypeError or ValueError, naming the argument, for other images and for an rng that is no generator.
        """
        xp = _checked(images)
        size = math.prod(images.shape)
        pairs = _uniform(
            rng, (2, (size + 1) // 2), images
        )  # for an odd size, one number too many
        tiny = (
            xp.finfo(images.dtype).eps / 4
        )  # log 0 is infinite: half a step of the uniform grid keeps u above 0
        radius = xp.sqrt(xp.log(pairs[0, :] + tiny) * -2.0) * self.sigma
        angle = pairs[1, :] * (2 * math.pi)
        pairs[0, :] = xp.cos(angle)
        pairs[1, :] = xp.sin(angle)
        pairs *= radius  # (2, pairs) * (pairs,)
        noisy = xp.reshape(xp.reshape(pairs, (-1,))[:size], images.shape)
        noisy += images  # into the array of random numbers, which is ours
        return noisy


@dataclass(frozen=True)
class RandomErasing:
    """Paint a box of `value` over each image with probability `p`, over all its channels, as torchvision does.

    The box takes a share of the image's area that is uniform in `scale`, and a height / width ratio whose logarithm
    is uniform in the logarithms of `ratio`, so that 1/3 is as likely as 3; both sides are rounded to whole pixels. If
    the box is not smaller than the image both ways, the draw is repeated, TRIES times in all, and then the image is
    left alone. Every place where the box fits inside is equally likely.

    Raises TypeError or ValueError unless 0 <= p <= 1, 0 < low <= high for both pairs, scale at most 1, all finite.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float = 0.0

    TRIES = 10  # without an annotation: a constant, no setting

    def __post_init__(self):
        object.__setattr__(self, "p", checks.number("p", self.p, 0, 1))
        object.__setattr__(self, "scale", _range("scale", self.scale, most=1.0))
        object.__setattr__(self, "ratio", _range("ratio", self.ratio))
        object.__setattr__(self, "value", checks.number("value", self.value, -math.inf))

    def __call__(self, images, rng):
        """images (N, C, H, W), float32 or float64 -> a new array of that shape and dtype.

        Raises TypeError or ValueError, naming the argument, for other images and for an rng that is no generator.
        """
        xp = _checked(images)
        N, _, H, W = images.shape
        chosen = _uniform(rng, (N,), images) < self.p
        h, w = self._box_sizes(xp, rng, images)
        rows = (
            _inside(xp, h, H, _uniform(rng, (N,), images)) & chosen[:, None]
        )  # (N, H)
        columns = _inside(xp, w, W, _uniform(rng, (N,), images))  # (N, W)
        box = (
            rows[:, None, :, None] & columns[:, None, None, :]
        )  # (N, 1, H, W), for every channel
        return xp.where(box, zeros((1,), like=images) + self.value, images)

    def _box_sizes(self, xp, rng, images):
        """The height and the width of every image's box, two arrays (N,) of whole numbers; both 0 if none fitted."""
        N, _, H, W = images.shape
        low, high = self.scale
        area = H * W * (low + (high - low) * _uniform(rng, (self.TRIES, N), images))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = xp.exp(low + (high - low) * _uniform(rng, (self.TRIES, N), images))
        h, w = (
            xp.round(xp.sqrt(area * ratio)),
            xp.round(xp.sqrt(area / ratio)),
        )  # (TRIES, N): area = h w, ratio = h/w
        fits = (h < H) & (w < W)
        # The first that fits: the one at which the number of fitting ones so far becomes 1.
        first = fits & (xp.cumulative_sum(xp.astype(fits, xp.int32), axis=0) == 1)
        nothing = zeros((1,), like=images)
        return xp.sum(xp.where(first, h, nothing), axis=0), xp.sum(
            xp.where(first, w, nothing), axis=0
        )


def _inside(xp, length, side, u):
    """Which of `side` pixels lie in a run of `length` (N,) of them that starts at a random place: (N, side) booleans.

    u (N,), uniform in [0, 1), picks the first pixel, each of 0 ... side - length with the same probability.
    """
    last = side - length
    start = xp.minimum(
        xp.floor(u * (last + 1)), last
    )  # minimum: should a GPU round u up to 1
    pixel = (
        xp.cumulative_sum(zeros((side,), like=u) + 1, axis=0) - 1
    )  # 0, 1, ..., side - 1
    return (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
