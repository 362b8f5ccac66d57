"""Anello's network once more, as a textbook would write it: batch first, NCHW. The benchmark runs against it.

Nothing here is slow on purpose. Images are (N, C, H, W), im2col makes a matrix with a row for each position of each
image, a product gives the output with the channels last, and a transpose puts them where NCHW has them. That
transpose, its counterpart in backward and the short rows of W pixels are the price of this layout.

    layers = twin(model)         the layers of a tinyae model, with copies of its weights
"""

import numpy as np

import tinyae
from tinyae.layer import Parameter


def im2col(x, kernel, stride, pad):
    """(N, C, H, W) -> (N*OH*OW, C*kernel*kernel): a patch a row."""
    N, C, H, W = x.shape
    OH, OW = (H + 2 * pad - kernel) // stride + 1, (W + 2 * pad - kernel) // stride + 1
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    cols = np.empty((N, C, kernel, kernel, OH, OW), x.dtype)
    for i in range(kernel):
        for j in range(kernel):
            cols[:, :, i, j] = x[
                :,
                :,
                i : i + stride * (OH - 1) + 1 : stride,
                j : j + stride * (OW - 1) + 1 : stride,
            ]
    return cols.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def col2im(cols, shape, kernel, stride, pad):
    """The adjoint: rows (N*OH*OW, C*kernel*kernel) added up into an image of `shape` (N, C, H, W)."""
    N, C, H, W = shape
    OH, OW = (H + 2 * pad - kernel) // stride + 1, (W + 2 * pad - kernel) // stride + 1
    cols = cols.reshape(N, OH, OW, C, kernel, kernel).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros((N, C, H + 2 * pad, W + 2 * pad), cols.dtype)
    for i in range(kernel):
        for j in range(kernel):
            x[
                :,
                :,
                i : i + stride * (OH - 1) + 1 : stride,
                j : j + stride * (OW - 1) + 1 : stride,
            ] += cols[:, :, i, j]
    return x[:, :, pad : pad + H, pad : pad + W]


def rows(x):
    """(N, C, H, W) -> (N*H*W, C)."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


def images(rows, N, H, W):
    """(N*H*W, C) -> (N, C, H, W)."""
    return rows.reshape(N, H, W, -1).transpose(0, 3, 1, 2)


class Conv:
    def __init__(self, layer):
        self.weight, self.bias = (
            Parameter(layer.weight.data.copy()),
            Parameter(layer.bias.data.copy()),
        )
        self.how = layer.kernel_size[0], layer.stride[0], layer.padding[0]

    def forward(self, x):
        self.shape, self.cols, (kernel, stride, pad) = (
            x.shape,
            im2col(x, *self.how),
            self.how,
        )
        OH, OW = ((size + 2 * pad - kernel) // stride + 1 for size in x.shape[2:])
        y = (
            self.cols @ self.weight.data.reshape(len(self.bias.data), -1).T
            + self.bias.data
        )
        return images(y, len(x), OH, OW)

    def backward(self, dy):
        dy = rows(dy)
        self.weight.grad = (dy.T @ self.cols).reshape(self.weight.data.shape)
        self.bias.grad = dy.sum(axis=0)
        return col2im(
            dy @ self.weight.data.reshape(dy.shape[1], -1), self.shape, *self.how
        )


class ConvTranspose(Conv):
    def __init__(self, layer):
        super().__init__(layer)
        self.extra = layer.output_padding[0]

    def forward(self, x):
        self.shape, self.x, (kernel, stride, pad) = x.shape, rows(x), self.how
        size = ((n - 1) * stride - 2 * pad + kernel + self.extra for n in x.shape[2:])
        shape = (len(x), len(self.bias.data), *size)
        cols = self.x @ self.weight.data.reshape(x.shape[1], -1)
        return col2im(cols, shape, *self.how) + self.bias.data[:, None, None]

    def backward(self, dy):
        cols = im2col(dy, *self.how)
        self.weight.grad = (self.x.T @ cols).reshape(self.weight.data.shape)
        self.bias.grad = dy.sum(axis=(0, 2, 3))
        N, C, H, W = self.shape
        return images(cols @ self.weight.data.reshape(C, -1).T, N, H, W)


class BatchNorm:
    def __init__(self, layer):
        self.weight, self.bias = (
            Parameter(layer.weight.data.copy()),
            Parameter(layer.bias.data.copy()),
        )
        self.running_mean, self.running_var = (
            layer.running_mean.data.copy(),
            layer.running_var.data.copy(),
        )
        self.eps, self.momentum = layer.eps, layer.momentum

    def forward(self, x):
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        self.M, self.s = x.size // x.shape[1], 1 / np.sqrt(var + self.eps)
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (
            var * self.M / (self.M - 1) - self.running_var
        )
        self.xhat = (x - mean[:, None, None]) * self.s[:, None, None]
        return (
            self.weight.data[:, None, None] * self.xhat + self.bias.data[:, None, None]
        )

    def backward(self, dy):
        self.weight.grad, self.bias.grad = (
            (dy * self.xhat).sum(axis=(0, 2, 3)),
            dy.sum(axis=(0, 2, 3)),
        )
        inner = (
            dy
            - (self.bias.grad / self.M)[:, None, None]
            - self.xhat * (self.weight.grad / self.M)[:, None, None]
        )
        return (self.weight.data * self.s)[:, None, None] * inner


class Linear:
    def __init__(self, layer):
        self.weight, self.bias = (
            Parameter(layer.weight.data.copy()),
            Parameter(layer.bias.data.copy()),
        )

    def forward(self, x):
        self.x = x
        return x @ self.weight.data.T + self.bias.data

    def backward(self, dy):
        self.weight.grad, self.bias.grad = dy.T @ self.x, dy.sum(axis=0)
        return dy @ self.weight.data


class ReLU:
    def __init__(self, layer):
        pass

    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dy):
        return dy * self.mask


class Sigmoid:
    def __init__(self, layer):
        pass

    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dy):
        return dy * self.y * (1 - self.y)


class Reshape:
    def __init__(self, layer):
        self.shape = getattr(layer, "unflattened_size", (-1,))

    def forward(self, x):
        self.before = x.shape
        return x.reshape(len(x), *self.shape)

    def backward(self, dy):
        return dy.reshape(self.before)


TWINS = {
    tinyae.Conv2d: Conv,
    tinyae.ConvTranspose2d: ConvTranspose,
    tinyae.BatchNorm2d: BatchNorm,
    tinyae.Linear: Linear,
    tinyae.ReLU: ReLU,
    tinyae.Sigmoid: Sigmoid,
    tinyae.Flatten: Reshape,
    tinyae.Unflatten: Reshape,
}


def twin(model):
    """{name: layer} for a tinyae model: the same layers with the same weights, for images (N, 1, 28, 28)."""
    return {name: TWINS[type(layer)](layer) for name, layer in model.leaves()}


def parameters(layers):
    """{name: Parameter}, named and ordered like tinyae's."""
    return {
        f"{name}.{which}": getattr(layer, which)
        for name, layer in layers.items()
        for which in ("weight", "bias")
        if hasattr(layer, which)
    }


def train_step(layers, optimizer, x):
    """Forward, mean squared error to x itself, backward, Adam; returns the loss."""
    y = x
    for layer in layers.values():
        y = layer.forward(y)
    difference = y - x
    dy = 2 * difference / difference.size
    for layer in reversed(layers.values()):
        dy = layer.backward(dy)
    optimizer.step()
    return (difference**2).mean()
