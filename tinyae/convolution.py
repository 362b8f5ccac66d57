"""Conv2d and ConvTranspose2d: the same three products, forward and backward exchanged.

With the patches of an image as columns (patches.py), a convolution is one matrix
product. An output pixel is a weighted sum over its patch: y = W im2col(x), where the
weight (O, C, kh, kw) is read as a matrix O x (C*kh*kw). The matrix rules in layers.py
give its derivatives. The chain rule through im2col is im2col's adjoint, col2im: a pixel
in several overlapping patches affects y through each of them, so its gradients add.

A transposed convolution takes that input gradient as its forward. Every input pixel
spreads over a patch of the output, and overlapping patches add: y = col2im(cols) with
cols = Wᵀ x. The adjoint of col2im is im2col, so dcols = im2col(dy), and the matrix
rules give the rest: dx = W dcols and dW = x dcolsᵀ.

                      forward              input gradient        weight gradient
    Conv2d            y = W im2col(x)      dx = col2im(Wᵀ dy)    dW = dy im2col(x)ᵀ
    ConvTranspose2d   y = col2im(Wᵀ x)     dx = W im2col(dy)     dW = x im2col(dy)ᵀ

In both rows, W has one row for each channel of the small image (the output of Conv2d,
the input of ConvTranspose2d), and its columns belong to patches of the large image.
Because the batch is last, y and dx are one product over all positions of all images,
and no axis is moved. (W in a product is the weight matrix; in a shape it is the width.)
"""

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters
from .patches import col2im, im2col, transposed_size


def product(matrix, a):
    """Multiply matrix (R, K) by a (K, H, W, N) at every position: (R, H, W, N)."""
    xp = namespace(a)
    y = matrix @ xp.reshape(a, (a.shape[0], -1))
    return xp.reshape(y, (-1, *a.shape[1:]))


def outer_sum(a, b):
    """Return a bᵀ (R, K), summed over H, W, N: a (R, H, W, N), b (K, H, W, N)."""
    xp = namespace(a)
    return xp.reshape(a, (a.shape[0], -1)) @ xp.reshape(b, (b.shape[0], -1)).T


class _Convolution(Layer):
    """What Conv2d and ConvTranspose2d share.

    kernel_size, stride, padding: an int, or a pair (height, width).
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        *,
        dtype="float32",
        seed=None,
    ):
        self.in_channels = checks.integer("in_channels", in_channels)
        self.out_channels = checks.integer("out_channels", out_channels)
        self.kernel_size = checks.pair("kernel_size", kernel_size)
        self.stride = checks.pair("stride", stride)
        self.padding = checks.pair("padding", padding, at_least=0)
        shape = (*self.small_and_large(), *self.kernel_size)
        self.weight, self.bias = uniform_parameters(
            shape, self.out_channels, dtype, seed
        )

    def geometry(self):
        return self.kernel_size, self.stride, self.padding

    def matrix(self):
        """Return W, the weight as a matrix: one row per channel of the small image."""
        xp = namespace(self.weight.data)
        return xp.reshape(self.weight.data, (self.weight.data.shape[0], -1))

    def store_gradients(self, dy, dW):
        xp = namespace(dy)
        self.weight.grad = xp.reshape(dW, self.weight.data.shape)
        # The bias is used at every position of every image, so its gradients add.
        self.bias.grad = xp.sum(dy, axis=(1, 2, 3))


class Conv2d(_Convolution):
    """Convolution: x (C, H, W, N) -> y (O, OH, OW, N). The kernel is not flipped.

        y[o, a, b, n] = bias[o]
            + Σ_cij weight[o, c, i, j] x[c, a*sh + i - ph, b*sw + j - pw, n]

    weight: (O, C, kh, kw), bias: (O,). OH = (H + 2 ph - kh) // sh + 1, OW likewise.
    seed: as for Linear. forward raises ValueError if the kernel is larger than the
    padded image.
    """

    def small_and_large(self):
        """Return the channels of the small and of the large image."""
        return self.out_channels, self.in_channels

    def forward(self, x):
        checks.array("x", x, (self.in_channels, "H", "W", "N"), like=self.weight.data)
        cols = im2col(x, *self.geometry())  # (C*kh*kw, OH, OW, N)
        y = product(self.matrix(), cols)  # y = W im2col(x)
        y += self.bias.data[:, None, None, None]
        return self.save_for_backward(y, cols, x.shape)

    def backward(self, dy, input_grad=True):
        cols, shape = self.saved(dy)
        self.store_gradients(dy, outer_sum(dy, cols))  # dW = dy im2col(x)ᵀ
        if not input_grad:
            return None
        dcols = product(self.matrix().T, dy)
        return col2im(dcols, shape, *self.geometry())  # dx = col2im(Wᵀ dy)


class ConvTranspose2d(_Convolution):
    """Transposed convolution: x (C, H, W, N) -> y (O, OH, OW, N).

    Every pixel of x adds its patch to y, and the bias is added once:

        y[o, a*sh + i - ph, b*sw + j - pw, n] += Σ_c weight[c, o, i, j] x[c, a, b, n]

    weight: (C, O, kh, kw), bias: (O,). OH = (H - 1) sh - 2 ph + kh + output_padding, OW
    likewise. A strided Conv2d shrinks several sizes to the same H. output_padding,
    which must be less than the stride, selects one of them: it keeps more rows at the
    bottom and columns at the right. forward raises ValueError if the padding leaves no
    pixel.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        **how,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, **how)
        self.output_padding = checks.pair("output_padding", output_padding, at_least=0)
        checks.less("output_padding", self.output_padding, "stride", self.stride)

    def small_and_large(self):
        return self.in_channels, self.out_channels

    def forward(self, x):
        checks.array("x", x, (self.in_channels, "H", "W", "N"), like=self.weight.data)
        OH, OW = map(
            transposed_size, x.shape[1:3], *self.geometry(), self.output_padding
        )
        cols = product(self.matrix().T, x)  # (O*kh*kw, H, W, N)
        shape = (self.out_channels, OH, OW, x.shape[-1])
        y = col2im(cols, shape, *self.geometry())  # y = col2im(Wᵀ x)
        y += self.bias.data[:, None, None, None]
        return self.save_for_backward(y, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.saved(dy)
        dcols = im2col(dy, *self.geometry())  # (O*kh*kw, H, W, N)
        self.store_gradients(dy, outer_sum(x, dcols))  # dW = x im2col(dy)ᵀ
        if not input_grad:
            return None
        return product(self.matrix(), dcols)  # dx = W im2col(dy)


CHECKS = [
    (Conv2d(3, 7, (4, 3), (3, 2), (2, 1), seed=1), (3, 4, 5, 6)),
    (ConvTranspose2d(3, 2, (4, 3), (3, 2), (2, 1), (0, 1), seed=1), (3, 4, 5, 6)),
]
