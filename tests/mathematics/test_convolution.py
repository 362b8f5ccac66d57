"""What relates the two convolutions: sizes, adjoints, and the smallest examples."""

import numpy as np
import pytest
from cases import arrays, convolutions, transposed_convolutions
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from tinyae.patches import col2im, conv_size, im2col, transposed_size


def same_product(a, b, c, d):
    """<a, b> = <c, d> to 1e-12 of their sizes."""
    size = np.linalg.norm(a) * np.linalg.norm(b) + np.linalg.norm(c) * np.linalg.norm(d)
    assert abs(np.vdot(a, b) - np.vdot(c, d)) <= 1e-12 * size


@given(convolutions())
def test_col2im_is_the_adjoint_of_im2col(case):
    (_, _, *geometry), shape, seed = case
    (x,) = arrays(seed, shape)
    cols = im2col(x, *geometry)
    (z,) = arrays(seed + 1, cols.shape)
    same_product(cols, z, x, col2im(z, shape, *geometry))


@given(transposed_convolutions())
def test_each_backward_is_the_others_forward(case):
    """<conv(x), y> = <x, convT(y)> with one weight and no bias."""
    (C, out, *geometry, extra), shape, seed = case
    transposed = tinyae.ConvTranspose2d(
        C, out, *geometry, extra, dtype="float64", seed=seed
    )
    conv = tinyae.Conv2d(out, C, *geometry, dtype="float64", seed=seed)
    conv.weight.data = transposed.weight.data
    for layer in (conv, transposed):
        layer.bias.data = 0 * layer.bias.data
    (y,) = arrays(seed, shape)
    spread = transposed.forward(y)
    (x,) = arrays(seed + 1, spread.shape)
    gathered = conv.forward(x)
    assert gathered.shape == shape  # whatever output_padding is
    same_product(gathered, y, x, spread)
    np.testing.assert_allclose(conv.backward(y), spread, atol=1e-11)
    np.testing.assert_allclose(transposed.backward(x), gathered, atol=1e-11)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.integers(0, 4))
def test_sizes(size, kernel, stride, padding):
    last = size + padding - kernel
    positions = len(range(-padding, last + 1, stride))
    if not positions:
        with pytest.raises(ValueError, match=f"^kernel_size: got {kernel}, expected"):
            conv_size(size, kernel, stride, padding)
        return
    assert conv_size(size, kernel, stride, padding) == positions
    rest = kernel, stride, padding
    least = (positions - 1) * stride - 2 * padding + kernel
    for extra in range(max(0, 1 - least), stride):
        assert transposed_size(positions, *rest, extra) == least + extra
        assert conv_size(least + extra, *rest) == positions
    if least <= 0:
        with pytest.raises(ValueError, match=f"^padding: got {padding}, expected less"):
            transposed_size(positions, *rest, -least)


@pytest.mark.parametrize(
    "kernel, stride, padding, extra, small, large",
    [
        (3, 2, 1, 1, (7, 14), (14, 28)),
        ((2, 5), (3, 1), (0, 2), (2, 0), (4, 6), (13, 6)),
        (1, 3, 0, (0, 2), (2, 3), (4, 9)),
        ((5, 6), 1, 1, 0, (1, 1), (3, 4)),
    ],
)
def test_sizes_of_outputs(kernel, stride, padding, extra, small, large):
    x, y = arrays(0, (2, *small, 3), (4, *large, 3), dtype="float32")
    geometry = kernel, stride, padding
    assert tinyae.ConvTranspose2d(2, 4, *geometry, extra).forward(x).shape == y.shape
    assert tinyae.Conv2d(4, 2, *geometry).forward(y).shape == x.shape


def test_by_hand():
    """The smallest example of overlap, and a kernel that is not flipped."""
    layer = tinyae.ConvTranspose2d(1, 1, 2, dtype="float64")
    layer.weight.data, layer.bias.data = np.ones((1, 1, 2, 2)), np.array([10.0])
    x = np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1)
    spread = [[11, 13, 12], [14, 20, 16], [13, 17, 14]]
    assert layer.forward(x)[0, :, :, 0].tolist() == spread
    conv = tinyae.Conv2d(1, 1, (1, 2), dtype="float64")
    conv.weight.data, conv.bias.data = np.array([[[[1.0, -1]]]]), np.array([0.5])
    assert conv.forward(x)[0, :, :, 0].tolist() == [[-0.5], [-0.5]]
