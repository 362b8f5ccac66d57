"""Each kind of layer with an input shape, and one step through it."""

from functools import partial

import pytest
from cases import arrays

import tinyae


def _evaluating(**how):
    return tinyae.BatchNorm2d(3, **how).eval()


def _sequential(**how):
    return tinyae.Sequential(
        tinyae.Conv2d(1, 2, 3, seed=1, **how),
        tinyae.BatchNorm2d(2, **how),
        tinyae.ReLU(),
        tinyae.Flatten(),
        tinyae.Linear(24, 3, seed=2, **how),
        tinyae.Sigmoid(),
    )


_conv = partial(tinyae.Conv2d, 2, 3, seed=1)
_one = {"padding": 1, "output_padding": 1}
_transposed = partial(tinyae.ConvTranspose2d, 3, 2, seed=1)

# {name: (make a layer of a dtype, the shape of its input)}, sizes pairwise distinct
LAYERS = {
    "Linear": (partial(tinyae.Linear, 5, 3, seed=1), (5, 4)),
    "Conv2d": (partial(_conv, kernel_size=3, stride=2, padding=1), (2, 7, 6, 4)),
    "Conv2d, one position": (partial(_conv, kernel_size=(4, 5)), (2, 4, 5, 6)),
    "Conv2d, kernel 1": (partial(_conv, kernel_size=1), (2, 4, 5, 6)),
    "ConvTranspose2d": (
        partial(_transposed, kernel_size=3, stride=2, **_one),
        (3, 4, 5, 6),
    ),
    "ConvTranspose2d, kernel 1": (partial(_transposed, kernel_size=1), (3, 4, 5, 6)),
    "BatchNorm2d": (partial(tinyae.BatchNorm2d, 3), (3, 4, 5, 6)),
    "BatchNorm2d, evaluating": (_evaluating, (3, 4, 5, 6)),
    "ReLU": (lambda **how: tinyae.ReLU(), (3, 4, 5)),
    "Sigmoid": (lambda **how: tinyae.Sigmoid(), (3, 4, 5)),
    "Flatten": (lambda **how: tinyae.Flatten(), (2, 3, 4, 5)),
    "Unflatten": (lambda **how: tinyae.Unflatten((2, 3, 4)), (24, 5)),
    "Sequential": (_sequential, (1, 6, 5, 4)),
    "AnelloAutoencoder": (
        partial(tinyae.AnelloAutoencoder, 3, width=2, seed=1),
        (4, 1, 28, 28),
    ),
}
each = pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def gradients(layer):
    """Return {name: gradient} of the trainable parameters."""
    return {name: p.grad for name, p in layer.named_parameters() if p.trainable}


def step(layer, shape, seed, dtype="float32"):
    """Run forward and backward on read-only arrays; return x, dy, y, dx."""
    (x,) = arrays(seed, shape, dtype=dtype)
    y = layer.forward(x)
    (dy,) = arrays(seed + 1, y.shape, dtype=dtype)
    return x, dy, y, layer.backward(dy)
