"""The gradient checker itself: it notices each of these mistakes, and nothing else."""

import numpy as np
import pytest
from cases import arrays

import tinyae
from tinyae import gradcheck
from tinyae.gradcheck import check_layer, measure
from tinyae.layer import Layer, Parameter
from tinyae.patches import col2im

EXACT, CURVED = 1e-8, 1e-6  # the bounds of test_gradients.py


class Broken(Layer):
    """A layer whose dx, or gradients, are changed by `spoil(layer, x, dy, dx)`."""

    def __init__(self, layer, spoil):
        self.inner, self.spoil = layer, spoil

    def forward(self, x):
        self.x = x
        return self.inner.forward(x)

    def backward(self, dy):
        return self.spoil(self.inner, self.x, dy, self.inner.backward(dy))


def conv():
    return tinyae.Conv2d(2, 3, 3, 2, 1, seed=5), (2, 5, 7, 4)


def conv_transpose():
    return tinyae.ConvTranspose2d(3, 2, 3, 2, 1, 1, seed=5), (3, 4, 5, 2)


def batch_norm():
    return tinyae.BatchNorm2d(3), (3, 4, 2, 5)


def sigmoid():
    return tinyae.Sigmoid(), (3, 4)


def nothing(layer, x, dy, dx):
    return dx


def dx_scaled(layer, x, dy, dx):
    return dx * 2.001 / 2


def weight_scaled(layer, x, dy, dx):
    layer.weight.grad = layer.weight.grad * 1.001
    return dx


def bias_scaled(layer, x, dy, dx):
    layer.bias.grad = layer.bias.grad * 1.001
    return dx


def negative(layer, x, dy, dx):
    return -dx


def kernel_transposed(layer, x, dy, dx):
    layer.weight.grad = np.swapaxes(layer.weight.grad, 2, 3)
    return dx


def kernel_transposed_in_dx(layer, x, dy, dx):
    flipped = np.swapaxes(layer.weight.data, 2, 3).reshape(3, -1)
    dcols = np.tensordot(flipped.T, dy, 1)
    return col2im(dcols, dx.shape, *layer.geometry())


def padding_off_by_one(layer, x, dy, dx):
    return np.roll(dx, 1, axis=2)


def last_row_missing(layer, x, dy, dx):
    dx[:, -1] = 0
    return dx


def mean(a):
    return a.mean(axis=(1, 2, 3), keepdims=True)


def scale(layer, x):
    """gamma / √(var + eps), a value for each channel."""
    gamma = layer.weight.data[:, None, None, None]
    return gamma / np.sqrt(mean((x - mean(x)) ** 2) + layer.eps)


def bias_averaged(layer, x, dy, dx):
    layer.bias.grad = mean(dy).ravel()
    return dx


def no_variance_term(layer, x, dy, dx):
    return scale(layer, x) * (dy - mean(dy))


def no_mean_term(layer, x, dy, dx):
    return dx + scale(layer, x) * mean(dy)


def no_gamma(layer, x, dy, dx):
    return dx / layer.weight.data[:, None, None, None]


MISTAKES = {
    sigmoid: [dx_scaled, negative],
    conv_transpose: [dx_scaled, weight_scaled, bias_scaled, kernel_transposed],
    batch_norm: [dx_scaled, weight_scaled, bias_scaled, no_gamma],
    conv: [kernel_transposed, kernel_transposed_in_dx, bias_averaged, bias_scaled],
}
MISTAKES[conv] += [padding_off_by_one, last_row_missing]
MISTAKES[batch_norm] += [no_variance_term, no_mean_term]


@pytest.mark.parametrize("make", MISTAKES)
def test_mistakes_are_noticed(make):
    layer, shape = make()
    assert max(check_layer(Broken(layer, nothing), shape, entries=40).values()) < EXACT
    for spoil in MISTAKES[make]:
        errors = check_layer(Broken(layer, spoil), shape, entries=40)
        assert max(errors.values()) > 4e-4, spoil


def test_only_the_wrong_tensor_is_blamed():
    layer, shape = conv()
    errors = check_layer(Broken(layer, bias_scaled), shape)
    assert list(errors) == ["x", "inner.weight", "inner.bias"]
    assert max(errors["x"], errors["inner.weight"]) < EXACT
    assert errors["inner.bias"] == pytest.approx(1e-3, rel=1e-6)


