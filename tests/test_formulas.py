"""The values of the layers against their formulas: linear, the activations, reshaping, the loss, batch norm."""

import numpy as np
import pytest
from cases import arrays, distinct, seeds
from every_layer import each_dtype, step
from hypothesis import given
from hypothesis import strategies as st

import tinyae

# -- formulas --


@given(distinct(3), seeds)
def test_linear_is_a_matrix_product(sizes, seed):
    i, o, N = sizes
    layer = tinyae.Linear(i, o, dtype="float64", seed=seed)
    x, dy = arrays(seed, (i, N), (o, N))
    w, b = layer.weight.data, layer.bias.data
    y = [[w[k] @ x[:, n] + b[k] for n in range(N)] for k in range(o)]
    np.testing.assert_allclose(layer.forward(x), y, atol=1e-12)
    np.testing.assert_allclose(
        layer.backward(dy), np.einsum("oi,on->in", w, dy), atol=1e-12
    )
    np.testing.assert_allclose(
        layer.weight.grad, np.einsum("on,in->oi", dy, x), atol=1e-12
    )
    np.testing.assert_allclose(layer.bias.grad, np.einsum("on->o", dy), atol=1e-12)


def test_relu():
    layer, x = tinyae.ReLU(), np.array([-2.0, -0.0, 0.0, 1e-30, 3.0])
    assert layer.forward(x).tolist() == [0, 0, 0, 1e-30, 3]
    assert layer.backward(np.array([5.0, 6, 7, 8, 9])).tolist() == [
        0,
        0,
        0,
        8,
        9,
    ]  # 0 at the kink


@each_dtype
def test_sigmoid_at_both_ends(dtype):
    layer, x = (
        tinyae.Sigmoid(),
        np.array([-1e4, -89, -40, -1, 0, 2, 40, 1e4], dtype=dtype),
    )
    with np.errstate(all="raise", under="ignore"):  # no overflow at either end
        y = layer.forward(x)
        dx = layer.backward(np.full(8, 3, dtype))
    exact = np.array(
        [0, 0, np.exp(-40), 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1, 1]
    )
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, 3 * exact * (1 - exact), rtol=1e-6, atol=1e-6)
    assert dx[-1] == 0 and y[1] > 0


@given(distinct(4), seeds)
def test_flatten_and_unflatten_are_inverse(shape, seed):
    *size, N = shape
    flatten, unflatten = tinyae.Flatten(), tinyae.Unflatten(size)
    (x,) = arrays(seed, shape)
    y = flatten.forward(x)
    C, H, W = size
    np.testing.assert_array_equal(
        y, [x[c, h, w] for c in range(C) for h in range(H) for w in range(W)]
    )
    np.testing.assert_array_equal(unflatten.forward(y), x)
    np.testing.assert_array_equal(flatten.backward(y), x)
    np.testing.assert_array_equal(unflatten.backward(x), y)


@given(st.integers(1, 4).flatmap(distinct), seeds)
def test_mse_loss(shape, seed):
    loss = tinyae.MSELoss()
    y, target = arrays(seed, shape, shape)
    value = loss.forward(y, target)
    assert (
        isinstance(value, np.ndarray) and value.shape == () and value.dtype == "float64"
    )
    differences = [a - b for a, b in zip(y.ravel().tolist(), target.ravel().tolist())]
    assert float(value) == pytest.approx(
        sum(d * d for d in differences) / len(differences), rel=1e-12
    )
    np.testing.assert_allclose(
        loss.backward().ravel(),
        [2 * d / len(differences) for d in differences],
        rtol=1e-12,
    )
    assert not np.shares_memory(loss.backward(), loss.backward())


def test_mse_loss_keeps_float32():
    y, target = arrays(1, (3, 4), (3, 4), dtype="float32")
    loss = tinyae.MSELoss()
    assert loss.forward(y, target).dtype == loss.backward().dtype == "float32"


# -- batch norm --


@given(distinct(4, 2, 6), seeds, st.floats(0.01, 1), st.sampled_from([1e-5, 0.3]))
def test_batch_norm_statistics(shape, seed, momentum, eps):
    """The biased variance normalises, the unbiased one enters the running variance; evaluation uses the latter."""
    C = shape[0]
    layer = tinyae.BatchNorm2d(C, eps, momentum, dtype="float64")
    layer.weight.data, layer.bias.data = arrays(seed + 1, (C,), (C,))
    mean, var = np.zeros(C), np.ones(C)
    for k in range(3):
        x = arrays(seed + 2 + k, shape)[0] * (k + 1) + 5 * k
        y = layer.forward(x)
        for c in range(C):
            values = x[c].ravel()
            xhat = (values - values.mean()) / np.sqrt(values.var() + eps)
            expected = layer.weight.data[c] * xhat + layer.bias.data[c]
            np.testing.assert_allclose(y[c].ravel(), expected, atol=1e-10)
            mean[c] = (1 - momentum) * mean[c] + momentum * values.mean()
            var[c] = (1 - momentum) * var[c] + momentum * values.var(ddof=1)
        np.testing.assert_allclose(
            layer.running_mean.data, mean, rtol=1e-10, atol=1e-12
        )
        np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-10)
    before = layer.eval().state_dict()
    y, (mean, var) = layer.forward(x), (v[:, None, None, None] for v in (mean, var))
    w, b = (p.data[:, None, None, None] for p in (layer.weight, layer.bias))
    np.testing.assert_allclose(y, w * (x - mean) / np.sqrt(var + eps) + b, atol=1e-10)
    assert all(
        (layer.state_dict()[name] == value).all() for name, value in before.items()
    )  # left alone by evaluation
    np.testing.assert_allclose(
        layer.forward(x[..., :1]), y[..., :1], atol=1e-12
    )  # no image depends on the others


def test_batch_norm_defaults():
    layer = tinyae.BatchNorm2d(3)
    assert (layer.eps, layer.momentum, layer.training) == (1e-5, 0.1, True)
    assert {name: value.tolist() for name, value in layer.state_dict().items()} == {
        "weight": [1] * 3,
        "bias": [0] * 3,
        "running_mean": [0] * 3,
        "running_var": [1] * 3,
    }
    assert not np.shares_memory(layer.running_mean.data, layer.bias.data)


def test_batch_norm_keeps_its_digits_at_a_large_mean():
    """At mean 1e4 and deviation 1, mean(x^2) - mean^2 in float32 is noise of size 8. Centred, 3 digits survive."""
    x = (arrays(1, (2, 13, 11, 17))[0] + 1e4).astype("float32")
    layer = tinyae.BatchNorm2d(2, momentum=1)
    y, wide = layer.forward(x), x.astype("float64")
    np.testing.assert_allclose(
        layer.running_var.data, wide.var(axis=(1, 2, 3), ddof=1), rtol=1e-3
    )
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-3)


def test_running_statistics_are_kept_but_not_learnt():
    layer = tinyae.BatchNorm2d(3)
    assert [p for p in layer.parameters()] == [layer.weight, layer.bias]
    step(layer, (3, 4, 5, 2), 1)
    assert list(layer.gradients()) == ["weight", "bias"]
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    with pytest.raises(ValueError, match="more than one value"):
        layer.forward(np.ones((3, 1, 1, 1), "float32"))
    layer.forward(np.ones((3, 1, 1, 2), "float32"))
    layer.eval().forward(np.ones((3, 1, 1, 1), "float32"))
