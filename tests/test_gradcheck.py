"""The gradient checker itself: it sees every one of these mistakes, and blames nothing else."""

import numpy as np
import pytest
from cases import arrays

import tinyae
from tinyae import gradcheck
from tinyae.gradcheck import check_layer, measure
from tinyae.layer import Layer
from tinyae.patches import col2im

EXACT, CURVED = 1e-8, 1e-6  # the bounds of test_gradients.py


class Broken:
    """A layer around another one, whose backward or gradients are changed by `spoil(layer, dx) -> dx`."""

    def __init__(self, layer, spoil):
        self.layer, self.spoil, self.parameters = layer, spoil, layer.parameters

    def forward(self, x):
        self.x = x
        return self.layer.forward(x)

    def backward(self, dy):
        self.dy = dy
        return self.spoil(self, self.layer.backward(dy))


def conv(**how):
    return tinyae.Conv2d(2, 3, 3, 2, 1, seed=5, **how), (2, 5, 7, 4)


def conv_transpose():
    return tinyae.ConvTranspose2d(3, 2, 3, 2, 1, 1, seed=5), (3, 4, 5, 2)


def batch_norm():
    return tinyae.BatchNorm2d(3), (3, 4, 2, 5)


def scaled(number):
    """Parameter `number`'s gradient (or dx, for None) 1.001 times too large."""

    def spoil(broken, dx):
        if number is None:
            return dx * 1.001
        broken.layer.parameters()[number].grad *= 1.001
        return dx

    return spoil


def kernel_transposed(broken, dx):
    broken.layer.weight.grad = np.swapaxes(broken.layer.weight.grad, 2, 3)
    return dx


def kernel_transposed_in_dx(broken, dx):
    flipped = np.swapaxes(broken.layer.weight.data, 2, 3)
    return col2im(
        np.tensordot(flipped.reshape(3, -1).T, broken.dy, 1),
        dx.shape,
        (3, 3),
        (2, 2),
        (1, 1),
    )


def padding_off_by_one(broken, dx):
    weight = broken.layer.weight.data
    return col2im(
        np.tensordot(weight.reshape(3, -1).T, broken.dy, 1),
        dx.shape,
        (3, 3),
        (2, 2),
        (1, 0),
    )


def scale(broken):
    """gamma / sqrt(var + eps), a value for each channel."""
    deviation = np.sqrt(broken.x.var(axis=(1, 2, 3), keepdims=True) + broken.layer.eps)
    return broken.layer.weight.data[:, None, None, None] / deviation


def no_variance_term(broken, dx):
    return scale(broken) * (broken.dy - broken.dy.mean(axis=(1, 2, 3), keepdims=True))


def no_mean_term(broken, dx):
    return dx + scale(broken) * broken.dy.mean(axis=(1, 2, 3), keepdims=True)


def no_gamma(broken, dx):
    return dx / broken.layer.weight.data[:, None, None, None]


def last_row_missing(broken, dx):
    dx = dx.copy()
    dx[:, -1] = 0
    return dx


def bias_gradient_averaged(broken, dx):
    broken.layer.bias.grad = broken.dy.mean(axis=(1, 2, 3))
    return dx


MISTAKES = [
    (conv, scaled(None)),
    (conv, scaled(0)),
    (conv, scaled(1)),
    (conv_transpose, scaled(None)),
    (conv_transpose, scaled(0)),
    (conv_transpose, scaled(1)),
    (batch_norm, scaled(None)),
    (batch_norm, scaled(0)),
    (batch_norm, scaled(1)),
    (conv, kernel_transposed),
    (conv_transpose, kernel_transposed),
    (conv, kernel_transposed_in_dx),
    (conv, padding_off_by_one),
    (conv, bias_gradient_averaged),
    (conv, last_row_missing),
    (conv, lambda broken, dx: -dx),
    (batch_norm, no_variance_term),
    (batch_norm, no_mean_term),
    (batch_norm, no_gamma),
    (lambda: (tinyae.Sigmoid(), (3, 4)), scaled(None)),
    (lambda: (tinyae.ReLU(), (3, 4)), lambda broken, dx: broken.dy),
]


@pytest.mark.parametrize("make, spoil", MISTAKES)
def test_a_mistake_is_seen(make, spoil):
    layer, shape = make()
    assert (
        max(check_layer(Broken(layer, lambda broken, dx: dx), shape).values()) < EXACT
    )  # sound without the mistake
    assert max(check_layer(Broken(layer, spoil), shape).values()) > 5e-4


def test_only_the_wrong_tensor_is_blamed():
    layer, shape = conv()
    errors = check_layer(Broken(layer, scaled(1)), shape)
    assert list(errors) == ["x", 0, 1] and errors["x"] < EXACT and errors[0] < EXACT
    assert errors[1] == pytest.approx(1e-3, rel=1e-6)
    assert list(check_layer(layer, shape)) == ["x", "weight", "bias"]


