"""Corrupt a batch of images in one of four ways, or by a mixture of them.

    corruption = GaussianNoise(sigma=0.5)
    noisy = corruption(images, rng)     # a new array; `images` is not modified

Corruptions are frozen dataclasses that hold only their settings, so two with the same
settings are equal. All randomness comes from `rng`: the same generator state gives the
same corruption. `rng` is a NumPy Generator, or any object whose random(size, dtype)
returns numbers uniform in [0, 1) on the images' device, such as Backend.rng(...) makes.
Everything else is computed from these uniform numbers by formulas on whole arrays;
there is no loop over images.

An experiment accepts any function of (images, rng) that returns images of the same
shape, dtype and library. Such an object may also have check_range(pixel_range), which
Experiment calls: pixel_range is the pair of values that stand for black and white, and
the method raises ValueError if the object writes others for them. Without this method
pepper of 0 would be grey among pixels from -1 to 1, and nothing would say so.

Where an amount may be a pair (least, most), each image draws its own amount, uniform
between the two.

Letters: N images of C channels, H rows and W columns. "Pixel" means one value of one
channel.
"""

import math
from dataclasses import dataclass, replace

from tinyae import checks
from tinyae.backend import namespace, zeros


def _range(name, value, **limits):
    """Return `value` as a pair low <= high. Raise TypeError or ValueError otherwise."""
    form = "a pair (least, most) with least <= most"
    low, high = checks.several(name, value, 2, form, checks.number, **limits)
    checks.expect(low <= high, ValueError, name, repr(value), form)
    return low, high


def _amount(name, value, most=math.inf):
    """Return `value`, a number from 0 to `most` or a pair of them, as floats."""
    check = _range if isinstance(value, (tuple, list)) else checks.number
    return check(name, value, low=0, high=most)


def _finite(name, value):
    return checks.number(name, value, -math.inf)


def _set(corruption, **settings):
    """Store checked settings: 1 and 1.0, or a list and a tuple, become the same."""
    for name, value in settings.items():
        object.__setattr__(corruption, name, value)  # the dataclass is frozen


def _checked(images):
    """Return the namespace of `images`, which must be floats of shape (N, C, H, W)."""
    checks.array("images", images, ("N", "C", "H", "W"))
    return namespace(images)


def _expect(corruption, right, pixel_range):
    """Raise ValueError unless `corruption` has the settings of `right`."""
    expected = f"{right}, because (black, white) is pixel_range, {pixel_range}"
    checks.expect(corruption == right, ValueError, "corruption", corruption, expected)


def _uniform(rng, shape, images):
    """Draw numbers uniform in [0, 1), of the dtype and on the device of `images`."""
    try:
        u = rng.random(shape, dtype=images.dtype)
        checks.array("rng.random(...)", u, shape, like=images)
    except (AttributeError, TypeError) as error:  # a seed, an older kind of generator
        raise TypeError(
            f"rng: got {rng!r}, expected a NumPy Generator, or for images on another "
            "device the generator that their backend's rng(seed, epoch, purpose) makes "
            f"({error})"
        ) from error
    return u


def _per_image(amount, rng, images):
    """Return `amount`, or for a pair one number for each image, (N, 1, 1, 1)."""
    if isinstance(amount, float):
        return amount
    low, high = amount
    return low + (high - low) * _uniform(rng, (images.shape[0], 1, 1, 1), images)


def _paint(images, where, value):
    """Return a copy of `images` with `value` at all places where `where` is true."""
    xp = namespace(images)
    value = zeros((1,), like=images) + value  # where() wants an array
    return xp.where(where, value, images)


