"""The patches of an image as the columns of a matrix, and back: im2col and col2im.

A convolution slides a kernel of kh x kw over the image. If the patch under the kernel
at each position becomes a column, the sliding sum becomes one matrix product. im2col
("image to columns") gathers these patches:

    cols[c, i, j, a, b, n] = x[c, a*sh + i - ph, b*sw + j - pw, n]   (0 off the image)

for channel c, offset (i, j) in the kernel, output position (a, b) and image n. im2col
only copies, so it is a linear map. Its adjoint (its transpose, if we write the map as a
matrix) is col2im. col2im sends every entry of cols back to the pixel it was copied
from. Overlapping patches contain the same pixel several times, so col2im ADDS:

    x[c, a*sh + i - ph, b*sw + j - pw, n] += cols[c, i, j, a, b, n]   (x starts as 0s)

Both functions loop only over the kh*kw offsets. For each offset they move a block of
all images. N is the last axis, so every copy moves N neighbouring numbers at a time.

Letters in shapes, in every file: N images in the batch, C channels in, O channels out,
H and W the height and width of an image, OH and OW those of the output, kh and kw those
of the kernel; sh and sw are the strides, ph and pw the padding. M images in a data set;
in batch norm M = H*W*N.
"""

from functools import cache

from .backend import namespace, zeros


def conv_size(size, kernel, stride, padding):
    """Return how many positions a kernel takes along an axis of `size` pixels.

    Raises ValueError if it takes none.
    """
    positions = (size + 2 * padding - kernel) // stride + 1
    if positions < 1:
        raise ValueError(
            f"kernel_size: got {kernel}, expected at most {size + 2 * padding}: "
            f"{size} pixels + 2 * padding {padding}"
        )
    return positions


def transposed_size(size, kernel, stride, padding, output_padding):
    """Return the size of the large image that conv_size shrinks to `size`.

    conv_size rounds down, so `stride` different sizes qualify; output_padding selects
    one. Raises ValueError if no pixel is left.
    """
    pixels = (size - 1) * stride - 2 * padding + kernel + output_padding
    if pixels < 1:
        raise ValueError(
            f"padding: got {padding}, expected less: {pixels} pixels would be left"
        )
    return pixels


def _along(size, kernel, stride, padding):
    """Yield (offset, positions, pixels) along one axis for each offset in the kernel.

    Position a reads pixel a*stride + offset - padding, which must lie in [0, size).
    """
    positions = range(conv_size(size, kernel, stride, padding))
    for offset in range(kernel):
        pixels = [a * stride + offset - padding for a in positions]
        inside = [a for a in positions if 0 <= pixels[a] < size]
        if inside:
            first, last = inside[0], inside[-1]
            read = slice(pixels[first], pixels[last] + 1, stride)
            yield offset, slice(first, last + 1), read


@cache  # the same for every batch
def links(H, W, kernel_size, stride, padding):
    """Return what im2col copies: [(i, j, positions a, b, pixels h, w), ...]."""
    rows = list(_along(H, kernel_size[0], stride[0], padding[0]))
    columns = list(_along(W, kernel_size[1], stride[1], padding[1]))
    return [(i, j, a, b, h, w) for i, a, h in rows for j, b, w in columns]


def im2col(x, kernel_size, stride, padding):
    """Return every patch of x (C, H, W, N) as a column: (C*kh*kw, OH, OW, N)."""
    xp = namespace(x)
    C, H, W, N = x.shape
    OH, OW = map(conv_size, (H, W), kernel_size, stride, padding)
    cols = zeros((C, *kernel_size, OH, OW, N), like=x)  # the padding stays 0
    for i, j, a, b, h, w in links(H, W, kernel_size, stride, padding):
        cols[:, i, j, a, b, :] = x[:, h, w, :]
    return xp.reshape(cols, (-1, OH, OW, N))


def col2im(cols, shape, kernel_size, stride, padding):
    """Add columns (C*kh*kw, OH, OW, N) up into a new image of `shape` (C, H, W, N).

    This is the adjoint of im2col.
    """
    xp = namespace(cols)
    C, H, W, _ = shape
    cols = xp.reshape(cols, (C, *kernel_size, *cols.shape[1:]))
    x = zeros(shape, like=cols)
    for i, j, a, b, h, w in links(H, W, kernel_size, stride, padding):
        pixels = x[:, h, w, :]  # a view: adding to it changes x
        pixels += cols[:, i, j, a, b, :]
    return x
