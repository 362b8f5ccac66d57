"""Batch normalisation (Ioffe & Szegedy 2015), with its backward in closed form.

For each channel, over the M = H*W*N values it has in the batch:

    mu = 1/M sum x        xc = x - mu        var = 1/M sum xc^2        s = 1 / sqrt(var + eps)
    xhat = s xc           y = gamma xhat + beta

Backward. gamma and beta act entry by entry, so dgamma = sum dy xhat, dbeta = sum dy and g = dL/dxhat = gamma dy.
The rest is xhat = s xc, where every x reaches every xhat of its channel, through the mean and through s:

    s changes with var:        ds/dvar = -1/2 (var + eps)^(-3/2) = -s^3 / 2
    so var's gradient is       dvar = sum g xc * (-s^3 / 2)
    x reaches xhat three ways: dx = s g  +  dvar 2 xc / M  -  1/M sum (the same, over the channel)

The 1/M are the averages' own derivatives: mu and var each move by 1/M of what one x does. The last term is the mean
subtracted in xc = x - mu; its part from var is zero because sum xc = 0. Put in dvar, and xc = xhat / s:

    dx = s (g - mean(g) - xhat mean(g xhat)) = gamma s (dy - mean(dy) - xhat mean(dy xhat))

What passes through is dy without its mean and without its component along xhat: a shift or a rescaling of the channel's
input changes nothing in y, so neither may a gradient ask for it.
"""

from . import checks
from .backend import host, namespace
from .layer import Layer, Parameter


def _row(vector):
    """A value per channel (C,), shaped to act on images (C, H, W, N)."""
    return vector[:, None, None, None]


def _dot(a, b):
    """sum a*b over each channel of (C, H, W, N): (C,), as a product of rows, so that a*b is never stored."""
    xp = namespace(a)
    C = a.shape[0]
    return xp.matmul(xp.reshape(a, (C, 1, -1)), xp.reshape(b, (C, -1, 1)))[:, 0, 0]


class BatchNorm2d(Layer):
    """Normalise every channel of x (C, H, W, N) to mean 0 and variance 1 over the batch, then scale and shift it.

    weight (gamma), bias (beta), running_mean, running_var: (C,). While training, the batch's own statistics are used and
    the running ones follow them, running += momentum * (batch - running), the variance unbiased (M-1 in place of M). In
    evaluation the running ones are used, so an image's result does not depend on the others in its batch.
    Raises ValueError while training if a channel has only one value, which has no variance.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, dtype="float32"):
        self.num_features = checks.integer("num_features", num_features, at_least=1)
        self.eps = checks.number("eps", eps, 0, low_open=True)
        self.momentum = checks.number("momentum", momentum, 0, 1)
        ones, zeros = host.ones(num_features, checks.dtype(dtype)), host.zeros(num_features, checks.dtype(dtype))
        self.weight, self.bias = Parameter(ones), Parameter(zeros)
        self.running_mean, self.running_var = Parameter(zeros.copy(), trainable=False), Parameter(ones.copy(), trainable=False)

    def forward(self, x):
        checks.array("x", x, {"C": self.num_features, "H": None, "W": None, "N": None}, like=self.weight.data)
        xp, M = namespace(x), x.shape[1] * x.shape[2] * x.shape[3]
        if self.training:
            if M == 1:
                raise ValueError(f"x: got shape {tuple(x.shape)}, expected more than one value a channel while training")
            mean = xp.mean(x, axis=(1, 2, 3))
            xc = x - _row(mean)
            var = _dot(xc, xc) / M  # of the centred values: mean(x^2) - mean^2 loses all digits when the mean is large
            for running, batch in ((self.running_mean, mean), (self.running_var, var * (M / (M - 1)))):
                running.data = running.data + self.momentum * (batch - running.data)
        else:
            xc, var = x - _row(self.running_mean.data), self.running_var.data
        s = 1 / xp.sqrt(var + self.eps)
        self.keep(xc, s, self.training)
        y = xc * _row(self.weight.data * s)
        y += _row(self.bias.data)
        return y

    def backward(self, dy):
        xc, s, training = self.kept()
        checks.array("dy", dy, dict(zip("CHWN", xc.shape)), like=xc)
        xp, M = namespace(dy), xc.shape[1] * xc.shape[2] * xc.shape[3]
        self.weight.grad = _dot(dy, xc) * s  # sum dy xhat
        self.bias.grad = xp.sum(dy, axis=(1, 2, 3))  # sum dy
        if not training:  # running statistics are constants: only the scale remains
            return dy * _row(self.weight.data * s)
        dx = xc * _row(-s * self.weight.grad / M)  # - xhat mean(dy xhat)
        dx += dy
        dx -= _row(self.bias.grad / M)  # - mean(dy)
        dx *= _row(self.weight.data * s)
        return dx
