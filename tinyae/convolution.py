"""Conv2d and ConvTranspose2d: the same three products, with forward and backward exchanged.

With the patches of an image as columns (patches.py), a convolution is one matrix product: every output channel is a
weighted sum over the patch, y = W im2col(x), with the weight (O, C, kh, kw) read as a matrix O x (C*kh*kw). The matrix
rules give its derivatives, and the chain rule through im2col is im2col's adjoint, col2im: a pixel that was copied
into several overlapping patches gets the sum of what comes back from each.

A transposed convolution is that input gradient taken as a layer: forward spreads every input pixel over a patch of
the output, and patches that overlap add. So its backward needs nothing new either:

                      forward                 input gradient           weight gradient
    Conv2d            y = W im2col(x)         dx = col2im(W^T dy)      dW = dy im2col(x)^T
    ConvTranspose2d   y = col2im(W^T x)       dx = W im2col(dy)        dW = x im2col(dy)^T

In both, W's rows belong to the small image (Conv2d's output, ConvTranspose2d's input) and its columns to patches of
the large one. Every image is (channels, height, width, N): with the batch last, each product is ONE matrix product
over all positions of all images, and its result needs no reordering.
"""

from . import checks
from .backend import namespace
from .layer import Layer, uniform_parameters
from .patches import col2im, conv_size, im2col, transposed_size


def product(matrix, a):
    """matrix (R, K) times a (K, H, W, N), at every position of every image: (R, H, W, N)."""
    xp = namespace(a)
    return xp.reshape(xp.matmul(matrix, xp.reshape(a, (a.shape[0], -1))), (matrix.shape[0], *a.shape[1:]))


def outer_sum(a, b):
    """a b^T for a (R, H, W, N), b (K, H, W, N): sum over positions and images of a's column times b's, (R, K).

    As one product this is skinny (R and K are tens, positions times images tens of thousands), which matrix libraries do
    slowly; one product over the images for each position, summed over positions, is the same sum and 2-4 times faster.
    """
    xp = namespace(a)
    a = xp.permute_dims(xp.reshape(a, (a.shape[0], -1, a.shape[-1])), (1, 2, 0))  # (HW, N, R)
    b = xp.permute_dims(xp.reshape(b, (b.shape[0], -1, b.shape[-1])), (1, 0, 2))  # (HW, K, N)
    return xp.sum(xp.matmul(b, a), axis=0).T  # sum of (HW, K, R)


class _Convolution(Layer):
    """The arguments both share. kernel_size, stride, padding: an int, or a pair (height, width)."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding):
        self.in_channels = checks.integer("in_channels", in_channels, at_least=1)
        self.out_channels = checks.integer("out_channels", out_channels, at_least=1)
        self.kernel_size = checks.pair("kernel_size", kernel_size, at_least=1)
        self.stride = checks.pair("stride", stride, at_least=1)
        self.padding = checks.pair("padding", padding, at_least=0)
        self.geometry = self.kernel_size, self.stride, self.padding

    def matrix(self):
        """The weight, (rows, columns, kh, kw), as a matrix (rows, columns*kh*kw)."""
        weight = self.weight.data
        return namespace(weight).reshape(weight, (weight.shape[0], -1))

    def check_input(self, x):
        dims = {"C": self.in_channels, "H": None, "W": None, "N": None}
        checks.array("x", x, dims, like=self.weight.data)

    def check_upstream(self, dy, size, like):
        dims = {"O": self.out_channels, "OH": size[0], "OW": size[1], "N": like.shape[-1]}
        checks.array("dy", dy, dims, like=like)

    def store_gradients(self, dy, dw):
        """Keep dL/dweight and dL/dbias. The bias is added at every position of every image: its gradient is their sum."""
        xp = namespace(dy)
        self.weight.grad = xp.reshape(dw, self.weight.data.shape)
        self.bias.grad = xp.sum(dy, axis=(1, 2, 3))


class Conv2d(_Convolution):
    """Convolution (as in all of deep learning, without flipping the kernel), x (C, H, W, N) -> y (O, OH, OW, N):

        y[o, a, b, n] = bias[o] + sum_{c,i,j} weight[o, c, i, j] x[c, a*sh + i - ph, b*sw + j - pw, n]

    weight: (O, C, kh, kw), bias: (O,). OH = (H + 2 ph - kh) // sh + 1, OW likewise.
    seed: an int or a NumPy Generator for the initial weights.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, *, dtype="float32", seed=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)
        shape = (out_channels, in_channels, *self.kernel_size)
        fan_in = in_channels * self.kernel_size[0] * self.kernel_size[1]
        self.weight, self.bias = uniform_parameters(seed, checks.dtype(dtype), fan_in, shape, (out_channels,))

    def output_size(self, size):
        """(OH, OW) for an image of (H, W). Raises ValueError if the kernel is larger than the padded image."""
        output = tuple(map(conv_size, size, *self.geometry))
        if min(output) < 1:
            raise ValueError(f"kernel_size: got {self.kernel_size}, expected at most the image plus twice the padding: "
                             f"x is {tuple(size)}, padding {self.padding}")
        return output

    def forward(self, x):
        self.check_input(x)
        self.output_size(x.shape[1:3])
        cols = im2col(x, *self.geometry)  # (C*kh*kw, OH, OW, N)
        self.keep(cols, x.shape)
        y = product(self.matrix(), cols)  # (O, OH, OW, N)
        y += self.bias.data[:, None, None, None]
        return y

    def backward(self, dy, input_grad=True):
        cols, shape = self.kept()
        self.check_upstream(dy, cols.shape[1:3], like=cols)
        self.store_gradients(dy, outer_sum(dy, cols))  # dW = dy im2col(x)^T
        if input_grad:
            return col2im(product(self.matrix().T, dy), shape, *self.geometry)  # dx = col2im(W^T dy)


