"""The values and gradients of the layers against their definitions (definitions.py)."""

import definitions
import numpy as np
import pytest
from cases import arrays, convolutions, distinct, seeds, transposed_convolutions
from every_layer import each_dtype, gradients
from hypothesis import example, given
from hypothesis import strategies as st

import tinyae


def agree(got, wanted):
    """Equal shape and dtype, and equal values to rounding of the largest."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype == "float64"
    limit = 1e-12 * max(1, abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)


def compare(layer, shape, seed, definition, *settings):
    """Compare one step with drawn parameters; return x."""
    parameters = layer.parameters()
    drawn = arrays(seed, *[p.data.shape for p in parameters])
    for p, values in zip(parameters, drawn, strict=True):
        p.data = values
    (x,) = arrays(seed + 1, shape)
    y = layer.forward(x)
    (dy,) = arrays(seed + 2, y.shape)
    dx = layer.backward(dy)
    wanted_y, wanted_dx, wanted = definition(x, dy, *drawn, *settings)
    agree(y, wanted_y)
    agree(dx, wanted_dx)
    found = gradients(layer)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        agree(found[name], gradient)
    return x


@given(distinct(3), seeds)
def test_linear(sizes, seed):
    i, o, N = sizes
    layer = tinyae.Linear(i, o, dtype="float64", seed=seed)
    compare(layer, (i, N), seed, definitions.linear)


only_padding = (6, 1), (1, 2), (3, 0)  # some kernel rows see nothing else


@given(convolutions())
@example(((2, 3, *only_padding), (2, 1, 4, 5), 0))
def test_conv2d(case):
    (C, out, *geometry), shape, seed = case
    layer = tinyae.Conv2d(C, out, *geometry, dtype="float64", seed=seed)
    assert layer.weight.data.shape == (out, C, *geometry[0])
    compare(layer, shape, seed, definitions.conv, *geometry)


@given(transposed_convolutions())
@example(((4, 3, *only_padding, (0, 1)), (4, 2, 5, 1), 0))
def test_conv_transpose2d(case):
    (C, out, *geometry, extra), shape, seed = case
    layer = tinyae.ConvTranspose2d(C, out, *geometry, extra, dtype="float64", seed=seed)
    assert layer.weight.data.shape == (C, out, *geometry[0])
    compare(layer, shape, seed, definitions.conv_transpose, *geometry)


@given(distinct(4, 2, 6), seeds, st.floats(0.01, 1), st.sampled_from([1e-5, 0.3]))
def test_batch_norm(shape, seed, momentum, eps):
    """The unbiased variance enters the running one; evaluation uses the latter."""
    C = shape[0]
    layer = tinyae.BatchNorm2d(C, eps, momentum, dtype="float64")
    mean, var = np.zeros(C), np.ones(C)
    for k in range(3):
        x = compare(layer, shape, seed + k, definitions.batch_norm, eps)
        mean += momentum * (x.mean((1, 2, 3)) - mean)
        var += momentum * (x.var((1, 2, 3), ddof=1) - var)
    layer.eval()
    compare(layer, shape, seed, definitions.batch_norm, eps, (mean, var))
    agree(layer.running_mean.data, mean)  # evaluation left them alone
    agree(layer.running_var.data, var)


def test_batch_norm_in_stages():
    """The derivation in batchnorm.py, a line for each step, gives the closed form."""
    shape, axes = (3, 4, 5, 2), {"axis": (1, 2, 3), "keepdims": True}
    layer = tinyae.BatchNorm2d(3, dtype="float64")
    x, dy, gamma = arrays(1, shape, shape, (3, 1, 1, 1))
    layer.weight.data = gamma.ravel()
    M = 4 * 5 * 2
    mu = x.sum(**axes) / M
    xc = x - mu
    var = (xc**2).sum(**axes) / M
    s = (var + layer.eps) ** -0.5
    xhat = s * xc
    agree(layer.forward(x), gamma * xhat)
    g = gamma * dy
    ds = (g * xc).sum(**axes)
    dvar = -(s**3) / 2 * ds
    dxc = s * g + dvar * 2 * xc / M
    agree(layer.backward(dy), dxc - dxc.sum(**axes) / M)


def test_batch_norm_keeps_its_digits_at_a_large_mean():
    """At mean 1e4 and deviation 1, mean(x²) - mean² in float32 is noise of size 8."""
    x = (arrays(1, (2, 13, 11, 17))[0] + 1e4).astype("float32")
    layer = tinyae.BatchNorm2d(2, momentum=1)
    deviations = layer.forward(x).std(axis=(1, 2, 3))
    exact = x.astype("float64").var(axis=(1, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.data, exact, rtol=1e-3)
    np.testing.assert_allclose(deviations, 1, atol=1e-3)


def test_batch_norm_defaults():
    layer = tinyae.BatchNorm2d(3)
    assert (layer.eps, layer.momentum, layer.training) == (1e-5, 0.1, True)
    values = [value.tolist() for value in layer.state_dict().values()]
    assert values == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert not np.shares_memory(layer.running_mean.data, layer.bias.data)
    one = np.ones((3, 1, 1, 1), "float32")
    layer.forward(np.concatenate([one, one], axis=-1))  # the smallest for training
    layer.eval().forward(one)


@given(distinct(4, high=6), seeds)
def test_layers_without_parameters(shape, seed):
    *size, N = shape
    compare(tinyae.ReLU(), shape, seed, definitions.relu)
    compare(tinyae.Sigmoid(), shape, seed, definitions.sigmoid)
    compare(tinyae.Flatten(), shape, seed, definitions.flatten)
    flat = int(np.prod(size)), N
    compare(tinyae.Unflatten(size), flat, seed, definitions.unflatten)


def test_relu_at_the_kink():
    layer = tinyae.ReLU()
    assert layer.forward(np.array([-0.0, 0.0, 1e-30])).tolist() == [0, 0, 1e-30]
    assert layer.backward(np.array([6.0, 7, 8])).tolist() == [0, 0, 8]


@each_dtype
def test_sigmoid_at_both_ends(dtype):
    layer = tinyae.Sigmoid()
    x = np.array([-1e4, -89, -40, 0, 40, 1e4], dtype)
    with np.errstate(all="raise", under="ignore"):  # no overflow at either end
        y = layer.forward(x)
        dx = layer.backward(np.full(6, 3, dtype))
    exact = np.array([0, 0, np.exp(-40), 0.5, 1, 1])
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, 3 * exact * (1 - exact), rtol=1e-6, atol=1e-6)
    assert dx[-1] == 0
    assert y[1] > 0


@given(st.integers(1, 4).flatmap(distinct), seeds)
def test_mse_loss(shape, seed):
    loss = tinyae.MSELoss()
    y, target = arrays(seed, shape, shape)
    value = loss.forward(y, target)
    assert isinstance(value, np.ndarray)
    differences = (y - target).ravel().tolist()
    count = len(differences)
    assert float(value) == pytest.approx(sum(d * d for d in differences) / count)
    agree(loss.backward().ravel(), np.array([2 * d / count for d in differences]))
    assert not np.shares_memory(loss.backward(), loss.backward())
    narrow = y.astype("float32")
    assert loss.forward(narrow, narrow).dtype == loss.backward().dtype == "float32"
