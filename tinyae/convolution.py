"""Conv2d and ConvTranspose2d: the same three products, with forward and backward exchanged.

With the patches of an image as columns (patches.py), a convolution is one matrix product: an output pixel is a weighted
sum over its patch, y = W im2col(x), with the weight (O, C, kh, kw) read as a matrix O x (C*kh*kw). The matrix rules of
layers.py give its derivatives, and the chain rule through im2col is im2col's adjoint, col2im: a pixel that was copied
into several overlapping patches reached y through each of them, so what comes back from each is added.

A transposed convolution is that input gradient taken as a layer: every input pixel spreads over a patch of the output,
and where patches overlap they add, y = col2im(cols) with cols = W^T x. The adjoint of col2im is im2col, so dcols =
im2col(dy), and the matrix rules give the rest, dx = W dcols and dW = x dcols^T:

                      forward                 input gradient           weight gradient
    Conv2d            y = W im2col(x)         dx = col2im(W^T dy)      dW = dy im2col(x)^T
    ConvTranspose2d   y = col2im(W^T x)       dx = W im2col(dy)        dW = x im2col(dy)^T

In both, the rows of W belong to the small image (Conv2d's output, ConvTranspose2d's input), its columns to patches of
the large one. The batch being last, y and dx are one product over all positions of all images, and nothing is reordered;
dW is one product for each row of the image, summed (outer_sum). (W in a product is the weight as a matrix; in a shape
it is the width.)
"""

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters
from .patches import col2im, conv_size, im2col, transposed_size


def product(matrix, a):
    """matrix (R, K) times a (K, H, W, N), at every position of every image: (R, H, W, N)."""
    xp = namespace(a)
    return xp.reshape(matrix @ xp.reshape(a, (a.shape[0], -1)), (-1, *a.shape[1:]))


def outer_sum(a, b):
    """a b^T, for a (R, H, W, N) and b (K, H, W, N): summed over positions and images, (R, K).

    A small result of very long rows is slow in many libraries. So one product a row of the image, and their sum.
    """
    xp = namespace(a)
    a = xp.permute_dims(xp.reshape(a, (*a.shape[:2], -1)), (1, 2, 0))  # (H, W*N, R)
    b = xp.permute_dims(xp.reshape(b, (*b.shape[:2], -1)), (1, 0, 2))  # (H, K, W*N)
    return xp.sum(b @ a, axis=0).T  # (H, K, R) -> (K, R) -> (R, K)


