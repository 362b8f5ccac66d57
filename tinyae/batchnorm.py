"""Batch normalisation (Ioffe & Szegedy 2015), with its backward in closed form.

Why normalise? Then the scale of the weights in the layer before does not matter: double
them, and y stays the same (apart from eps). Networks with batch norm tolerate larger
steps and worse initial weights. Why it helps so much is still debated (Santurkar et al.
2018).

For each channel, over the M = H*W*N values it has in the batch:

    mu   = 1/M Σ x
    xc   = x - mu
    var  = 1/M Σ xc²
    s    = 1 / √(var + eps)
    xhat = s xc
    y    = gamma xhat + beta

Backward. All M values use gamma and beta, so dgamma = Σ dy xhat and dbeta = Σ dy. Every
x reaches every xhat of its channel, through s and through the mean. Lesson 0c goes back
through the six lines one by one; the result is

    dx = gamma s (dy - mean(dy) - xhat mean(dy xhat))

So backward removes two parts of dy: its mean, and its component along xhat. Shifting a
channel's input, or rescaling it, does not change y, so dx has no component in these
directions (apart from eps). gamma comes out of the means because all M values share it.
In a layer norm, which averages over channels, it does not.
"""

import numpy as np

from . import checks
from .backend import namespace
from .layer import Layer, Parameter


class BatchNorm2d(Layer):
    """Give every channel of x (C, H, W, N) mean 0 and variance 1; then scale and shift.

    weight (gamma), bias (beta), running_mean, running_var: (C,). Training uses the
    statistics of the batch and moves the running ones towards them, running +=
    momentum * (batch - running). Evaluation uses the running ones, so that the result
    for an image does not depend on the other images in its batch.

    running_var estimates the variance of all images. The variance within a batch is
    measured around the batch's own mean, which makes it too small: by a factor of
    (M-1)/M on average, if the M values are independent. As in PyTorch, the stored one
    therefore has M-1 in place of M. Pixels of one image are not independent: within 4
    images of Fashion-MNIST the variance is 3% too small, and M-1 adds only 0.03%
    (lesson 0c).

    eps keeps s finite when all values are equal. forward raises ValueError in training
    if a channel has a single value, because then there is no variance.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, dtype="float32"):
        self.num_features = checks.integer("num_features", num_features)
        self.eps = checks.number("eps", eps, 0, low_open=True)
        self.momentum = checks.number("momentum", momentum, 0, 1)
        C, dtype = self.num_features, checks.dtype(dtype)
        self.weight = Parameter(np.ones(C, dtype))
        self.bias = Parameter(np.zeros(C, dtype))
        self.running_mean = Parameter(np.zeros(C, dtype), trainable=False)
        self.running_var = Parameter(np.ones(C, dtype), trainable=False)

    def forward(self, x):
        checks.array("x", x, (self.num_features, "H", "W", "N"), like=self.weight.data)
        xp = namespace(x)
        shape = x.shape
        x = xp.reshape(x, (self.num_features, -1))  # (C, M)
        M = x.shape[1]
        if self.training:
            if M == 1:
                raise ValueError("x: got one value per channel, expected several")
            mu = xp.mean(x, axis=1)  # (C,)
            xc = x - mu[:, None]
            # mean(x²) - mu² would lose all digits when the mean is large
            var = xp.mean(xc * xc, axis=1)
            self._follow(self.running_mean, mu)
            self._follow(self.running_var, var * (M / (M - 1)))
        else:
            xc = x - self.running_mean.data[:, None]
            var = self.running_var.data
        s = 1 / xp.sqrt(var + self.eps)  # (C,)
        y = xc * (self.weight.data * s)[:, None]  # gamma xhat
        y += self.bias.data[:, None]
        return self.save_for_backward(xp.reshape(y, shape), xc, s, self.training)

    def _follow(self, running, batch):
        running.data = running.data + self.momentum * (batch - running.data)

    def backward(self, dy, input_grad=True):
        xc, s, training = self.saved(dy)
        xp = namespace(dy)
        M = xc.shape[1]
        shape = dy.shape
        dy = xp.reshape(dy, xc.shape)  # (C, M)
        self.weight.grad = xp.sum(dy * xc, axis=1) * s  # Σ dy xhat
        self.bias.grad = xp.sum(dy, axis=1)
        scale = (self.weight.data * s)[:, None]
        if not training:  # mu and s are constants
            return xp.reshape(dy * scale, shape)
        dx = xc * (-s * (self.weight.grad / M))[:, None]  # - xhat mean(dy xhat)
        dx += dy
        dx -= (self.bias.grad / M)[:, None]  # - mean(dy)
        dx *= scale
        return xp.reshape(dx, shape)


CHECKS = [(BatchNorm2d(3), (3, 4, 5, 6))]
