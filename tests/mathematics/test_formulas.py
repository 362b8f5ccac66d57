"""Values and gradients of the layers against their definitions (definitions.py)."""

import definitions
import numpy as np
from cases import arrays, convolutions, distinct, every_dtype, gradients, seeds
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
    assert gradients(layer).keys() == wanted.keys()
    for name, gradient in gradients(layer).items():
        agree(gradient, wanted[name])
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
    compare(layer, shape, seed, definitions.conv, *geometry)


@given(convolutions(transposed=True))
@example(((4, 3, *only_padding, (0, 1)), (4, 2, 5, 1), 0))
def test_conv_transpose2d(case):
    (C, out, *geometry, extra), shape, seed = case
    layer = tinyae.ConvTranspose2d(C, out, *geometry, extra, dtype="float64", seed=seed)
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


def test_batch_norm_keeps_its_digits_at_a_large_mean():
    """At mean 1e4 and deviation 1, mean(x²) - mean² in float32 is noise of size 8."""
    x = (arrays(1, (2, 13, 11, 17))[0] + 1e4).astype("float32")
    layer = tinyae.BatchNorm2d(2, momentum=1)
    deviations = layer.forward(x).std(axis=(1, 2, 3))
    exact = x.astype("float64").var(axis=(1, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.data, exact, rtol=1e-3)
    np.testing.assert_allclose(deviations, 1, atol=1e-3)


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


@every_dtype
def test_sigmoid_at_both_ends(dtype):
    layer = tinyae.Sigmoid()
    x = np.array([-1e4, -89, -40, 0, 40, 1e4], dtype)
    with np.errstate(all="raise", under="ignore"):  # no overflow at either end
        y = layer.forward(x)
        dx = layer.backward(np.full(6, 3, dtype))
    exact = np.array([0, 0, np.exp(-40), 0.5, 1, 1])
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, 3 * exact * (1 - exact), rtol=1e-6, atol=1e-6)


@given(st.integers(1, 4).flatmap(distinct), seeds)
def test_mse_loss(shape, seed):
    loss = tinyae.MSELoss()
    y, target = arrays(seed, shape, shape)
    agree(loss.forward(y, target), np.asarray(np.square(y - target).mean()))
    agree(loss.backward(), 2 * (y - target) / y.size)
    narrow = y.astype("float32")
    assert loss.forward(narrow, narrow).dtype == loss.backward().dtype == "float32"


def test_sequential_is_a_composition_and_its_backward_the_chain_rule():
    layers = [tinyae.Linear(n, n + 1, dtype="float64", seed=n) for n in (2, 3, 4)]
    first, second, third = (layer.weight.data for layer in layers)
    x, dy = arrays(1, (2, 6), (5, 6))
    for layer in layers:
        layer.bias.data = 0 * layer.bias.data
    model = tinyae.Sequential(*layers)
    agree(model(x), third @ second @ first @ x)
    agree(model.backward(dy), first.T @ second.T @ third.T @ dy)
