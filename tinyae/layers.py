"""The layers without geometry: Linear, ReLU, Sigmoid, Flatten, Unflatten. Each is a formula and its derivative.

A function applied entry by entry, y = f(x), and a matrix product, Y = W X, are all there is to differentiate:

    dx = dy * f'(x)       each x moves only its own y
    dX = W^T dY           x_k reached every y_i = sum_k W_ik x_k, and gathers from each with the weight it reached it by
    dW = dY X^T           W_ik is used once for every image of the batch, so what comes back is added
"""

from math import prod

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters


class Linear(Layer):
    """y = W x + b, for x (in_features, N) -> y (out_features, N).

        dx = W^T dy,   dW = dy x^T,   db = sum_n dy

    weight: (out_features, in_features), bias: (out_features,). seed: for the initial weights, an int or a NumPy Generator.
    """

    def __init__(self, in_features, out_features, *, dtype="float32", seed=None):
        self.in_features = checks.integer("in_features", in_features, at_least=1)
        self.out_features = checks.integer("out_features", out_features, at_least=1)
        self.weight, self.bias = uniform_parameters((out_features, in_features), out_features, dtype, seed)

    def forward(self, x):
        checks.array("x", x, {"in_features": self.in_features, "N": None}, like=self.weight.data)
        self.keep(x)
        y = self.weight.data @ x
        y += self.bias.data[:, None]
        return y

    def backward(self, dy, input_grad=True):
        (x,) = self.kept()
        checks.array("dy", dy, {"out_features": self.out_features, "N": x.shape[1]}, like=x)
        self.weight.grad = dy @ x.T
        self.bias.grad = namespace(dy).sum(dy, axis=1)
        return self.weight.data.T @ dy if input_grad else None


class _Elementwise(Layer):
    """A function entry by entry, for x of any shape. forward keeps its slope f'(x), backward multiplies by it."""

    def backward(self, dy, input_grad=True):
        (slope,) = self.kept()
        checks.array("dy", dy, dict(enumerate(slope.shape)), like=slope)
        return slope * dy if input_grad else None


class ReLU(_Elementwise):
    """y = max(x, 0), with slope 1 where x > 0 and 0 elsewhere (at the kink, where there is none, 0 by convention)."""

    def forward(self, x):
        checks.array("x", x)
        slope = namespace(x).astype(x > 0, x.dtype)
        self.keep(slope)
        return slope * x


class Sigmoid(_Elementwise):
    """y = 1 / (1 + exp(-x)): squeezes any number into (0, 1).

    dy/dx = exp(-x) / (1 + exp(-x))^2 = y (1 - y), at most 1/4, and next to nothing at both ends: a saturated sigmoid
    passes hardly any gradient on.
    """

    def forward(self, x):
        checks.array("x", x)
        y = namespace(x).exp(-namespace(x).clip(x, -80.0, 80.0))  # exp(89) overflows float32; beyond 80 all is flat
        y += 1
        y = 1 / y
        slope = 1 - y
        slope *= y
        self.keep(slope)
        return y


class _Reshape(Layer):
    """The same numbers in another shape (*self.shape(x), N). Nothing is computed, so backward only shapes them back."""

    def forward(self, x):
        self.check(x)
        self.keep(x)
        return namespace(x).reshape(x, (*self.shape(x), x.shape[-1]))

    def backward(self, dy, input_grad=True):
        (x,) = self.kept()
        checks.array("dy", dy, dict(enumerate((*self.shape(x), x.shape[-1]))), like=x)
        return namespace(dy).reshape(dy, x.shape) if input_grad else None


class Flatten(_Reshape):
    """(C, H, W, N) -> (C*H*W, N): images to vectors."""

    def check(self, x):
        checks.array("x", x, {"C": None, "H": None, "W": None, "N": None})

    def shape(self, x):
        return (prod(x.shape[:-1]),)


class Unflatten(_Reshape):
    """(C*H*W, N) -> (C, H, W, N), for unflattened_size = (C, H, W): vectors to images, Flatten's inverse."""

    def __init__(self, unflattened_size):
        self.unflattened_size = checks.sizes("unflattened_size", unflattened_size)

    def check(self, x):
        checks.array("x", x, {"C*H*W": prod(self.unflattened_size), "N": None})

    def shape(self, x):
        return self.unflattened_size
