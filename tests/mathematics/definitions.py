"""Every layer again, directly from its definition: what all backends are compared with.

Each function takes x and the upstream gradient dy, both float64 NumPy arrays, and the
layer's parameters. It returns (y, dx, {parameter: gradient}). It may be as slow as it
likes, and it uses nothing of tinyae.
"""

from itertools import product

import numpy as np


def linear(x, dy, weight, bias):
    y = np.einsum("ok,kn->on", weight, x) + bias[:, None]
    dx = np.einsum("ok,on->kn", weight, dy)
    return y, dx, {"weight": np.einsum("on,kn->ok", dy, x), "bias": dy.sum(1)}


def relu(x, dy):
    return np.maximum(x, 0), np.where(x > 0, dy, 0), {}


def sigmoid(x, dy):
    return (1 + np.tanh(x / 2)) / 2, dy / (4 * np.cosh(x / 2) ** 2), {}


def flatten(x, dy):
    y = np.array([x[index] for index in np.ndindex(x.shape[:3])])
    return y, dy.reshape(x.shape), {}


def unflatten(x, dy):
    back, y, _ = flatten(dy, x)
    return y, back, {}


def _links(large, small, weight, kernel, stride, padding):
    """Return the three sums of a convolution: into `small`, into `large`, into weight.

    Every small pixel (a, b) is linked to the pixels (r, q) of the large image that lie
    under the kernel.
    """
    into_small = np.zeros((weight.shape[0], *small.shape[1:]))
    into_large = np.zeros((weight.shape[1], *large.shape[1:]))
    into_weight = np.zeros(weight.shape)
    for a, b, i, j in product(*map(range, (*small.shape[1:3], *kernel))):
        r = a * stride[0] + i - padding[0]
        q = b * stride[1] + j - padding[1]
        if 0 <= r < large.shape[1] and 0 <= q < large.shape[2]:
            into_small[:, a, b] += weight[:, :, i, j] @ large[:, r, q]
            into_large[:, r, q] += weight[:, :, i, j].T @ small[:, a, b]
            into_weight[:, :, i, j] += small[:, a, b] @ large[:, r, q].T
    return into_small, into_large, into_weight


def conv(x, dy, weight, bias, kernel, stride, padding):
    y, dx, dw = _links(x, dy, weight, kernel, stride, padding)
    y += bias[:, None, None, None]
    return y, dx, {"weight": dw, "bias": dy.sum((1, 2, 3))}


def conv_transpose(x, dy, weight, bias, kernel, stride, padding):
    dx, y, dw = _links(dy, x, weight, kernel, stride, padding)
    y += bias[:, None, None, None]
    return y, dx, {"weight": dw, "bias": dy.sum((1, 2, 3))}


def batch_norm(x, dy, weight, bias, eps, running=None):
    """Treat each channel as a vector, with the whole matrix d xhat_a / d x_b.

    running: (mean, variance) in evaluation mode, None in training.
    """
    y, dx, dweight = np.zeros(x.shape), np.zeros(x.shape), np.zeros(weight.shape)
    for c in range(len(x)):
        row, upstream = x[c].ravel(), dy[c].ravel()
        mean, var = row.mean(), row.var()
        if running is not None:
            mean, var = running[0][c], running[1][c]
        s = (var + eps) ** -0.5
        xhat = s * (row - mean)
        matrix = s * np.eye(row.size)
        if running is None:  # the mean and the variance move with every x
            matrix -= s / row.size * (1 + np.outer(xhat, xhat))
        y[c] = (weight[c] * xhat + bias[c]).reshape(x.shape[1:])
        dx[c] = (weight[c] * upstream @ matrix).reshape(x.shape[1:])
        dweight[c] = upstream @ xhat
    return y, dx, {"weight": dweight, "bias": dy.sum((1, 2, 3))}


def adam(theta, gradients, lr, betas, eps, weight_decay):
    """Return theta after one step for each gradient, by algorithm 1 of the paper."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mhat = m / (1 - betas[0] ** t)
        vhat = v / (1 - betas[1] ** t)
        theta = theta - lr * mhat / (vhat**0.5 + eps)
    return theta


def sgd(theta, gradients, lr, momentum, weight_decay):
    """Return theta after one step for each gradient, as the PyTorch manual has it."""
    v = 0.0
    for g in gradients:
        v = momentum * v + g + weight_decay * theta
        theta = theta - lr * v
    return theta
