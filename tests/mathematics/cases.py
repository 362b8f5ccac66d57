"""The layers of the package, and drawn cases for the tests.

A layer or loss in a list CHECKS of the package is in LAYERS or LOSSES, and so in every
test that holds for all of them.

Sizes within a drawn case are pairwise distinct, so two axes in the wrong order are
noticed. Values come from a generator with a drawn seed. The upstream gradient does too:
normal numbers, never ones.
"""

import copy

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from tinyae.gradcheck import collect
from tinyae.layer import Layer

LAYERS = [check for check in collect() if isinstance(check[0], Layer)]
LOSSES = [check for check in collect() if not isinstance(check[0], Layer)]


def every(checks):
    """Run a test for each part and shape of `checks`; the part is a new copy."""
    ids = [type(part).__name__ for part, _ in checks]
    return pytest.mark.parametrize("part, shape", checks, ids=ids)


every_layer = every(LAYERS)
every_mode = pytest.mark.parametrize("training", [True, False])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)


def new(layer, dtype="float32"):
    """Return a copy in that dtype, moved a little: no gamma is 1, no bias 0."""
    layer, rng = copy.deepcopy(layer), np.random.default_rng(1)
    for _, p in layer.named_parameters():
        p.data = (p.data + rng.uniform(-0.1, 0.1, p.data.shape)).astype(dtype)
    return layer


def arrays(seed, *shapes, dtype="float64"):
    """Return arrays of normal numbers, read-only: writing to one raises."""
    rng = np.random.default_rng(seed)
    made = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    for array in made:
        array.flags.writeable = False
    return made


def gradients(layer):
    """Return {name: gradient} of the trainable parameters."""
    return {name: p.grad for name, p in layer.named_parameters() if p.trainable}


def step(layer, shape, seed=1, dtype="float32"):
    """Run forward and backward on read-only arrays; return all that it made."""
    (x,) = arrays(seed, shape, dtype=dtype)
    y = layer.forward(x)
    (dy,) = arrays(seed + 1, y.shape, dtype=dtype)
    return {"y": y, "dx": layer.backward(dy)} | gradients(layer)


@st.composite
def distinct(draw, count, low=1, high=7):
    """Draw `count` pairwise distinct sizes."""
    sizes = st.integers(low, high)
    return draw(st.lists(sizes, min_size=count, max_size=count, unique=True))


@st.composite
def convolutions(draw, transposed=False):
    """Draw (C, O, kernel, stride, padding), the shape (C, H, W, N) of x, and a seed.

    All sizes differ; the three are pairs. transposed: with output_padding.
    """
    C, out, *size, N = draw(distinct(5))
    ranges = [(1, 5), (1, 3), (0, 2)]
    pairs = [draw(st.tuples(*[st.integers(*limits)] * 2)) for limits in ranges]
    rows = zip(size, *pairs, strict=True)
    if transposed:
        assume(all((n - 1) * s - 2 * p + k > 0 for n, k, s, p in rows))
        pairs.append(tuple(draw(st.integers(0, s - 1)) for s in pairs[1]))
    else:
        assume(all(n + 2 * p >= k for n, k, _, p in rows))
    return (C, out, *pairs), (C, *size, N), draw(seeds)
