"""Convolution and its adjoint: against plain loops written from the definition, and against each other.

The loops (cases.loops) know nothing of patches.py: they visit every pair of pixels that a kernel entry links.
"""

import numpy as np
import pytest
from cases import arrays, convolutions, distinct, loops, seeds, transposed_convolutions
from hypothesis import example, given
from hypothesis import strategies as st

import tinyae
from tinyae.convolution import outer_sum, product
from tinyae.patches import col2im, conv_size, im2col, transposed_size


def agree(got, wanted):
    """Equal shape and dtype, and equal values to float64 rounding."""
    assert got.shape == wanted.shape and got.dtype == wanted.dtype == "float64"
    np.testing.assert_allclose(
        got, wanted, rtol=0, atol=1e-12 * max(1, abs(wanted).max())
    )


def build(kind, arguments, seed):
    """A layer, and its weight and bias replaced by normal numbers."""
    layer = kind(*arguments, dtype="float64", seed=seed)
    layer.weight.data, layer.bias.data = arrays(
        seed + 1, layer.weight.data.shape, layer.bias.data.shape
    )
    return layer, layer.weight.data, layer.bias.data


@given(convolutions())
@example(
    ((2, 3, (6, 1), (1, 2), (3, 0)), (2, 1, 4, 5), 0)
)  # some kernel rows see nothing but padding
def test_conv2d_is_its_definition(case):
    (C, O, *geometry), (_, H, W, N), seed = case
    layer, w, b = build(tinyae.Conv2d, case[0], seed)
    assert w.shape == (O, C, *geometry[0]) and b.shape == (O,)
    size = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), *geometry)]
    x, dy = arrays(seed, (C, H, W, N), (O, *size, N))
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    y += b[:, None, None, None]
    for (r, q), (a, c), (i, j) in loops((H, W), size, w, *geometry):
        y[:, a, c] += w[:, :, i, j] @ x[:, r, q]
        dx[:, r, q] += w[:, :, i, j].T @ dy[:, a, c]
        dw[:, :, i, j] += dy[:, a, c] @ x[:, r, q].T
    agree(layer.forward(x), y)
    agree(layer.backward(dy), dx)
    agree(layer.weight.grad, dw)
    agree(layer.bias.grad, dy.sum((1, 2, 3)))


@given(transposed_convolutions())
@example(((4, 3, (6, 1), (1, 2), (3, 0), (0, 1)), (4, 2, 5, 1), 0))
def test_conv_transpose2d_is_its_definition(case):
    (C, O, *geometry, extra), (_, H, W, N), seed = case
    layer, w, b = build(tinyae.ConvTranspose2d, case[0], seed)
    assert w.shape == (C, O, *geometry[0]) and b.shape == (O,)
    size = [
        (n - 1) * s - 2 * p + k + e for n, k, s, p, e in zip((H, W), *geometry, extra)
    ]
    x, dy = arrays(seed, (C, H, W, N), (O, *size, N))
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    y += b[:, None, None, None]
    for (r, q), (a, c), (i, j) in loops(size, (H, W), w, *geometry):
        y[:, r, q] += w[:, :, i, j].T @ x[:, a, c]
        dx[:, a, c] += w[:, :, i, j] @ dy[:, r, q]
        dw[:, :, i, j] += x[:, a, c] @ dy[:, r, q].T
    agree(layer.forward(x), y)
    agree(layer.backward(dy), dx)
    agree(layer.weight.grad, dw)
    agree(layer.bias.grad, dy.sum((1, 2, 3)))


def equal_products(left, right):
    """<a, b> = <c, d> to 1e-12 of the products' size."""
    (a, b), (c, d) = left, right
    size = np.linalg.norm(a) * np.linalg.norm(b) + np.linalg.norm(c) * np.linalg.norm(d)
    assert abs(np.vdot(a, b) - np.vdot(c, d)) <= 1e-12 * size


@given(transposed_convolutions())
def test_transposed_convolution_is_the_adjoint(case):
    """<conv(x), y> = <x, convT(y)> with one weight and no bias, and each layer's backward is the other's forward."""
    (C, O, kernel, stride, padding, extra), shape, seed = case
    transposed, w, _ = build(tinyae.ConvTranspose2d, case[0], seed)
    conv, _, _ = build(tinyae.Conv2d, (O, C, kernel, stride, padding), seed)
    transposed.bias.data, conv.bias.data, conv.weight.data = np.zeros(O), np.zeros(C), w
    (y,) = arrays(seed, shape)
    spread = transposed.forward(y)
    (x,) = arrays(seed + 2, spread.shape)
    gathered = conv.forward(x)
    assert (
        gathered.shape == y.shape
    )  # whatever output_padding: one of the sizes that conv takes to this one
    equal_products((gathered, y), (x, spread))
    agree(conv.backward(y), spread)
    agree(transposed.backward(x), gathered)


