"""Drawn cases, and convolution as plain loops: what the tests of the layers share.

Sizes within a case are pairwise distinct, so that two axes in the wrong order cannot go unseen. Values come from a
generator with a drawn seed, the upstream gradient too: normal, never ones.
"""

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def arrays(seed, *shapes, dtype="float64"):
    """Arrays of normal numbers, read-only: a layer that writes into what it was given fails at once."""
    rng, made = np.random.default_rng(seed), []
    for shape in shapes:
        made.append(np.asarray(rng.standard_normal(shape), dtype=dtype))
        made[-1].flags.writeable = False
    return made


@st.composite
def distinct(draw, count, low=1, high=7):
    """`count` pairwise distinct sizes."""
    return draw(
        st.lists(st.integers(low, high), min_size=count, max_size=count, unique=True)
    )


def _pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def _image(draw, lowest, sizes):
    """(C, H, W, N) and O from C, O, N = sizes, with H and W at least `lowest` and all five pairwise distinct."""
    C, O, N = sizes
    H = draw(
        st.sampled_from([n for n in range(lowest[0], lowest[0] + 6) if n not in sizes])
    )
    W = draw(
        st.sampled_from(
            [n for n in range(lowest[1], lowest[1] + 6) if n not in (*sizes, H)]
        )
    )
    return (C, H, W, N), O


@st.composite
def convolutions(draw):
    """(C, O, kernel, stride, padding), the shape (C, H, W, N) of x, a seed."""
    kernel, stride, padding = draw(_pairs(1, 5)), draw(_pairs(1, 3)), draw(_pairs(0, 2))
    lowest = [
        max(1, k - 2 * p) for k, p in zip(kernel, padding)
    ]  # no kernel larger than the padded image
    shape, O = _image(draw, lowest, draw(distinct(3, 1, 4)))
    return (shape[0], O, kernel, stride, padding), shape, draw(seeds)


@st.composite
def transposed_convolutions(draw):
    """(C, O, kernel, stride, padding, output_padding), the shape (C, H, W, N) of x, a seed."""
    kernel, stride, padding = draw(_pairs(1, 5)), draw(_pairs(1, 3)), draw(_pairs(0, 2))
    extra = tuple(draw(st.integers(0, step - 1)) for step in stride)
    # the smallest n with (n - 1) s - 2 p + k + e >= 1: something must be left of the output
    lowest = [
        max(1, 1 + -((k + e - 1 - 2 * p) // s))
        for k, s, p, e in zip(kernel, stride, padding, extra)
    ]
    shape, O = _image(draw, lowest, draw(distinct(3, 1, 4)))
    return (shape[0], O, kernel, stride, padding, extra), shape, draw(seeds)


def loops(large, small, weight, kernel, stride, padding):
    """The definition of both convolutions, link by link: every small pixel is tied to the patch of the large image
    under the kernel. Yields the indices (row, column) of the large pixel, of the small pixel and of the kernel's entry.

    large, small: (height, width).
    """
    for a in range(small[0]):
        for b in range(small[1]):
            for i in range(kernel[0]):
                for j in range(kernel[1]):
                    r, q = (
                        a * stride[0] + i - padding[0],
                        b * stride[1] + j - padding[1],
                    )
                    if 0 <= r < large[0] and 0 <= q < large[1]:
                        yield (r, q), (a, b), (i, j)
