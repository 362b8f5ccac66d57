"""The layers without geometry: Linear, ReLU, Sigmoid, Flatten, Unflatten. Each is a formula and its derivative.

What is used several times gets the sum of what comes back from its uses: that, and the chain rule, is behind every
derivative here. For a matrix product, Y = W X, and for a function applied entry by entry, y = f(x), it gives

    dX = W^T dY           x_k is in every y_i = sum_k W_ik x_k, with weight W_ik, so dx_k = sum_i W_ik dy_i
    dW = dY X^T           W_ik is used once for every image of the batch, so what comes back is added
    dx = dy * f'(x)       each x moves only its own y
"""

from math import inf, prod

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters


class Linear(Layer):
    """y = W x + b, for x (in_features, N) -> y (out_features, N):    dx = W^T dy    dW = dy x^T    db = sum_n dy

    weight: (out_features, in_features), bias: (out_features,). seed: for their first values, an int or a Generator.
    """

    def __init__(self, in_features, out_features, *, dtype="float32", seed=None):
        self.in_features = checks.integer("in_features", in_features, at_least=1)
        self.out_features = checks.integer("out_features", out_features, at_least=1)
        self.weight, self.bias = uniform_parameters(
            (out_features, in_features), out_features, dtype, seed
        )

    def forward(self, x):
        checks.array(
            "x", x, {"in_features": self.in_features, "N": None}, like=self.weight.data
        )
        y = self.weight.data @ x
        y += self.bias.data[:, None]
        return self.keep(y, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.kept(dy)
        self.weight.grad = dy @ x.T
        self.bias.grad = namespace(dy).sum(dy, axis=1)
        return self.weight.data.T @ dy if input_grad else None


class ReLU(Layer):
    """y = max(x, 0), with slope 1 where x > 0 and 0 elsewhere (at the kink, where there is none, 0 by convention)."""

    def forward(self, x):
        checks.array("x", x)
        return self.keep(
            namespace(x).clip(x, 0.0, inf), x > 0
        )  # max(x, 0), in the standard's words

    def backward(self, dy, input_grad=True):
        (positive,) = self.kept(dy)
        dx = namespace(dy).astype(positive, dy.dtype)  # the slope, 1 or 0
        dx *= dy
        return dx


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)): squeezes any number into (0, 1), with slope exp(-x) / (1 + exp(-x))^2 = y (1 - y): at most
    1/4, and next to nothing at both ends, where a saturated sigmoid passes hardly any gradient on.
    """

    def forward(self, x):
        checks.array("x", x)
        y = 1 / (
            1 + namespace(x).exp(-namespace(x).clip(x, -80.0, inf))
        )  # exp(89) overflows float32
        return self.keep(y, y * (1 - y))

    def backward(self, dy, input_grad=True):
        (slope,) = self.kept(dy)
        return slope * dy


class Flatten(Layer):
    """(C, H, W, N) -> (C*H*W, N): images to vectors. The same numbers, so backward only shapes them back."""

    def forward(self, x):
        checks.array("x", x, {"C": None, "H": None, "W": None, "N": None})
        return self.keep(namespace(x).reshape(x, (-1, x.shape[-1])), x.shape)

    def backward(self, dy, input_grad=True):
        (shape,) = self.kept(dy)
        return namespace(dy).reshape(dy, shape)


class Unflatten(Flatten):
    """(C*H*W, N) -> (C, H, W, N), for unflattened_size = (C, H, W): vectors to images, with the same backward."""

    def __init__(self, unflattened_size):
        self.unflattened_size = checks.several(
            "unflattened_size",
            unflattened_size,
            3,
            "(C, H, W)",
            checks.integer,
            at_least=1,
        )

    def forward(self, x):
        checks.array("x", x, {"C*H*W": prod(self.unflattened_size), "N": None})
        return self.keep(
            namespace(x).reshape(x, (*self.unflattened_size, x.shape[-1])), x.shape
        )
