"""Batch normalisation (Ioffe & Szegedy 2015), with its backward in closed form.

For each channel, over the M = H*W*N values it has in the batch:

    mu = 1/M sum x        xc = x - mu        var = 1/M sum xc^2        s = 1 / sqrt(var + eps)
    xhat = s xc           y = gamma xhat + beta

Backward. gamma and beta act entry by entry: dgamma = sum dy xhat, dbeta = sum dy, and g = dL/dxhat = gamma dy. In
xhat = s xc every x reaches every xhat of its channel, through s and through the mean:

    ds   = sum g xc                      s is a factor of every xhat
    dvar = -s^3 / 2 ds                   the slope of s is -1/2 (var + eps)^(-3/2) = -s^3 / 2
    dxc  = s g + dvar 2 xc / M           directly, and through var: one xc moves it by 2 xc / M
    dx   = dxc - 1/M sum dxc             directly, and through mu: one x moves it by 1/M, and with it every xc by -1/M

So the 1/M are the averages' own derivatives. As sum xc = 0, var's part drops out of sum dxc = s sum g. Put in dvar and
xc = xhat / s:

    dx = s (g - mean(g) - xhat mean(g xhat)) = gamma s (dy - mean(dy) - xhat mean(dy xhat))

dy passes without its mean and without its part along xhat: shifting a channel's input, or (but for eps) rescaling it,
changes nothing in y, so no gradient may ask for it.
"""

from . import checks
from .backend import host, namespace
from .group import Alone
from .layer import Layer, Parameter


def dot(a, b):
    """sum a*b over each row of (C, M), as products of a row and a column, so that a*b is never stored: (C,)."""
    return (a[:, None, :] @ b[:, :, None])[:, 0, 0]


class BatchNorm2d(Layer):
    """Bring every channel of x (C, H, W, N) to mean 0 and variance 1 over the batch, then scale and shift it.

    weight (gamma), bias (beta), running_mean, running_var: (C,). In training the batch's own statistics are used, and
    the running ones follow, running += momentum * (batch - running), with the unbiased variance (M-1 in place of M). In
    evaluation the running ones are used: an image's result no longer depends on the others in its batch. forward raises
    ValueError in training if a channel has a single value, and so no variance. eps keeps s finite where all agree.
    """

    group = Alone()  # its mean(v) is v; where several processes share a batch, it is the mean of theirs (group.py)

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, dtype="float32"):
        self.num_features = C = checks.integer("num_features", num_features, at_least=1)
        self.eps, self.momentum = (
            checks.number("eps", eps, 0, low_open=True),
            checks.number("momentum", momentum, 0, 1),
        )
        dtype = checks.dtype(dtype)
        self.weight, self.bias = (
            Parameter(host.ones(C, dtype)),
            Parameter(host.zeros(C, dtype)),
        )
        self.running_mean = Parameter(host.zeros(C, dtype), trainable=False)
        self.running_var = Parameter(host.ones(C, dtype), trainable=False)

    def forward(self, x):
        checks.array(
            "x",
            x,
            {"C": self.num_features, "H": None, "W": None, "N": None},
            like=self.weight.data,
        )
        xp, shape = namespace(x), x.shape
        x = xp.reshape(x, (self.num_features, -1))  # (C, M): geometry plays no part
        if self.training:
            M = x.shape[1]  # in a group, of its part of the batch
            total = M * self.group.size
            checks.expect(
                total > 1,
                ValueError,
                "x",
                f"shape {tuple(shape)}",
                "more than one value a channel in training",
            )
            mu = self.group.mean(xp.mean(x, axis=1))
            xc = x - mu[:, None]
            var = self.group.mean(
                dot(xc, xc) / M
            )  # mean(x^2) - mean^2 loses all digits when the mean is large
            for running, batch in (
                (self.running_mean, mu),
                (self.running_var, var * (total / (total - 1))),
            ):
                running.data = running.data + self.momentum * (batch - running.data)
        else:
            xc, var = x - self.running_mean.data[:, None], self.running_var.data
        s = 1 / xp.sqrt(var + self.eps)
        y = (
            xc * (self.weight.data * s)[:, None]
        )  # gamma xhat; xhat = s xc itself is never stored
        y += self.bias.data[:, None]
        return self.keep(xp.reshape(y, shape), xc, s, self.training)

    def backward(self, dy, input_grad=True):
        xc, s, training = self.kept(dy)
        xp, shape, M = namespace(dy), dy.shape, xc.shape[1]
        dy = xp.reshape(dy, xc.shape)
        self.weight.grad = dot(dy, xc) * s  # sum dy xhat
        self.bias.grad = xp.sum(dy, axis=1)
        if training:
            dx = (
                xc * (-s * self.group.mean(self.weight.grad / M))[:, None]
            )  # - xhat mean(dy xhat)
            dx += dy
            dx -= self.group.mean(self.bias.grad / M)[:, None]  # - mean(dy)
            dx *= (self.weight.data * s)[:, None]
        else:  # the running statistics are constants: only the scale remains
            dx = dy * (self.weight.data * s)[:, None]
        return xp.reshape(dx, shape)