@dataclass(frozen=True)
class GaussianNoise:
    """Add independent normal noise of mean 0 and standard deviation `sigma`.

    sigma: a number >= 0, or a pair (least, most), between which each image draws.
    Raises TypeError or ValueError for any other sigma.

    The result is not clipped. Box and Muller's formula makes normal numbers from the
    uniform ones of the generator. Two independent normal numbers are a point (x, y) in
    the plane. Its direction is uniform in [0, 2π). Its squared length x² + y² exceeds t
    with probability exp(-t/2), and so does -2 log u. Hence two uniform numbers u and v
    give two normal ones:

        x = √(-2 log u) cos(2πv)        y = √(-2 log u) sin(2πv)
    """

    sigma: float | tuple[float, float]

    def __post_init__(self):
        _set(self, sigma=_amount("sigma", self.sigma))

    def __call__(self, images, rng):
        """Corrupt images (N, C, H, W), float32 or float64, into a new array.

        Raises TypeError or ValueError, naming the argument, for other images and for an
        rng that is no generator.
        """
        xp = _checked(images)
        size = math.prod(images.shape)
        # For an odd size, one number too many is drawn.
        pairs = _uniform(rng, (2, (size + 1) // 2), images)
        # log 0 is infinite: half a step of the uniform grid keeps u above 0.
        tiny = xp.finfo(images.dtype).eps / 4
        radius = xp.sqrt(xp.log(pairs[0, :] + tiny) * -2.0)
        if isinstance(self.sigma, float):
            radius *= self.sigma  # here it costs half as many products as below
        angle = pairs[1, :] * (2 * math.pi)
        pairs[0, :] = xp.cos(angle)
        pairs[1, :] = xp.sin(angle)
        pairs *= radius  # (2, pairs) * (pairs,)
        noise = xp.reshape(xp.reshape(pairs, (-1,))[:size], images.shape)
        if isinstance(self.sigma, tuple):
            noise *= _per_image(self.sigma, rng, images)
        noise += images  # in place, because we own the array of random numbers
        return noise


@dataclass(frozen=True)
class SaltAndPepper:
    """Set random pixels to `low`, pepper, or to `high`, salt, both equally likely.

    amount: the probability that a pixel is set, or a pair (least, most), between which
    each image draws its own. The pixels are independent.
    Raises TypeError or ValueError unless 0 <= amount <= 1 and low and high are finite.
    """

    amount: float | tuple[float, float]
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        low, high = _finite("low", self.low), _finite("high", self.high)
        _set(self, amount=_amount("amount", self.amount, 1), low=low, high=high)

    def __call__(self, images, rng):
        """Corrupt images; arguments and errors are those of GaussianNoise."""
        _checked(images)
        amount = _per_image(self.amount, rng, images)
        u = _uniform(rng, images.shape, images)
        # u < amount changes a pixel; its lower half, u < amount / 2, makes it low.
        salted = _paint(images, u < amount, self.high)
        return _paint(salted, u < amount / 2, self.low)

    def check_range(self, pixel_range):
        """Raise ValueError unless low and high are black and white in pixel_range."""
        low, high = pixel_range
        _expect(self, replace(self, low=low, high=high), pixel_range)


@dataclass(frozen=True)
class Masking:
    """Set random pixels to `value`, by default 0.

    amount: the probability that a pixel is set, or a pair (least, most), between which
    each image draws its own. The pixels are independent.
    Raises TypeError or ValueError unless 0 <= amount <= 1 and value is finite.
    """

    amount: float | tuple[float, float]
    value: float = 0.0

    def __post_init__(self):
        amount = _amount("amount", self.amount, 1)
        _set(self, amount=amount, value=_finite("value", self.value))

    def __call__(self, images, rng):
        """Corrupt images; arguments and errors are those of GaussianNoise."""
        _checked(images)
        amount = _per_image(self.amount, rng, images)
        masked = _uniform(rng, images.shape, images) < amount
        return _paint(images, masked, self.value)

    def check_range(self, pixel_range):
        """Raise ValueError unless value is black in pixel_range."""
        _expect(self, replace(self, value=pixel_range[0]), pixel_range)


@dataclass(frozen=True)
class RandomErasing:
    """Paint a box of `value` over each image with probability `p`, as torchvision does.

    The box covers all channels. Its share of the image's area is uniform in `scale`.
    The logarithm of its height / width is uniform between the logarithms of `ratio`, so
    that 1/3 is as likely as 3. Both sides are rounded to whole pixels. A box must be
    smaller than the image both ways; otherwise the draw is repeated, TRIES times in
    all, and then the image is left alone. All places inside are equally likely. A box
    may be of any grey, so `value` is not compared with pixel_range.

    Raises TypeError or ValueError unless 0 <= p <= 1, 0 < low <= high for both pairs,
    scale is at most 1 and all numbers are finite.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float = 0.0

    TRIES = 10  # without an annotation: a constant, not a setting

    def __post_init__(self):
        _set(
            self,
            p=checks.number("p", self.p, 0, 1),
            scale=_range("scale", self.scale, low=0, high=1, low_open=True),
            ratio=_range("ratio", self.ratio, low=0, low_open=True),
            value=_finite("value", self.value),
        )

    def __call__(self, images, rng):
        """Corrupt images; arguments and errors are those of GaussianNoise."""
        xp = _checked(images)
        N, _, H, W = images.shape
        chosen = _uniform(rng, (N,), images) < self.p
        h, w = self._box_sizes(xp, rng, images)
        rows = _inside(xp, h, H, _uniform(rng, (N,), images))  # (N, H)
        rows = rows & chosen[:, None]
        columns = _inside(xp, w, W, _uniform(rng, (N,), images))  # (N, W)
        box = rows[:, None, :, None] & columns[:, None, None, :]  # (N, 1, H, W)
        return _paint(images, box, self.value)

    def _box_sizes(self, xp, rng, images):
        """Draw each box's height and width, whole numbers (N,); both 0 if none fits."""
        N, _, H, W = images.shape
        low, high = self.scale
        area = H * W * (low + (high - low) * _uniform(rng, (self.TRIES, N), images))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = xp.exp(low + (high - low) * _uniform(rng, (self.TRIES, N), images))
        # area = h w and ratio = h / w, all of shape (TRIES, N)
        h = xp.round(xp.sqrt(area * ratio))
        w = xp.round(xp.sqrt(area / ratio))
        fits = (h < H) & (w < W)
        # The first try that fits is where the count of fitting tries becomes 1.
        first = fits & (xp.cumulative_sum(xp.astype(fits, xp.int32), axis=0) == 1)
        nothing = zeros((1,), like=images)
        height = xp.sum(xp.where(first, h, nothing), axis=0)
        return height, xp.sum(xp.where(first, w, nothing), axis=0)


def _inside(xp, length, side, u):
    """Mark a run of `length` (N,) pixels among `side`, at a random place: (N, side).

    u (N,), uniform in [0, 1), picks the first pixel: 0 ... side - length are equally
    likely.
    """
    last = side - length
    # A GPU may round u up to 1, hence the minimum.
    start = xp.minimum(xp.floor(u * (last + 1)), last)
    pixel = xp.cumulative_sum(zeros((side,), like=u) + 1, axis=0) - 1  # 0 ... side - 1
    return (pixel >= start[:, None]) & (pixel < (start + length)[:, None])


@dataclass(frozen=True)
class Mixture:
    """Corrupt each image by one of `corruptions`, all equally likely.

    corruptions: a tuple of corruptions, such as (GaussianNoise(0.5), Masking(0.2)).
    Raises TypeError for anything else, ValueError for an empty one.

    Each corruption gets a copy of the whole batch, so one that works in place changes
    nothing else. Then one result is chosen for each image. This wastes work, but no
    shape depends on the numbers drawn, so a GPU never has to wait for the host.
    """

    corruptions: tuple

    def __post_init__(self):
        given = self.corruptions
        form = "a tuple of corruptions, such as (GaussianNoise(0.5), Masking(0.2))"
        right = isinstance(given, (tuple, list)) and all(map(_is_corruption, given))
        checks.expect(right, TypeError, "corruptions", repr(given), form)
        checks.expect(given, ValueError, "corruptions", repr(given), form)
        _set(self, corruptions=tuple(given))

    def __call__(self, images, rng):
        """Corrupt images; arguments and errors are those of GaussianNoise.

        Also raises TypeError or ValueError for a corruption that returns anything but
        images of the same shape, dtype and library.
        """
        xp = _checked(images)
        u = _uniform(rng, (images.shape[0], 1, 1, 1), images)
        mixed = images
        for i, corruption in enumerate(self.corruptions):
            corrupted = corruption(xp.astype(images, images.dtype), rng)  # of a copy
            name = f"corruptions[{i}](images, rng)"
            checks.array(name, corrupted, images.shape, like=images)
            chosen = u >= i / len(self.corruptions)  # a later one may replace it
            mixed = xp.where(chosen, corrupted, mixed)
        return mixed

    def check_range(self, pixel_range):
        """Raise ValueError if a corruption's own check_range does."""
        for corruption in self.corruptions:
            if hasattr(corruption, "check_range"):
                corruption.check_range(pixel_range)


def _is_corruption(thing):
    return callable(thing) and not isinstance(thing, type)
