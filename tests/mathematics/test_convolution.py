"""What relates the two convolutions: each is the adjoint of the other."""

import numpy as np
from cases import arrays, convolutions
from hypothesis import assume, given
from hypothesis import strategies as st

import tinyae
from tinyae.patches import conv_size, transposed_size


def same_product(a, b, c, d):
    """<a, b> = <c, d> to 1e-12 of their sizes."""
    size = np.linalg.norm(a) * np.linalg.norm(b) + np.linalg.norm(c) * np.linalg.norm(d)
    assert abs(np.vdot(a, b) - np.vdot(c, d)) <= 1e-12 * size


@given(convolutions(transposed=True))
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
def test_a_kernel_takes_all_positions_and_output_padding_is_what_is_left(
    size, kernel, stride, padding
):
    positions = len(range(-padding, size + padding - kernel + 1, stride))
    assume(positions)
    assert conv_size(size, kernel, stride, padding) == positions
    left = (size + 2 * padding - kernel) % stride
    assert transposed_size(positions, kernel, stride, padding, left) == size
