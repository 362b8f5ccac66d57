"""The settings of a training, and how pixels become batches of images."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import checks
from .backend import dtype_name, namespace, zeros
from .losses import MSELoss
from .models import AnelloAutoencoder, batch_first, batch_last
from .optim import Adam


@dataclass(frozen=True)
class Experiment:
    """All settings that decide a training.

    The defaults are those of the student report that the lessons redo.

    Equal experiments on equal data give bit-identical weights, on the same backend and
    machine and with the same number of threads.

    The first four settings are functions (or classes) that make or do something:

        model       (seed=...) -> a Layer, which takes and returns images (N, C, H, W)
        loss        () -> an object with forward(y, target) -> L, a 0-d array, and
                    backward() -> dL/dy
        optimizer   (parameters) -> an object with lr, step(), state_dict() -> {name:
                    NumPy array} and load_state_dict(state); see optim.Optimizer
        corruption  (images, rng) -> corrupted images of the same shape, dtype and
                    library; None for none. rng: Backend.rng

    functools.partial gives them other settings: model=partial(AnelloAutoencoder, 32).
    The corruption is drawn again for every image in every epoch, for training and
    testing. If it has a method check_range(pixel_range), that is called here.

    clean_target: compare the output with the clean image (denoising) instead of the
    corrupted one. pixel_range: the values for black and white. lr_decay: the
    optimiser's lr is multiplied by it after every epoch. backend: for get_backend.
    """

    model: Callable = AnelloAutoencoder
    loss: Callable = MSELoss
    optimizer: Callable = partial(Adam, lr=1e-3, weight_decay=1e-5)
    corruption: Any = None
    clean_target: bool = False
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    epochs: int = 20
    batch_size: int = 256
    lr_decay: float = 1.0
    seed: int = 1
    backend: str = "numpy"

    def __post_init__(self):
        _check_call("model", self.model, "(seed=...) -> Layer", seed=0)
        _check_call("loss", self.loss, "() -> loss")
        _check_call("optimizer", self.optimizer, "(parameters) -> optimiser", [])
        if self.corruption is not None:
            form = "(images, rng) -> images, or None"
            _check_call("corruption", self.corruption, form, 0, 0)
        form = "(low, high) with low < high"
        low, high = checks.several(
            "pixel_range", self.pixel_range, 2, form, checks.number
        )
        if low >= high:
            raise ValueError(f"pixel_range: got {self.pixel_range}, expected {form}")
        if hasattr(self.corruption, "check_range"):
            self.corruption.check_range((low, high))
        checks.integer("epochs", self.epochs)
        checks.integer("batch_size", self.batch_size)
        checks.integer("seed", self.seed, at_least=0)
        checks.number("lr_decay", self.lr_decay, 0, 1)


def _check_call(name, function, form, *arguments, **options):
    """Raise TypeError unless `function` can be called in this way."""
    try:
        inspect.signature(function).bind(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: got {function!r} ({error}), expected a function {form}"
        ) from error


def check_pixels(name, pixels):
    """Raise TypeError unless `pixels` are uint8, (M, H, W) or (M, C, H, W)."""
    kind = dtype_name(getattr(pixels, "dtype", type(pixels)))
    shape = np.shape(pixels)
    if kind != "uint8" or len(shape) not in (3, 4) or 0 in shape:
        raise TypeError(
            f"{name}: got {kind} {shape}, expected uint8 images (M, H, W) or (M, C, H, "
            "W), no axis empty"
        )


def to_range(pixels, pixel_range):
    """Map pixel values 0..255 to images in pixel_range.

    pixels: (N, H, W) or (N, C, H, W), uint8. Returns (N, C, H, W), float32, a new
    array; C is 1 for (N, H, W). Raises TypeError for anything else.
    """
    check_pixels("pixels", pixels)
    xp = namespace(pixels)
    low, high = pixel_range
    N, *C, H, W = pixels.shape
    images = xp.astype(xp.reshape(pixels, (N, *(C or [1]), H, W)), xp.float32)
    images *= (high - low) / 255
    images += low
    return images


def batch_contiguous(x):
    """Return a copy of x (N, C, H, W) with the batch contiguous in memory.

    The layers copy along the batch, so this one copy makes all later ones faster.
    """
    y = zeros((*x.shape[1:], x.shape[0]), like=x)
    y[...] = batch_last(x)
    return batch_first(y)


def batches(pixels, experiment, rng, order=None):
    """Yield (input, target) for all pixels, uint8, in the given order.

    pixels: (M, H, W) or (M, C, H, W). input, target: (N, C, H, W), float32; N =
    batch_size, or fewer in the last batch. rng: draws the corruption. order: (M,),
    indices into pixels. Raises TypeError or ValueError if the corruption returns
    something else than such images.
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
        if corruption is None:
            x = target = batch_contiguous(clean)
        else:  # copy the target first: a corruption may change its argument
            target = batch_contiguous(clean) if experiment.clean_target else None
            corrupted = corruption(clean, rng)
            checks.array("corruption", corrupted, tuple(clean.shape), like=clean)
            x = batch_contiguous(corrupted)
        yield x, x if target is None else target