class ConvTranspose2d(_Convolution):
    """Transposed convolution, x (C, H, W, N) -> y (O, OH, OW, N): every pixel of x adds its patch to y,

        y[o, a*sh + i - ph, b*sw + j - pw, n] += sum_c weight[c, o, i, j] x[c, a, b, n]        (then + bias[o])

    weight: (C, O, kh, kw), bias: (O,). OH = (H-1) sh - 2 ph + kh + output_padding, OW likewise.
    output_padding, below the stride, chooses among the sizes that Conv2d would shrink to H; it adds rows at the
    bottom and columns at the right, which the patches may or may not reach.
    seed: an int or a NumPy Generator for the initial weights.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, *,
                 dtype="float32", seed=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)
        self.output_padding = checks.pair("output_padding", output_padding, at_least=0)
        if any(extra >= step for extra, step in zip(self.output_padding, self.stride)):
            raise ValueError(f"output_padding: got {self.output_padding}, expected below the stride {self.stride}")
        shape = (in_channels, out_channels, *self.kernel_size)
        fan_in = out_channels * self.kernel_size[0] * self.kernel_size[1]  # PyTorch's choice: the patch, not C
        self.weight, self.bias = uniform_parameters(seed, checks.dtype(dtype), fan_in, shape, (out_channels,))

    def output_size(self, size):
        """(OH, OW) for an image of (H, W). Raises ValueError if the padding leaves nothing of it."""
        output = tuple(map(transposed_size, size, *self.geometry, self.output_padding))
        if min(output) < 1:
            raise ValueError(f"padding: got {self.padding}, expected less: the output would be {output}")
        return output

    def forward(self, x):
        self.check_input(x)
        shape = (self.out_channels, *self.output_size(x.shape[1:3]), x.shape[-1])
        self.keep(x)
        y = col2im(product(self.matrix().T, x), shape, *self.geometry)  # (O*kh*kw, H, W, N) -> (O, OH, OW, N)
        y += self.bias.data[:, None, None, None]
        return y

    def backward(self, dy, input_grad=True):
        (x,) = self.kept()
        self.check_upstream(dy, self.output_size(x.shape[1:3]), like=x)
        cols = im2col(dy, *self.geometry)  # (O*kh*kw, H, W, N): the patch of dy that each pixel of x was spread over
        self.store_gradients(dy, outer_sum(x, cols))  # dW = x im2col(dy)^T
        if input_grad:
            return product(self.matrix(), cols)  # dx = W im2col(dy)
