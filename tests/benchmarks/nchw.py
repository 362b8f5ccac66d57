"""Anello's network as a textbook writes it: batch first, (N, C, H, W).

Lesson 4 and the benchmark compare tinyae with it. It is not slow on purpose. im2col
makes a matrix with one row for each position of each image, and one product gives the
output with the channels last. A transpose then puts the channels where NCHW has them.
This transpose, its counterpart in backward, and copies in short runs of W pixels are
the price of this layout.

    layers = twin(model)      the layers of a tinyae model, with copies of its weights
"""

import numpy as np

import tinyae
from tinyae.layer import Parameter


def offsets(kernel, stride, OH, OW):
    """Yield (i, j, rows, columns): the pixels of a padded image under offset (i, j)."""
    for i in range(kernel):
        for j in range(kernel):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            columns = slice(j, j + stride * (OW - 1) + 1, stride)
            yield i, j, rows, columns


def output_size(size, kernel, stride, pad):
    return (size + 2 * pad - kernel) // stride + 1


def im2col(x, kernel, stride, pad):
    """(N, C, H, W) -> (N*OH*OW, C*kernel*kernel): one patch in each row."""
    N, C, H, W = x.shape
    OH = output_size(H, kernel, stride, pad)
    OW = output_size(W, kernel, stride, pad)
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    cols = np.empty((N, C, kernel, kernel, OH, OW), x.dtype)
    for i, j, rows, columns in offsets(kernel, stride, OH, OW):
        cols[:, :, i, j] = x[:, :, rows, columns]
    return cols.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def col2im(cols, shape, kernel, stride, pad):
    """The adjoint of im2col: add rows up into images of `shape` (N, C, H, W)."""
    N, C, H, W = shape
    OH = output_size(H, kernel, stride, pad)
    OW = output_size(W, kernel, stride, pad)
    cols = cols.reshape(N, OH, OW, C, kernel, kernel).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros((N, C, H + 2 * pad, W + 2 * pad), cols.dtype)
    for i, j, rows, columns in offsets(kernel, stride, OH, OW):
        x[:, :, rows, columns] += cols[:, :, i, j]
    return x[:, :, pad : pad + H, pad : pad + W]


def to_rows(x):
    """(N, C, H, W) -> (N*H*W, C)."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


def to_images(rows, N, H, W):
    """(N*H*W, C) -> (N, C, H, W)."""
    return rows.reshape(N, H, W, -1).transpose(0, 3, 1, 2)


class Weighted:
    def __init__(self, layer):
        self.weight = Parameter(layer.weight.data.copy())
        self.bias = Parameter(layer.bias.data.copy())


class Conv(Weighted):
    def __init__(self, layer):
        super().__init__(layer)
        self.how = layer.kernel_size[0], layer.stride[0], layer.padding[0]

    def matrix(self):
        return self.weight.data.reshape(len(self.weight.data), -1)

    def forward(self, x):
        self.shape = x.shape
        self.cols = im2col(x, *self.how)
        OH, OW = (output_size(size, *self.how) for size in x.shape[2:])
        return to_images(self.cols @ self.matrix().T + self.bias.data, len(x), OH, OW)

    def backward(self, dy):
        dy = to_rows(dy)
        self.weight.grad = (dy.T @ self.cols).reshape(self.weight.data.shape)
        self.bias.grad = dy.sum(axis=0)
        return col2im(dy @ self.matrix(), self.shape, *self.how)


class ConvTranspose(Conv):
    def __init__(self, layer):
        super().__init__(layer)
        self.extra = layer.output_padding[0]

    def forward(self, x):
        self.shape = x.shape
        self.x = to_rows(x)
        kernel, stride, pad = self.how
        H, W = ((n - 1) * stride - 2 * pad + kernel + self.extra for n in x.shape[2:])
        shape = (len(x), len(self.bias.data), H, W)
        y = col2im(self.x @ self.matrix(), shape, *self.how)
        return y + self.bias.data[:, None, None]

    def backward(self, dy):
        cols = im2col(dy, *self.how)
        self.weight.grad = (self.x.T @ cols).reshape(self.weight.data.shape)
        self.bias.grad = dy.sum(axis=(0, 2, 3))
        N, _, H, W = self.shape
        return to_images(cols @ self.matrix().T, N, H, W)


class BatchNorm(Weighted):
    def __init__(self, layer):
        super().__init__(layer)
        self.running_mean = layer.running_mean.data.copy()
        self.running_var = layer.running_var.data.copy()
        self.eps, self.momentum = layer.eps, layer.momentum

    def forward(self, x):
        mean = x.mean(axis=(0, 2, 3))
        var = x.var(axis=(0, 2, 3))
        self.M = M = x.size // x.shape[1]
        self.s = 1 / np.sqrt(var + self.eps)
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (var * M / (M - 1) - self.running_var)
        self.xhat = (x - mean[:, None, None]) * self.s[:, None, None]
        gamma, beta = self.weight.data, self.bias.data
        return gamma[:, None, None] * self.xhat + beta[:, None, None]

    def backward(self, dy):
        self.weight.grad = (dy * self.xhat).sum(axis=(0, 2, 3))
        self.bias.grad = dy.sum(axis=(0, 2, 3))
        dx = dy - (self.bias.grad / self.M)[:, None, None]
        dx = dx - self.xhat * (self.weight.grad / self.M)[:, None, None]
        return (self.weight.data * self.s)[:, None, None] * dx


class Linear(Weighted):
    def forward(self, x):
        self.x = x
        return x @ self.weight.data.T + self.bias.data

    def backward(self, dy):
        self.weight.grad = dy.T @ self.x
        self.bias.grad = dy.sum(axis=0)
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
    """Return {name: layer}: the layers of a tinyae model, with the same weights."""
    layers = model.named_layers()
    return {n: TWINS[type(a)](a) for n, a in layers if type(a) in TWINS}


def parameters(layers):
    """Return {name: Parameter}, with tinyae's names and order."""
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        if isinstance(layer, Weighted)
        for kind in ("weight", "bias")
    }


def train_step(layers, optimizer, x):
    """Take one step on images x (N, 1, 28, 28); return the loss."""
    y = x
    for layer in layers.values():
        y = layer.forward(y)
    difference = y - x
    dy = 2 * difference / difference.size
    for layer in reversed(layers.values()):
        dy = layer.backward(dy)
    optimizer.step()
    return (difference**2).mean()
