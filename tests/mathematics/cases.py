"""Drawn cases for the tests of the layers.

Sizes within a case are pairwise distinct, so two axes in the wrong order are noticed.
Values come from a generator with a drawn seed. The upstream gradient does too: normal
numbers, never ones.
"""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def arrays(seed, *shapes, dtype="float64"):
    """Return arrays of normal numbers, read-only: writing to one raises."""
    rng = np.random.default_rng(seed)
    made = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    for array in made:
        array.flags.writeable = False
    return made


@st.composite
def distinct(draw, count, low=1, high=7):
    """Draw `count` pairwise distinct sizes."""
    sizes = st.integers(low, high)
    return draw(st.lists(sizes, min_size=count, max_size=count, unique=True))


def _geometry(draw):
    """Draw C, O, H, W, N, all different, and kernel, stride, padding as pairs."""
    ranges = [(1, 5), (1, 3), (0, 2)]
    pairs = [draw(st.tuples(*[st.integers(*limits)] * 2)) for limits in ranges]
    return draw(distinct(5)), pairs


@st.composite
def convolutions(draw):
    """Draw (C, O, kernel, stride, padding), the shape (C, H, W, N) of x, and a seed."""
    (C, out, *size, N), (kernel, stride, padding) = _geometry(draw)
    fits = [n + 2 * p >= k for n, k, p in zip(size, kernel, padding, strict=True)]
    assume(all(fits))
    return (C, out, kernel, stride, padding), (C, *size, N), draw(seeds)


@st.composite
def transposed_convolutions(draw):
    """Draw the same, with output_padding as the sixth argument."""
    (C, out, *size, N), geometry = _geometry(draw)
    extra = tuple(draw(st.integers(0, step - 1)) for step in geometry[1])
    left = [
        (n - 1) * s - 2 * p + k + e
        for n, k, s, p, e in zip(size, *geometry, extra, strict=True)
    ]
    assume(min(left) > 0)
    return (C, out, *geometry, extra), (C, *size, N), draw(seeds)
