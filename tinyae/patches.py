"""Patches of an image as the columns of a matrix, and back: all the index arithmetic there is.

A convolution slides a kernel of kh x kw over the image. Write the patch under the kernel at every position as a
column, and the sliding sum becomes one matrix product. im2col ("image to columns") gathers those patches:

    cols[c, i, j, a, b, n] = x[c, a*sh + i - ph, b*sw + j - pw, n]      (0 where that is off the image)

for channel c, offset (i, j) in the kernel, position (a, b) in the output, image n. It only copies, so it is a linear
map. Its adjoint (the transpose, seen as a matrix), col2im, sends every entry of cols that was copied from a pixel back to
it; overlapping patches copied the same pixel several times, so what comes back is ADDED, beginning from 0:

    x[c, a*sh + i - ph, b*sw + j - pw, n] += cols[c, i, j, a, b, n]

Both loop over the kh*kw offsets only, and move whole blocks of images: N is the last axis, and every copy runs along it.

Letters, here and in every file: N images in the batch, C channels in, O channels out, H and W the height and width
of an image, OH and OW of the output, kh, kw of the kernel, sh, sw of the stride, ph, pw of the padding.
"""

from functools import cache

from .backend import namespace, zeros


def conv_size(size, kernel, stride, padding):
    """How many positions a kernel takes along an axis of `size` pixels: one every `stride`, as long as it fits."""
    return (size + 2 * padding - kernel) // stride + 1


def transposed_size(size, kernel, stride, padding, output_padding):
    """The size of which a convolution makes `size`. The division above forgets a remainder below `stride`, so `stride`
    different sizes would do: output_padding says which.
    """
    return (size - 1) * stride - 2 * padding + kernel + output_padding


def _along(size, kernel, stride, padding):
    """Along one axis, yields (offset, positions, pixels) for each offset in the kernel that meets pixels at all.

    Position a meets pixel a*stride + offset - padding, which must lie in [0, size).
    """
    for offset in range(kernel):
        first = max(
            0, -((offset - padding) // stride)
        )  # the smallest a with pixel >= 0: a division rounded up
        last = min(
            conv_size(size, kernel, stride, padding) - 1,
            (size - 1 + padding - offset) // stride,
        )
        if first <= last:
            start = first * stride + offset - padding
            yield (
                offset,
                slice(first, last + 1),
                slice(start, start + (last - first) * stride + 1, stride),
            )


@cache  # it is the same for every batch
def links(H, W, kernel_size, stride, padding):
    """All that im2col copies: [(i, j, positions a, positions b, pixels h, pixels w), ...]."""
    rows, columns = (
        list(_along(*axis)) for axis in zip((H, W), kernel_size, stride, padding)
    )
    return [(i, j, a, b, h, w) for i, a, h in rows for j, b, w in columns]


def im2col(x, kernel_size, stride, padding):
    """Every patch of x (C, H, W, N) as a column: a new array (C*kh*kw, OH, OW, N)."""
    C, H, W, N = x.shape
    OH, OW = map(conv_size, (H, W), kernel_size, stride, padding)
    cols = zeros(
        (C, *kernel_size, OH, OW, N), like=x
    )  # what no pixel is copied to stays 0: the padding
    for i, j, a, b, h, w in links(H, W, kernel_size, stride, padding):
        cols[:, i, j, a, b, :] = x[:, h, w, :]
    return namespace(x).reshape(cols, (-1, OH, OW, N))


def col2im(cols, shape, kernel_size, stride, padding):
    """The adjoint of im2col: columns (C*kh*kw, OH, OW, N) added up into a new image of `shape` (C, H, W, N)."""
    C, H, W, _ = shape
    cols = namespace(cols).reshape(cols, (C, *kernel_size, *cols.shape[1:]))
    x = zeros(shape, like=cols)
    for i, j, a, b, h, w in links(H, W, kernel_size, stride, padding):
        if (
            i < stride[0] and j < stride[1]
        ):  # no offset before this one met these pixels: copying is adding to 0
            x[:, h, w, :] = cols[:, i, j, a, b, :]
        else:
            x[:, h, w, :] += cols[:, i, j, a, b, :]
    return x