def test_an_upstream_gradient_of_ones_would_not_see_a_missing_variance_term():
    layer, shape = batch_norm()
    broken = Broken(layer, no_variance_term)
    broken.forward(arrays(0, shape, dtype="float32")[0])
    assert (
        abs(broken.backward(np.ones(shape, "float32"))).max() < 1e-6
    )  # zero, as is right: looks fine
    assert check_layer(broken, shape)["x"] > 0.1


def test_a_sampled_check_looks_at_that_many_entries(monkeypatch):
    calls = []

    def measure(f, x, dy, index, step):
        calls.append((x.shape, tuple(index)))
        return 1.0

    monkeypatch.setattr(gradcheck, "measure", measure)
    check_layer(*conv(), entries=7)
    assert [shape for shape, _ in calls] == [(2, 5, 7, 4)] * 7 + [(3, 2, 3, 3)] * 7 + [
        (3,)
    ] * 3
    assert len(set(calls)) == 17


def test_measure():
    x, dy = np.array([0.5, 2.0]), np.array([3.0, -1.0])
    for f, slopes in [
        (lambda: x**3, (3 * 0.75, -12)),
        (lambda: x * x[0], (3 - 2, -0.5)),
        (lambda: x, (3, -1)),
    ]:
        assert [measure(f, x, dy, (i,), 1e-3) for i in (0, 1)] == pytest.approx(
            slopes, abs=1e-11
        )
    assert x.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("at", [-1.9e-4, -1e-4, -0.3e-4, 0, 0.5e-4, 1.5e-4])
def test_an_entry_with_a_kink_within_the_step_is_left_out(at):
    x, dy = np.array([1.0, at]), np.array([1.0, 1.0])
    assert measure(lambda: np.maximum(x, 0), x, dy, (0,), 1e-4) == pytest.approx(1)
    assert np.isnan(measure(lambda: np.maximum(x, 0), x, dy, (1,), 1e-4))
    x[1] = 2.1e-4
    assert measure(lambda: np.maximum(x, 0), x, dy, (1,), 1e-4) == pytest.approx(1)


def test_all_is_as_it_was():
    layer = tinyae.Sequential(*[tinyae.BatchNorm2d(3), conv_transpose()[0]])
    (x,) = arrays(1, (3, 4, 5, 2))
    given, before = (
        x.copy(),
        [(p, p.data, p.data.copy()) for _, p in layer.named_parameters()],
    )
    assert max(check_layer(layer, given).values()) < CURVED
    np.testing.assert_array_equal(given, x)
    for p, data, values in before:
        assert p.data is data and p.data.dtype == "float32"
        np.testing.assert_array_equal(data, values)
    assert (
        check_layer(layer, x, 3) == check_layer(layer, x, 3) != check_layer(layer, x, 4)
    )


class Plain(Layer):
    """y = 2 x with a parameter that backward forgets; `dx` says what else it does."""

    def __init__(self, dx, forward=lambda x: 2 * x):
        self.scale, self.dx, self.f = tinyae.layer.Parameter(np.ones(2)), dx, forward

    def forward(self, x):
        return self.f(x)

    def backward(self, dy):
        return self.dx(dy)


@pytest.mark.parametrize(
    "layer, message",
    [
        (
            Plain(lambda dy: 2 * dy),
            "Plain, the gradient for scale: got none, expected shape (2,)",
        ),
        (
            Plain(lambda dy: None),
            "Plain, the gradient for x: got none, expected shape (3, 2)",
        ),
        (
            Plain(lambda dy: dy.T),
            "Plain, the gradient for x: got shape (2, 3), expected shape (3, 2)",
        ),
        (
            Plain(lambda dy: dy, lambda x: np.random.random(x.shape)),
            "Plain, the gradient for x: forward is not smooth",
        ),
        (
            Plain(lambda dy: dy, lambda x: x * np.nan),
            "Plain, the gradient for x: forward is not smooth",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(layer, message):
    with pytest.raises(ValueError) as raised:
        check_layer(layer, (3, 2))
    assert str(raised.value).startswith(message)


def test_a_gradient_of_nan_fails():
    layer, shape = conv()
    assert check_layer(Broken(layer, lambda broken, dx: dx * np.nan), shape)[
        "x"
    ] == float("inf")


@pytest.mark.parametrize("write", [lambda x, dy: x.fill(0), lambda x, dy: dy.fill(0)])
def test_a_layer_that_writes_into_what_it_is_given_fails(write):
    layer = Plain(lambda dy: write(layer.x, dy))
    layer.f = lambda x: setattr(layer, "x", x) or 2 * x
    with pytest.raises(ValueError, match="read-only"):
        check_layer(layer, (3, 2))
