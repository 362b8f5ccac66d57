"""Every layer once more, straight from its definition and as slowly as it likes: what all backends are compared with.

Each function takes x and the upstream gradient dy, both float64 NumPy arrays, and the layer's parameters, and returns
(y, dx, {parameter: gradient}). Nothing of tinyae is used.
"""

import numpy as np
from cases import loops


def linear(x, dy, weight, bias):
    y = np.array(
        [
            [sum(w * x[:, n]) + b for n in range(x.shape[1])]
            for w, b in zip(weight, bias)
        ]
    )
    return (
        y,
        np.einsum("ok,on->kn", weight, dy),
        {"weight": np.einsum("on,kn->ok", dy, x), "bias": dy.sum(1)},
    )


def relu(x, dy):
    return np.maximum(x, 0), np.where(x > 0, dy, 0), {}


def sigmoid(x, dy):
    y = (1 + np.tanh(x / 2)) / 2
    return y, dy / (4 * np.cosh(x / 2) ** 2), {}


def flatten(x, dy):
    y = np.stack([x[..., n].ravel() for n in range(x.shape[-1])], axis=-1)
    return (
        y,
        np.stack([dy[:, n].reshape(x.shape[:-1]) for n in range(x.shape[-1])], axis=-1),
        {},
    )


def unflatten(x, dy):
    (back, y, _) = flatten(dy, x)
    return y, back, {}


def conv(x, dy, weight, bias, kernel, stride, padding):
    """Large is x, small is y."""
    y, dx, dw = (
        np.zeros(dy.shape) + bias[:, None, None, None],
        np.zeros(x.shape),
        np.zeros(weight.shape),
    )
    for (r, q), (a, b), (i, j) in loops(
        x.shape[1:3], dy.shape[1:3], weight, kernel, stride, padding
    ):
        y[:, a, b] += weight[:, :, i, j] @ x[:, r, q]
        dx[:, r, q] += weight[:, :, i, j].T @ dy[:, a, b]
        dw[:, :, i, j] += dy[:, a, b] @ x[:, r, q].T
    return y, dx, {"weight": dw, "bias": dy.sum((1, 2, 3))}


def conv_transpose(x, dy, weight, bias, kernel, stride, padding):
    """Large is y, small is x."""
    y, dx, dw = (
        np.zeros(dy.shape) + bias[:, None, None, None],
        np.zeros(x.shape),
        np.zeros(weight.shape),
    )
    for (r, q), (a, b), (i, j) in loops(
        dy.shape[1:3], x.shape[1:3], weight, kernel, stride, padding
    ):
        y[:, r, q] += weight[:, :, i, j].T @ x[:, a, b]
        dx[:, a, b] += weight[:, :, i, j] @ dy[:, r, q]
        dw[:, :, i, j] += x[:, a, b] @ dy[:, r, q].T
    return y, dx, {"weight": dw, "bias": dy.sum((1, 2, 3))}


def batch_norm(x, dy, weight, bias, eps, running=None):
    """Each channel as one long vector, and its derivative as the whole matrix d xhat_a / d x_b.

    running: (mean, variance) in evaluation mode, None while training.
    """
    y, dx, dweight = np.zeros(x.shape), np.zeros(x.shape), np.zeros(weight.shape)
    for c, (row, upstream) in enumerate(
        zip(x.reshape(len(x), -1), dy.reshape(len(x), -1))
    ):
        M = row.size
        mean, var = (
            (row.mean(), row.var())
            if running is None
            else (running[0][c], running[1][c])
        )
        s = (var + eps) ** -0.5
        xhat, matrix = s * (row - mean), s * np.eye(M)
        if running is None:  # the mean and the variance move with every x
            matrix -= s / M * (np.ones((M, M)) + np.outer(xhat, xhat))
        y[c] = (weight[c] * xhat + bias[c]).reshape(x.shape[1:])
        dx[c] = (weight[c] * upstream @ matrix).reshape(x.shape[1:])
        dweight[c] = upstream @ xhat
    return y, dx, {"weight": dweight, "bias": dy.sum((1, 2, 3))}


def adam(theta, gradients, lr, betas, eps, weight_decay):
    """theta (a float) after one step for each of the `gradients`, by algorithm 1 of the paper."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * theta
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        mhat, vhat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        theta = theta - lr * mhat / (vhat**0.5 + eps)
    return theta