class _Convolution(Layer):
    """What both share. kernel_size, stride, padding: an int, or a pair (height, width). weight_channels: the weight's,
    those of the small image first.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        weight_channels,
        kernel_size,
        stride,
        padding,
        dtype,
        seed,
    ):
        self.in_channels = checks.integer("in_channels", in_channels, at_least=1)
        self.out_channels = checks.integer("out_channels", out_channels, at_least=1)
        self.kernel_size = checks.pair("kernel_size", kernel_size, at_least=1)
        self.stride, self.padding = (
            checks.pair("stride", stride, at_least=1),
            checks.pair("padding", padding, at_least=0),
        )
        self.geometry = self.kernel_size, self.stride, self.padding
        self.weight, self.bias = uniform_parameters(
            (*weight_channels, *self.kernel_size), out_channels, dtype, seed
        )

    def matrix(self):
        """W: the weight as a matrix, a row for each channel of the small image."""
        return namespace(self.weight.data).reshape(
            self.weight.data, (self.weight.data.shape[0], -1)
        )

    def store_gradients(self, dy, dW):
        self.weight.grad = namespace(dy).reshape(dW, self.weight.data.shape)
        self.bias.grad = namespace(dy).sum(
            dy, axis=(1, 2, 3)
        )  # the bias was added at every position of every image


class Conv2d(_Convolution):
    """Convolution (not flipping the kernel, as in all of deep learning), x (C, H, W, N) -> y (O, OH, OW, N):

        y[o, a, b, n] = bias[o] + sum_{c,i,j} weight[o, c, i, j] x[c, a*sh + i - ph, b*sw + j - pw, n]

    weight: (O, C, kh, kw), bias: (O,). OH = (H + 2 ph - kh) // sh + 1, OW likewise. seed: as Linear's. forward raises
    ValueError for a kernel larger than the padded image.
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
        channels = out_channels, in_channels
        super().__init__(
            in_channels,
            out_channels,
            channels,
            kernel_size,
            stride,
            padding,
            dtype,
            seed,
        )

    def forward(self, x):
        checks.array(
            "x",
            x,
            {"C": self.in_channels, "H": None, "W": None, "N": None},
            like=self.weight.data,
        )
        checks.expect(
            min(map(conv_size, x.shape[1:3], *self.geometry)) > 0,
            ValueError,
            "kernel_size",
            self.kernel_size,
            f"at most the image plus twice the padding: x is {tuple(x.shape[1:3])}, padding {self.padding}",
        )
        cols = im2col(x, *self.geometry)  # (C*kh*kw, OH, OW, N)
        y = product(self.matrix(), cols)  # y = W im2col(x)
        y += self.bias.data[:, None, None, None]
        return self.keep(y, cols, x.shape)

    def backward(self, dy, input_grad=True):
        cols, shape = self.kept(dy)
        self.store_gradients(dy, outer_sum(dy, cols))  # dW = dy im2col(x)^T
        if input_grad:
            return col2im(
                product(self.matrix().T, dy), shape, *self.geometry
            )  # dx = col2im(W^T dy)


class ConvTranspose2d(_Convolution):
    """Transposed convolution, x (C, H, W, N) -> y (O, OH, OW, N): every pixel of x adds its patch to y,

        y[o, a*sh + i - ph, b*sw + j - pw, n] += sum_c weight[c, o, i, j] x[c, a, b, n]        (and bias[o] once)

    weight: (C, O, kh, kw), bias: (O,). OH = (H-1) sh - 2 ph + kh + output_padding, OW likewise. output_padding, below
    the stride, chooses among the sizes that a Conv2d would shrink to H. It adds rows below and columns at the right:
    the first ph (pw) of them get what the padding had cut off the last patches, the others are just the bias.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        *,
        dtype="float32",
        seed=None,
    ):
        channels = in_channels, out_channels
        super().__init__(
            in_channels,
            out_channels,
            channels,
            kernel_size,
            stride,
            padding,
            dtype,
            seed,
        )
        self.output_padding = checks.pair("output_padding", output_padding, at_least=0)
        checks.expect(
            all(extra < step for extra, step in zip(self.output_padding, self.stride)),
            ValueError,
            "output_padding",
            self.output_padding,
            f"below the stride {self.stride}",
        )

    def forward(self, x):
        checks.array(
            "x",
            x,
            {"C": self.in_channels, "H": None, "W": None, "N": None},
            like=self.weight.data,
        )
        size = tuple(
            map(transposed_size, x.shape[1:3], *self.geometry, self.output_padding)
        )
        checks.expect(
            min(size) > 0,
            ValueError,
            "padding",
            self.padding,
            f"less: the output would be {size}",
        )
        cols = product(
            self.matrix().T, x
        )  # (O*kh*kw, H, W, N): every pixel spread over its patch
        y = col2im(
            cols, (self.out_channels, *size, x.shape[-1]), *self.geometry
        )  # y = col2im(W^T x)
        y += self.bias.data[:, None, None, None]
        return self.keep(y, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.kept(dy)
        cols = im2col(
            dy, *self.geometry
        )  # (O*kh*kw, H, W, N): the patch of dy that each pixel of x was spread over
        self.store_gradients(dy, outer_sum(x, cols))  # dW = x im2col(dy)^T
        if input_grad:
            return product(self.matrix(), cols)  # dx = W im2col(dy)
