"""The settings of a training, and how pixels become batches of images."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from . import checks
from .backend import namespace, zeros
from .layer import Layer
from .models import AnelloAutoencoder, batch_first, batch_last


@dataclass(frozen=True)
class Experiment:
    """All settings that decide a training.

    Equal experiments on equal data give bit-identical weights, on the same backend and
    machine and with the same number of threads.

    corruption: (images, generator) -> corrupted images; None for none. It is drawn
    again for every image in every epoch, for training and testing. clean_target:
    compare the output with the clean image (denoising) instead of the corrupted one.
    pixel_range: the values for black and white. model: called with seed=..., returns a
    Layer; for example AnelloAutoencoder, or functools.partial(AnelloAutoencoder, 32)
    for another code size. lr: Adam's learning rate in the first epoch; it is multiplied
    by lr_decay after every epoch. backend: a name for get_backend.
    """

    corruption: Any = None
    clean_target: bool = False
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    model: Callable = AnelloAutoencoder
    epochs: int = 20
    batch_size: int = 256
    lr: float = 1e-3
    lr_decay: float = 1.0
    weight_decay: float = 1e-5
    seed: int = 1
    backend: str = "numpy"

    def __post_init__(self):
        if self.corruption is not None and not callable(self.corruption):
            raise TypeError(
                f"corruption: got {self.corruption!r}, expected None or a function "
                "(images, generator)"
            )
        if isinstance(self.model, Layer) or not callable(self.model):
            raise TypeError(
                f"model: got {self.model!r}, expected a function (seed=...) that "
                "returns a Layer"
            )
        form = "(low, high) with low < high"
        low, high = checks.several(
            "pixel_range", self.pixel_range, 2, form, checks.number, low=-inf
        )
        if low >= high:
            raise ValueError(f"pixel_range: got {self.pixel_range}, expected {form}")
        checks.integer("epochs", self.epochs, at_least=1)
        checks.integer("batch_size", self.batch_size, at_least=1)
        checks.integer("seed", self.seed, at_least=0)
        checks.number("lr", self.lr, 0)
        checks.number("lr_decay", self.lr_decay, 0, 1)
        checks.number("weight_decay", self.weight_decay, 0)


def to_range(pixels, pixel_range):
    """Map grey values 0..255 to images in pixel_range.

    pixels: (N, H, W), uint8. Returns (N, 1, H, W), float32.
    """
    xp = namespace(pixels)
    low, high = pixel_range
    images = xp.astype(pixels[:, None, :, :], xp.float32)
    images *= (high - low) / 255
    images += low
    return images


def batch_contiguous(x):
    """Return x (N, C, H, W) with the batch contiguous in memory.

    The layers copy along the batch, so this one copy makes all later ones faster.
    """
    y = zeros((*x.shape[1:], x.shape[0]), like=x)
    y[...] = batch_last(x)
    return batch_first(y)


def batches(pixels, experiment, rng, order=None):
    """Yield (input, target) for all pixels (M, H, W), uint8, in the given order.

    input, target: (N, 1, H, W), float32; N = batch_size, or fewer in the last batch.
    rng: draws the corruption; None if there is none. order: (M,), indices into pixels.
    """
    xp = namespace(pixels)
    corruption = experiment.corruption
    for start in range(0, pixels.shape[0], experiment.batch_size):
        stop = min(start + experiment.batch_size, pixels.shape[0])
        if order is None:
            chosen = pixels[start:stop, ...]
        else:
            chosen = xp.take(pixels, order[start:stop], axis=0)
        clean = to_range(chosen, experiment.pixel_range)
        x = batch_contiguous(corruption(clean, rng) if corruption else clean)
        denoising = corruption and experiment.clean_target
        yield x, batch_contiguous(clean) if denoising else x
