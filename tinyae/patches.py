"""Patches of an image as the columns of a matrix, and back: all the index arithmetic there is.

A convolution slides a kernel of kh x kw over the image. Write the patch under the kernel at every position as a
column, and the sliding sum becomes one matrix product. im2col ("image to columns") gathers those patches:

    cols[c, i, j, a, b, n] = x[c, a*sh + i - ph, b*sw + j - pw, n]      (0 where that is off the image)

for channel c, offset (i, j) inside the kernel, position (a, b) in the output, image n. It only copies, so it is a
linear map: each entry of cols is one entry of x, or zero. Its adjoint (its transpose, as a matrix) sends every entry
of cols back to where it was copied from, and since overlapping patches copied the same pixel several times, what
comes back is ADDED:

    x[c, a*sh + i - ph, b*sw + j - pw, n] += cols[c, i, j, a, b, n]

That is col2im. Both loop over the kh*kw offsets only, and move whole blocks of images at once: N is the last axis and
contiguous in memory, so every copy runs along it.

Letters, here and in every file: N images in the batch, C channels in, O channels out, H and W the height and width
of an image, kh, kw of the kernel, sh, sw of the stride, ph, pw of the padding.
"""

from .backend import namespace, zeros


def conv_size(size, kernel, stride, padding):
    """Positions a kernel takes along an axis of `size` pixels: from the first that fits, every `stride`."""
    return (size + 2 * padding - kernel) // stride + 1


def transposed_size(size, kernel, stride, padding, output_padding):
    """The size that a convolution turns into `size`. The division above forgets a remainder below `stride`, so
    `stride` different sizes would do: output_padding says which."""
    return (size - 1) * stride - 2 * padding + kernel + output_padding


def _touched(offset, size, positions, stride, padding):
    """Along one axis, for one offset in the kernel: which positions see a pixel (not the padding), and which pixels.

    Position a sees pixel a*stride + offset - padding, which must lie in [0, size).
    """
    first = max(0, -((offset - padding) // stride))  # the smallest a with pixel >= 0: a division rounded up
    last = min(positions - 1, (size - 1 + padding - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset - padding
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def _links(shape, kernel_size, stride, padding):
    """The links between cols and x: for each offset (i, j), the slices of positions and the slices of pixels."""
    _, H, W, _ = shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    rows = [_touched(i, H, conv_size(H, kh, sh, ph), sh, ph) for i in range(kh)]
    columns = [_touched(j, W, conv_size(W, kw, sw, pw), sw, pw) for j in range(kw)]
    for i, (a, h) in enumerate(rows):
        for j, (b, w) in enumerate(columns):
            yield i, j, a, b, h, w


def im2col(x, kernel_size, stride, padding):
    """Every patch of x (C, H, W, N) as a column: a new array (C*kh*kw, OH, OW, N)."""
    C, H, W, N = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    OH, OW = conv_size(H, kh, sh, ph), conv_size(W, kw, sw, pw)
    cols = zeros((C, kh, kw, OH, OW, N), like=x)  # what no pixel is copied to stays 0: the padding
    for i, j, a, b, h, w in _links(x.shape, kernel_size, stride, padding):
        cols[:, i, j, a, b, :] = x[:, h, w, :]
    return namespace(x).reshape(cols, (C * kh * kw, OH, OW, N))


def col2im(cols, shape, kernel_size, stride, padding):
    """The adjoint of im2col: columns (C*kh*kw, OH, OW, N) added up into a new image of `shape` (C, H, W, N)."""
    C, _, _, N = shape
    _, OH, OW, _ = cols.shape
    cols = namespace(cols).reshape(cols, (C, *kernel_size, OH, OW, N))
    x = zeros(shape, like=cols)
    for i, j, a, b, h, w in _links(shape, kernel_size, stride, padding):
        x[:, h, w, :] += cols[:, i, j, a, b, :]
    return x