def test_ones_as_upstream_gradient_would_miss_the_variance_term():
    layer, shape = batch_norm()
    broken = Broken(layer, no_variance_term)
    broken.forward(arrays(0, shape, dtype="float32")[0])
    dx = broken.backward(np.ones(shape, "float32"))
    assert abs(dx).max() < 1e-6  # as if it were right
    assert check_layer(broken, shape)["x"] > 0.1


def test_a_sampled_check_compares_that_many_entries(monkeypatch):
    calls = []

    def spy(f, x, dy, index, step):
        calls.append((x.size, tuple(index)))
        return 1.0

    monkeypatch.setattr(gradcheck, "measure", spy)
    check_layer(*conv(), entries=7)
    assert [size for size, _ in calls] == [280] * 7 + [54] * 7 + [3] * 3
    assert len(set(calls)) == 17


def test_measure():
    x, dy = np.array([0.5, 2.0]), np.array([3.0, -1.0])
    for f, slopes in [
        (lambda: x**3, (3 * 0.75, -12)),
        (lambda: x * x[0], (3 - 2, -0.5)),
        (lambda: x, (3, -1)),
    ]:
        measured = [measure(f, x, dy, (i,), 1e-3) for i in (0, 1)]
        assert measured == pytest.approx(slopes, abs=1e-11)
    assert x.tolist() == [0.5, 2.0]


def test_an_entry_with_a_kink_within_the_step_is_left_out():
    x, dy = np.zeros(2), np.ones(2)
    x[0] = 1
    for at in (-1.9e-4, -1e-4, -0.3e-4, 0, 0.5e-4, 1.5e-4, 2.1e-4):
        x[1] = at
        slopes = [measure(lambda: np.maximum(x, 0), x, dy, (i,), 1e-4) for i in (0, 1)]
        assert slopes[0] == pytest.approx(1)
        assert np.isnan(slopes[1]) == (at < 2e-4)
    assert slopes[1] == pytest.approx(1)


def test_everything_is_as_before():
    layer = tinyae.Sequential(batch_norm()[0], conv_transpose()[0])
    (x,) = arrays(1, (3, 4, 5, 2))
    before = [(p, p.data, p.data.copy()) for _, p in layer.named_parameters()]
    errors = check_layer(layer, x, 3)
    assert max(errors.values()) < CURVED
    np.testing.assert_array_equal(x, arrays(1, x.shape)[0])
    for p, data, values in before:
        assert p.data is data
        np.testing.assert_array_equal(data, values)
    assert errors == check_layer(layer, x, 3) != check_layer(layer, x, 4)


class Plain(Layer):
    """y = f(x), with a parameter whose gradient backward forgets, and dx = g(dy)."""

    def __init__(self, f, g):
        self.scale, self.f, self.g = Parameter(np.ones(2)), f, g

    def forward(self, x):
        return self.f(x)

    def backward(self, dy):
        return self.g(dy)


def double(x):
    return 2 * x


def write(array):
    array[:] = 0


@pytest.mark.parametrize(
    "f, g, message",
    [
        (
            double,
            double,
            "Plain, the gradient for scale: got none, expected shape (2,)",
        ),
        (double, lambda dy: None, "Plain, the gradient for x: got none, expected"),
        (
            double,
            lambda dy: dy.T,
            "Plain, the gradient for x: got shape (2, 3), expect",
        ),
        (
            lambda x: np.random.random(x.shape),
            double,
            "Plain, the gradient for x: forw",
        ),
        (
            lambda x: x * np.nan,
            double,
            "Plain, the gradient for x: forward is not smoo",
        ),
        (double, write, "assignment destination is read-only"),
        (write, double, "assignment destination is read-only"),
    ],
)
def test_what_cannot_be_compared_is_an_error(f, g, message):
    with pytest.raises(ValueError) as raised:
        check_layer(Plain(f, g), (3, 2))
    assert str(raised.value).startswith(message)


def test_a_parameter_called_x_would_hide_the_input():
    layer = Plain(double, double)
    layer.x = layer.scale
    del layer.scale
    with pytest.raises(ValueError, match="^x: got a parameter of this name"):
        check_layer(layer, (3, 2))


def test_a_gradient_of_nan_fails():
    layer = Broken(sigmoid()[0], lambda layer, x, dy, dx: dx * np.nan)
    assert check_layer(layer, (3, 4))["x"] == float("inf")
