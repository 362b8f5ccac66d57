"""Each kind of layer with the shape of its input, and one step through it: what the tests of all layers share."""

import pytest
from cases import arrays

import tinyae

# (make a layer of a dtype, the shape of its input), sizes pairwise distinct
LAYERS = {
    "Linear": (lambda **how: tinyae.Linear(5, 3, seed=1, **how), (5, 4)),
    "Conv2d": (lambda **how: tinyae.Conv2d(2, 3, 3, 2, 1, seed=1, **how), (2, 7, 6, 4)),
    "Conv2d, one position": (
        lambda **how: tinyae.Conv2d(2, 3, (4, 5), seed=1, **how),
        (2, 4, 5, 6),
    ),
    "Conv2d, kernel 1": (
        lambda **how: tinyae.Conv2d(2, 3, 1, seed=1, **how),
        (2, 4, 5, 6),
    ),
    "ConvTranspose2d": (
        lambda **how: tinyae.ConvTranspose2d(3, 2, 3, 2, 1, 1, seed=1, **how),
        (3, 4, 5, 6),
    ),
    "ConvTranspose2d, kernel 1": (
        lambda **how: tinyae.ConvTranspose2d(3, 2, 1, seed=1, **how),
        (3, 4, 5, 6),
    ),
    "BatchNorm2d": (lambda **how: tinyae.BatchNorm2d(3, **how), (3, 4, 5, 6)),
    "BatchNorm2d, evaluating": (
        lambda **how: tinyae.BatchNorm2d(3, **how).eval(),
        (3, 4, 5, 6),
    ),
    "ReLU": (lambda **how: tinyae.ReLU(), (3, 4, 5)),
    "Sigmoid": (lambda **how: tinyae.Sigmoid(), (3, 4, 5)),
    "Flatten": (lambda **how: tinyae.Flatten(), (2, 3, 4, 5)),
    "Unflatten": (lambda **how: tinyae.Unflatten((2, 3, 4)), (24, 5)),
    "Sequential": (
        lambda **how: tinyae.Sequential(
            tinyae.Conv2d(1, 2, 3, seed=1, **how),
            tinyae.BatchNorm2d(2, **how),
            tinyae.ReLU(),
            tinyae.Flatten(),
            tinyae.Linear(24, 3, seed=2, **how),
            tinyae.Sigmoid(),
        ),
        (1, 6, 5, 4),
    ),
    "AnelloAutoencoder": (
        lambda **how: tinyae.AnelloAutoencoder(3, width=2, seed=1, **how),
        (4, 1, 28, 28),
    ),
}
each = pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def step(layer, shape, seed, dtype="float32"):
    """One forward and backward on fresh arrays: (x, dy, y, dx). x and dy are read-only: writing into them raises."""
    (x,) = arrays(seed, shape, dtype=dtype)
    y = layer.forward(x)
    (dy,) = arrays(seed + 1, y.shape, dtype=dtype)
    return x, dy, y, layer.backward(dy)
