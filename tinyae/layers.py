"""The layers without geometry: Linear, ReLU, Sigmoid, Flatten, Unflatten. Each is a formula and its derivative.

Two rules cover them all. A function applied entry by entry, y = f(x), has

    dx = dy * f'(x)                      the same entry by entry: each x moves only its own y

and a matrix product Y = W X, where every x_k reaches every y_i = sum_k W_ik x_k, has

    dX = W^T dY                          x_k gathers from every y_i it reached, with the weight it reached it by
    dW = dY X^T                          W_ik moved y_i by x_k, summed over the batch: the loss is a sum over images
"""

from math import prod

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters


class Linear(Layer):
    """y = W x + b, for x (in_features, N) -> y (out_features, N).

    weight: (out_features, in_features), bias: (out_features,).
    seed: an int or a NumPy Generator for the initial weights.

        dW = dy x^T,   db = sum_n dy,   dx = W^T dy
    """

    def __init__(self, in_features, out_features, *, dtype="float32", seed=None):
        self.in_features = checks.integer("in_features", in_features, at_least=1)
        self.out_features = checks.integer("out_features", out_features, at_least=1)
        self.weight, self.bias = uniform_parameters(
            seed, checks.dtype(dtype), in_features, (out_features, in_features), (out_features,))

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


class ReLU(Layer):
    """y = max(x, 0), for x of any shape.

    Its slope is 1 where x > 0 and 0 elsewhere (at the kink, where there is none, 0 as everybody takes it), so both
    ways it is one product:   y = slope * x,   dx = slope * dy
    """

    def forward(self, x):
        checks.array("x", x, dict.fromkeys(range(len(x.shape))))
        slope = namespace(x).astype(x > 0, x.dtype)
        self.keep(slope)
        return slope * x

    def backward(self, dy):
        (slope,) = self.kept()
        checks.array("dy", dy, dict(enumerate(slope.shape)), like=slope)
        return slope * dy


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), for x of any shape: squeezes any number into (0, 1).

    dy/dx = exp(-x) / (1 + exp(-x))^2 = y (1 - y), so   dx = dy * y (1 - y)
    The slope is at most 1/4 and vanishes at both ends: a saturated sigmoid passes hardly any gradient.
    """

    def forward(self, x):
        checks.array("x", x, dict.fromkeys(range(len(x.shape))))
        xp = namespace(x)
        y = xp.exp(-xp.clip(x, -80.0, 80.0))  # exp(89) overflows float32, and beyond 80 the sigmoid is flat
        y += 1
        y = 1 / y
        self.keep(y)
        return y

    def backward(self, dy):
        (y,) = self.kept()
        checks.array("dy", dy, dict(enumerate(y.shape)), like=y)
        dx = 1 - y
        dx *= y
        dx *= dy
        return dx


class Flatten(Layer):
    """(C, H, W, N) -> (C*H*W, N): images to vectors. Nothing is computed, so backward only restores the shape."""

    def forward(self, x):
        checks.array("x", x, {"C": None, "H": None, "W": None, "N": None})
        self.keep(x)
        return namespace(x).reshape(x, (-1, x.shape[-1]))

    def backward(self, dy):
        (x,) = self.kept()
        checks.array("dy", dy, {"C*H*W": prod(x.shape[:-1]), "N": x.shape[-1]}, like=x)
        return namespace(dy).reshape(dy, x.shape)


class Unflatten(Layer):
    """(C*H*W, N) -> (C, H, W, N), with unflattened_size = (C, H, W): vectors to images, Flatten's inverse."""

    def __init__(self, unflattened_size):
        if not isinstance(unflattened_size, (tuple, list)) or not unflattened_size:
            raise TypeError(f"unflattened_size: got {unflattened_size!r}, expected a tuple such as (C, H, W)")
        self.unflattened_size = tuple(checks.integer("unflattened_size", n, at_least=1) for n in unflattened_size)

    def forward(self, x):
        checks.array("x", x, {"C*H*W": prod(self.unflattened_size), "N": None})
        self.keep(x)
        return namespace(x).reshape(x, (*self.unflattened_size, x.shape[-1]))

    def backward(self, dy):
        (x,) = self.kept()
        checks.array("dy", dy, dict(enumerate((*self.unflattened_size, x.shape[-1]))), like=x)
        return namespace(dy).reshape(dy, x.shape)