@given(convolutions())
def test_col2im_is_the_adjoint_of_im2col(case):
    (_, _, *geometry), (C, H, W, N), seed = case
    (x,) = arrays(seed, (C, H, W, N))
    cols = im2col(x, *geometry)
    (z,) = arrays(seed + 1, cols.shape)
    equal_products((cols, z), (x, col2im(z, x.shape, *geometry)))
    agree(
        cols,
        np.stack(
            [  # straight from the formula, with numpy's own padding
                np.pad(x, ((0, 0), *[(p, p) for p in geometry[2]], (0, 0)))[c, i:, j:][
                    :: geometry[1][0], :: geometry[1][1]
                ][: cols.shape[1], : cols.shape[2]]
                for c in range(C)
                for i in range(geometry[0][0])
                for j in range(geometry[0][1])
            ]
        ),
    )


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.integers(0, 4))
def test_sizes(size, kernel, stride, padding):
    positions = [
        a
        for a in range(-padding, size + padding, stride)
        if a + kernel <= size + padding
    ]
    if positions:
        assert conv_size(size, kernel, stride, padding) == len(positions)
        same = [
            transposed_size(len(positions), kernel, stride, padding, extra)
            for extra in range(stride)
        ]
        assert size in same and same == list(range(same[0], same[0] + stride))
        assert {conv_size(n, kernel, stride, padding) for n in same} == {len(positions)}


@pytest.mark.parametrize(
    "kernel, stride, padding, extra, small, large",
    [
        (3, 2, 0, 0, (3, 3), (7, 7)),
        (3, 2, 1, 1, (7, 7), (14, 14)),
        (3, 2, 1, 1, (14, 14), (28, 28)),
        (3, 2, 1, 0, (7, 4), (13, 7)),
        ((2, 5), (3, 1), (0, 2), (2, 0), (4, 6), (13, 6)),
        (1, 3, 0, (0, 2), (2, 3), (4, 9)),
    ],
)
def test_output_sizes(kernel, stride, padding, extra, small, large):
    (x,), (y,) = (
        arrays(0, (2, *small, 3), dtype="float32"),
        arrays(1, (4, *large, 3), dtype="float32"),
    )
    assert tinyae.ConvTranspose2d(2, 4, kernel, stride, padding, extra).forward(
        x
    ).shape == (4, *large, 3)
    assert tinyae.Conv2d(4, 2, kernel, stride, padding).forward(y).shape == (
        2,
        *small,
        3,
    )


def test_by_hand():
    """The smallest example that shows overlap: a 2x2 image, a kernel of ones, stride 1 and 2."""
    layer = tinyae.ConvTranspose2d(1, 1, 2, dtype="float64")
    layer.weight.data, layer.bias.data = np.ones((1, 1, 2, 2)), np.array([10.0])
    x = np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1)
    assert layer.forward(x)[0, :, :, 0].tolist() == [
        [11, 13, 12],
        [14, 20, 16],
        [13, 17, 14],
    ]
    conv = tinyae.Conv2d(1, 1, (1, 2), dtype="float64")
    conv.weight.data, conv.bias.data = (
        np.array([[[[1.0, -1]]]]),
        np.array([0.5]),
    )  # not flipped: left minus right
    assert conv.forward(x)[0, :, :, 0].tolist() == [[-0.5], [-0.5]]


def test_defaults_are_stride_1_and_no_padding():
    conv, transposed = tinyae.Conv2d(2, 3, (2, 3)), tinyae.ConvTranspose2d(2, 3, (2, 3))
    assert conv.stride == transposed.stride == (
        1,
        1,
    ) and conv.padding == transposed.padding == (0, 0)
    assert transposed.output_padding == (0, 0)
    x = np.zeros((2, 5, 7, 1), "float32")
    assert conv.forward(x).shape[1:3] == (4, 5) and transposed.forward(x).shape[
        1:3
    ] == (6, 9)


def test_the_smallest_that_fit_and_the_largest_that_do_not():
    image = arrays(0, (2, 3, 4, 5), dtype="float32")[0]
    assert tinyae.Conv2d(2, 1, (5, 6), padding=1).forward(image).shape == (1, 1, 1, 5)
    assert tinyae.ConvTranspose2d(2, 1, (2, 1), padding=(1, 1)).forward(
        image
    ).shape == (1, 2, 2, 5)
    assert tinyae.ConvTranspose2d(2, 1, 1, 3, 0, 2).forward(image).shape == (
        1,
        9,
        12,
        5,
    )
    for kernel in ((6, 6), (5, 7)):
        with pytest.raises(ValueError, match="kernel_size"):
            tinyae.Conv2d(2, 1, kernel, padding=1).forward(image)
    for padding in ((2, 0), (0, 2)):
        with pytest.raises(ValueError, match="padding"):
            tinyae.ConvTranspose2d(2, 1, (2, 1), padding=padding).forward(image)
    for extra in (2, (2, 0), (0, 2)):
        with pytest.raises(ValueError, match="output_padding"):
            tinyae.ConvTranspose2d(2, 1, 3, 2, 0, extra)


@given(distinct(5), seeds)
def test_products(sizes, seed):
    R, K, H, W, N = sizes
    matrix, a, b = arrays(seed, (R, K), (K, H, W, N), (R, H, W, N))
    agree(product(matrix, a), np.einsum("rk,khwn->rhwn", matrix, a))
    agree(outer_sum(b, a), np.einsum("rhwn,khwn->rk", b, a))
