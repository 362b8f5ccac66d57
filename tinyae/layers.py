"""Linear, ReLU, Sigmoid, Flatten and Unflatten: each is a formula and its derivative.

Every derivative in this package rests on the chain rule and one more rule: if a value
is used several times, its gradient is the sum of the gradients from all its uses. For
a matrix product Y = W X, and for a function y = f(x) applied entry by entry, that gives

    dX = Wᵀ dY           x_k is in every y_i = Σ_k W_ik x_k with weight W_ik,
                         so dx_k = Σ_i W_ik dy_i
    dW = dY Xᵀ           W_ik is used once for every image of the batch, so its
                         gradients are added over the batch
    dx = dy * f'(x)      each x changes only its own y
"""

from math import inf, prod

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters


class Linear(Layer):
    """The affine map y = W x + b, for x (in_features, N) -> y (out_features, N).

        dx = Wᵀ dy        dW = dy xᵀ        db = Σ_n dy

    weight: (out_features, in_features), bias: (out_features,). seed: for the initial
    values, an int or a NumPy Generator; None draws one.
    """

    def __init__(self, in_features, out_features, *, dtype="float32", seed=None):
        self.in_features = checks.integer("in_features", in_features)
        self.out_features = checks.integer("out_features", out_features)
        shape = (self.out_features, self.in_features)
        self.weight, self.bias = uniform_parameters(shape, shape[0], dtype, seed)

    def forward(self, x):
        checks.array("x", x, (self.in_features, "N"), like=self.weight.data)
        y = self.weight.data @ x
        y += self.bias.data[:, None]
        return self.save_for_backward(y, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.saved(dy)
        xp = namespace(dy)
        self.weight.grad = dy @ x.T
        self.bias.grad = xp.sum(dy, axis=1)
        return self.weight.data.T @ dy if input_grad else None


class ReLU(Layer):
    """The rectifier y = max(x, 0).

    Its slope is 1 where x > 0 and 0 elsewhere. At the kink, x = 0, there is no slope;
    by convention it is 0.
    """

    def forward(self, x):
        checks.array("x", x)
        xp = namespace(x)
        y = xp.clip(x, 0.0, inf)  # max(x, 0); faster than maximum
        return self.save_for_backward(y, x > 0)

    def backward(self, dy, input_grad=True):
        (positive,) = self.saved(dy)
        xp = namespace(dy)
        dx = xp.astype(positive, dy.dtype)  # the slope, 1 or 0
        dx *= dy
        return dx


class Sigmoid(Layer):
    """The logistic function y = 1 / (1 + exp(-x)), in (0, 1); rounding may give 1.

        slope = exp(-x) / (1 + exp(-x))² = y (1 - y)

    The slope is at most 1/4 and close to 0 at both ends, so a saturated sigmoid passes
    on almost no gradient.
    """

    def forward(self, x):
        checks.array("x", x)
        xp = namespace(x)
        y = 1 / (1 + xp.exp(-xp.clip(x, -80.0, inf)))  # exp(89) overflows float32
        return self.save_for_backward(y, y * (1 - y))

    def backward(self, dy, input_grad=True):
        (slope,) = self.saved(dy)
        return slope * dy


class Flatten(Layer):
    """Reshape images (C, H, W, N) into vectors (C*H*W, N); backward reshapes back."""

    def forward(self, x):
        checks.array("x", x, ("C", "H", "W", "N"))
        xp = namespace(x)
        return self.save_for_backward(xp.reshape(x, (-1, x.shape[-1])), x.shape)

    def backward(self, dy, input_grad=True):
        (shape,) = self.saved(dy)
        xp = namespace(dy)
        return xp.reshape(dy, shape)


class Unflatten(Flatten):
    """Reshape vectors (C*H*W, N) into images (C, H, W, N); backward reshapes back.

    unflattened_size: (C, H, W).
    """

    def __init__(self, unflattened_size):
        self.unflattened_size = checks.several(
            "unflattened_size", unflattened_size, 3, "(C, H, W)", checks.integer
        )

    def forward(self, x):
        checks.array("x", x, (prod(self.unflattened_size), "N"))
        xp = namespace(x)
        y = xp.reshape(x, (*self.unflattened_size, x.shape[-1]))
        return self.save_for_backward(y, x.shape)


# What `python -m tinyae.gradcheck` and the tests check: (layer, shape of an input).
SHAPE = (3, 4, 5, 6)
CHECKS = [
    (Linear(5, 3, seed=1), (5, 4)),
    (ReLU(), SHAPE),
    (Sigmoid(), SHAPE),
    (Flatten(), SHAPE),
    (Unflatten((2, 3, 4)), (24, 5)),
]
