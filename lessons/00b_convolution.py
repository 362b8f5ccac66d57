# %% [markdown]
# # Lesson 0b. Convolution, and convolution turned around
#
# **What you'll do.** You write a convolution as six loops, turn it into one matrix
# product, derive its backward pass, and take that backward pass as a layer of its own:
# the transposed convolution.
#
# **What you'll learn.** A convolution is a Linear layer on patches, so its gradients
# are the ones you know. Pixels that lie in several patches collect a sum. Convolution
# and transposed convolution are the same three products with forward and backward
# exchanged.
#
# **What you need.** Lesson 0a: the three rules of Linear, and the sum over all uses.
# The lesson runs in a few seconds. Copies of its pictures are in `lessons/figures`, as
# 00b_im2col.png, 00b_transposed.png and 00b_checkerboard.png.
#
# **Notation.** An image is an array (C, height, width), with C channels. A batch of N
# images is an array (C, height, width, N): the batch is the last axis. A layer makes O
# channels of OH × OW pixels. kh × kw is the size of the kernel, s the stride and p the
# padding. W is the weight as a matrix. dx is the gradient for x, as in lesson 0a.

# %%
import sys

# No module named common? In a notebook, type first: %cd FOLDER/lessons
sys.path.extend(["", "lessons", "tinyae/lessons"])

from common import heading, np, options, plt
from figures import write_figure

from tinyae import Conv2d, ConvTranspose2d
from tinyae.gradcheck import check_layer
from tinyae.patches import conv_size, im2col, transposed_size

args = options("00b_convolution", "Lesson 0b: convolution.", trains=False)
rng = np.random.default_rng(args.seed)

# %% [markdown]
# ## 1. Convolution: six loops
#
# In a Linear layer every output looks at every pixel. A convolution looks through a
# small window, the *kernel*, and uses the same weights wherever the window is. So it
# needs few weights, and the same patch gives the same output wherever it is. Output
# channel o at position (a, b) is a weighted sum over the patch under the window, in all
# channels c:
#
#     y[o,a,b,n] = bias[o] + Σ weight[o,c,i,j] · x[c, a·s+i−p, b·s+j−p, n]
#                          c,i,j
#
# The stride s is how far the window moves between positions. The padding p is the
# number of zeros added around the image, so that the window can reach over the edge.
# The six loops run over o, a, b, c, i and j, and each turn computes all N images.

# %%
heading("1. Six loops")
kh = 3
kw = 4
s = 2
p = 1
conv = Conv2d(7, 8, (kh, kw), s, p, dtype="float64", seed=rng)
weight = conv.weight.data  # (O, C, kh, kw) = (8, 7, 3, 4)
bias = conv.bias.data[:, None, None, None]  # (O, 1, 1, 1)
x = rng.standard_normal((7, 9, 13, 2))  # (C, height, width, N)


def sizes(shape):
    """Return OH and OW: how many positions the kernel has. Section 5 explains."""
    OH = conv_size(shape[1], kh, s, p)
    OW = conv_size(shape[2], kw, s, p)
    return OH, OW


def pad(x):
    return np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))


OH, OW = sizes(x.shape)
y_loops = np.zeros((8, OH, OW, 2))
padded = pad(x)
for o, c, i, j in np.ndindex(weight.shape):
    for a, b in np.ndindex(OH, OW):
        pixels = padded[c, a * s + i, b * s + j]  # one of each image: (N,)
        y_loops[o, a, b] += weight[o, c, i, j] * pixels
y_loops += bias

print(f"x {x.shape} -> y {y_loops.shape}")
assert np.allclose(conv.forward(x), y_loops, 1e-7, 1e-12)
print("tinyae.Conv2d agrees with the six loops.")

# %% [markdown]
# ## 2. Patches as columns: one matrix product
#
# Write the patch at each position as a column of C·kh·kw numbers. Write the weights of
# each output channel as a row of as many numbers; these rows are the matrix W. Then the
# sum over c, i and j is a row times a column, and all six loops are one matrix product:
#
#     y = W cols + bias
#
# Gathering the patches is called *im2col*, "image to columns". The simplest way: pad
# the image. Then, for each offset (i, j) in the kernel, one slice with step s takes the
# pixel at that offset from all patches at once.

# %%
heading("2. Patches as columns")


def im2col_simple(x):
    """Return each patch of x (C, height, width, N) as a column: (C*kh*kw, OH*OW*N)."""
    C, _, _, N = x.shape
    OH, OW = sizes(x.shape)
    padded = pad(x)
    cols = np.zeros((C, kh, kw, OH, OW, N))
    for i, j in np.ndindex(kh, kw):
        rows = slice(i, i + s * OH, s)  # i, i + s, ...: one for each of OH positions
        columns = slice(j, j + s * OW, s)
        cols[:, i, j] = padded[:, rows, columns]
    return cols.reshape(C * kh * kw, -1)


cols = im2col_simple(x)
W = weight.reshape(8, -1)
y = (W @ cols).reshape(y_loops.shape) + bias
assert np.allclose(y, y_loops, 1e-7, 1e-12)
print(f"W {W.shape} times cols {cols.shape} agrees with the six loops.")

# %% [markdown]
# The library's im2col loops over the same offsets, but it makes no padded copy of the
# image. For each offset it computes which positions meet a real pixel, and copies only
# those. The other entries stay 0. (With the simple way a training step takes 5 to 15%
# longer: tests/benchmarks/README.md.) Here you also see why the batch is the last axis:
# every copy then moves N numbers that are neighbours in memory, which is fast.

# %%
library = im2col(x, (kh, kw), (s, s), (p, p)).reshape(cols.shape)
assert np.array_equal(library, cols)
print("tinyae's im2col returns the same columns.")

# %% [markdown]
# The picture shows patches, columns and product for an image of 4 × 4 numbered pixels
# and one kernel of 3 × 3. The kernel has four positions, so cols has four columns. The
# patch at the upper right is blue. So are its column, and the output that W makes of
# it: 28 = 1 · 4 + 2 · 7 + 1 · 10. Pixel 6 lies in all four patches, so it was copied
# four times: look for it in each column.

# %%


def draw(axis, numbers, title, left=0, top=0, shade=0):
    """Draw a matrix as squares with numbers; shade: white 0, blue 1 to 3, red -2."""
    height, width = numbers.shape
    across = left + np.arange(width + 1)
    down = top + np.arange(height + 1)
    shade = shade + 0 * numbers
    axis.pcolormesh(across, down, shade, cmap="bwr_r", clim=(-7, 7), edgecolors="grey")
    for (i, j), number in np.ndenumerate(numbers):
        x = across[j] + 0.5
        y = down[i] + 0.5
        axis.text(x, y, int(number), ha="center", va="center")
    axis.text(left, top - 0.4, title)
    axis.yaxis.set_inverted(True)
    axis.set_aspect("equal")
    axis.axis("off")


numbers = np.arange(1.0, 17).reshape(4, 4)
kernel = np.array([[0.0, 0, 1], [0, 2, 0], [1, 0, 0]])
image = numbers[None, :, :, None]  # (C, height, width, N)
patches = im2col(image, (3, 3), (1, 1), (0, 0)).reshape(9, 4)
row = kernel.reshape(1, 9)
patch = np.zeros((4, 4))
patch[:3, 1:] = 3
column = [0, 3, 0, 0]
figure, axis = plt.subplots(figsize=(9, 6.4))
draw(axis, numbers, "the image", 2.5, 0, patch)
draw(axis, kernel, "a kernel", 3, 6, -2)
draw(axis, patches, "cols: each patch is a column", 10, 0, column)
draw(axis, row, "W: the kernel is a row", 0, 11, -2)
draw(axis, row @ patches, "y = W cols", 10, 11, column)
alt = "A patch of 3 x 3 pixels becomes a column of 9; W times it is one output."
write_figure(figure, args, "02_im2col", alt=alt)

# %% [markdown]
# The matrix product does the same multiplications as the loops. It is faster for three
# reasons. At each turn of a loop Python looks up names and makes new objects. The
# product multiplies several pairs of numbers with one instruction. And it works in
# small blocks, which stay in the processor's fastest memory, so that a number is loaded
# once and used many times (Goto and van de Geijn 2008). Lesson 4 measures how much they
# gain.
#
# ## 3. Backward: patches back into an image
#
# With the patches as columns, convolution is Linear. Lesson 0a has the derivatives:
#
#     dW    = dy colsᵀ
#     dbias = dy summed over positions and images
#     dcols = Wᵀ dy
#
# One step remains, from dcols to dx. An entry of cols is a copy of a pixel, so its
# gradient goes back to that pixel. (An entry copied from the padding goes nowhere.) A
# pixel in several patches was copied several times. It was *used* several times, so it
# gets the **sum** of the gradients from its copies. This is *col2im*:
#
#     dx = col2im(Wᵀ dy)
#
# Compare it with im2col, line by line. The loop is the same, the two sides of the
# assignment are exchanged, and `=` has become `+=`.

# %%
heading("3. Backward")


def col2im_simple(cols, shape):
    """Add columns (C*kh*kw, OH*OW*N) into an image of `shape` (C, height, width, N)."""
    OH, OW = sizes(shape)
    cols = cols.reshape(-1, kh, kw, OH, OW, shape[3])
    padded = pad(np.zeros(shape))
    for i, j in np.ndindex(kh, kw):
        rows = slice(i, i + s * OH, s)
        columns = slice(j, j + s * OW, s)
        padded[:, rows, columns] += cols[:, i, j]
    return padded[:, p:-p, p:-p]


dy = rng.standard_normal(y_loops.shape)
dy_rows = dy.reshape(8, -1)  # (O, OH*OW*N)
dW = dy_rows @ cols.T
dx = col2im_simple(W.T @ dy_rows, x.shape)

conv.forward(x)
assert np.allclose(conv.backward(dy), dx, 1e-7, 1e-12)
assert np.allclose(conv.weight.grad.reshape(8, -1), dW, 1e-7, 1e-12)
print("tinyae.Conv2d returns the same dx and dW.")
for name, error in check_layer(conv, x.shape).items():
    print(f"Its gradient for {name} against measured slopes: error {error:.0e}")
    assert error < 1e-8

# %% [markdown]
# ## 4. Transposed convolution: the same pair, exchanged
#
# Without its bias, a convolution is linear in x. If you write images as long vectors,
# there is a matrix A with y = A x, and its backward is dx = Aᵀ dy. A **transposed
# convolution** takes that backward pass as a layer of its own. It turns a small image
# into a large one, y = Aᵀ x = col2im(Wᵀ x). Every input pixel adds a patch to the
# output: the kernel times the pixel's value. Networks that draw images use it to
# enlarge.
#
# So the two layers are one pair with forward and backward exchanged:
#
#     Conv2d             y  = W im2col(x)
#                        dx = col2im(Wᵀ dy)
#                        dW = dy im2col(x)ᵀ
#
#     ConvTranspose2d    y  = col2im(Wᵀ x)
#                        dx = W im2col(dy)
#                        dW = x im2col(dy)ᵀ
#
# Aᵀ is called the *adjoint* of A. One equation defines it, for all large images u and
# all small images v, where ⟨a, b⟩ is the sum of all a · b:
#
#     ⟨A u, v⟩ = ⟨u, Aᵀ v⟩
#
# dx and dW of ConvTranspose2d follow from it, because im2col and col2im are adjoint
# too: one copies pixels, the other adds each copy to its pixel. Hold dy fixed, and
# write G = im2col(dy). Then
#
#     ⟨y, dy⟩ = ⟨col2im(Wᵀ x), dy⟩ = ⟨Wᵀ x, G⟩ = ⟨x, W G⟩ = ⟨W, x Gᵀ⟩
#
# The last three are the same sum, of all Wᵣₖ xᵣₙ Gₖₙ. The fourth form says how it
# changes with x: dx = W G. The fifth says how it changes with W: dW = x Gᵀ.
#
# If ConvTranspose2d is the adjoint of Conv2d with the same weights, then the two sides
# agree for random u and v.

# %%
heading("4. Transposed convolution")
down = Conv2d(2, 6, 3, stride=2, dtype="float64", seed=rng)  # weight (6, 2, 3, 3)
up = ConvTranspose2d(6, 2, 3, stride=2, dtype="float64")  # weight (6, 2, 3, 3) too
up.weight.data = down.weight.data
down.bias.data = np.zeros(6)  # a bias is not linear
up.bias.data = np.zeros(2)

u = rng.standard_normal((2, 11, 9, 7))
v = rng.standard_normal((6, 5, 4, 7))
first = np.sum(down.forward(u) * v)
second = np.sum(u * up.forward(v))
print(f"<Conv2d(u), v>          = {first:.12f}")
print(f"<u, ConvTranspose2d(v)> = {second:.12f}")
assert abs(first - second) < 1e-10

assert np.allclose(down.backward(v), up.forward(v), 1e-7, 1e-12)
assert np.allclose(up.backward(u), down.forward(u), 1e-7, 1e-12)
print("The backward of each layer is the forward of the other.")

errors = check_layer(up, (6, 5, 4, 7))
assert max(errors.values()) < 1e-8
print("ConvTranspose2d's gradients agree with measured slopes.")

# %% [markdown]
# This example is small enough to follow by hand. With stride 2 the patches start two
# pixels apart, and they are three wide. So the output is (3 − 1) · 2 + 3 = 7 pixels
# wide, and neighbouring patches share a row or a column. White pixels belong to one
# patch, light blue ones to two, blue ones to four. Look at the 10 in row 3, column 3:
# it is 1 · 1 + 2 · 2 + 4 · 0 + 5 · 1, where the corners of four patches meet.
# *Transposed* does not mean *inverse*: the layer restores the size of the large image,
# not its contents.

# %%


def enlarge(small, kernel):
    """Return what a ConvTranspose2d with stride 2 makes of an image (height, width)."""
    up = ConvTranspose2d(1, 1, len(kernel), stride=2, dtype="float64")
    up.weight.data = kernel[None, None]
    up.bias.data = np.zeros(1)
    return up.forward(small[None, :, :, None]).squeeze()


kernel = np.array([[1.0, 2, 0], [0, 3, 1], [2, 0, 1]])
small = np.arange(1.0, 10).reshape(3, 3)
count = enlarge(np.ones((3, 3)), np.ones((3, 3)))
figure, axis = plt.subplots(figsize=(9, 4.2))
draw(axis, small, "input", 0, 2)
draw(axis, kernel, "kernel", 4, 2, -2)
draw(axis, enlarge(small, kernel), "output", 8, 0, count - 1)
alt = "The output is 7 x 7; neighbouring patches share a row or a column of pixels."
write_figure(figure, args, "04_transposed", alt=alt)

# %% [markdown]
# The shared pixels are a weakness of this layer. Take a *constant* image, in which all
# pixels are 1, and a kernel of ones. Each output pixel is then the number of patches
# that it lies in. With stride 2 and kernel 3 this is 1, 2 or 4 in turn, so the output
# is a *checkerboard*. If the stride divides the kernel, as with kernels 2 and 4, all
# pixels inside lie in the same number of patches (Odena et al. 2016, "Deconvolution and
# checkerboard artifacts", Distill).

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.6))
for k, axis in enumerate(axes, start=2):
    count = enlarge(np.ones((5, 5)), np.ones((k, k)))
    draw(axis, count, f"kernel {k}", shade=count - 1)
alt = "A pixel is in 1, 2 or 4 patches with kernel 3, in 1 with 2, inside in 4 with 4."
write_figure(figure, args, "04_checkerboard", alt=alt)

# %% [markdown]
# A network can learn to avoid this, but with kernel 3 only by special weights (exercise
# 6). The autoencoder of lesson 1 has kernel 3 and stride 2, as in the report that it
# rebuilds. There you see the checkerboard in what the decoder draws after one epoch.
#
# ## 5. Stride, padding, output_padding: arithmetic of sizes
#
# Height and width work alike, so one axis is enough. The large image has `large` pixels
# along it, the small image has `small`, and the kernel has k. The kernel moves s pixels
# at a time, as long as it fits:
#
#     Conv2d              small = (large + 2p − k) // s + 1
#
# A stride of 2 roughly halves the size. Without padding, the image shrinks a little
# more with each layer, and pixels at its edge are in fewer patches.
#
# The division drops a remainder. With kernel 3, stride 2 and padding 1, images of 7 and
# of 8 pixels both shrink to 4. Going back from 4, which one is meant? **output_padding
# decides.** It is the dropped remainder, (large + 2p − k) mod s:
#
#     ConvTranspose2d     large = (small − 1) s − 2p + k + output_padding
#
# Below, dots are padding, and each line of # is a position of the kernel. The
# transposed layer starts from the positions: each adds a patch of three pixels, and
# what falls on a dot is cut off. With 8 pixels the end of the last patch is kept.

# %%
heading("5. Sizes")


def draw_axis(large, padding):
    """Draw one axis of `large` pixels, and the positions of the kernel below it."""
    small = conv_size(large, 3, 2, padding)
    dots = ["."] * padding
    print(*dots, *range(large), *dots)
    for position in range(small):
        print("    " * position + "# # #")
    output_padding = (large + 2 * padding - 3) % 2
    back = transposed_size(small, 3, 2, padding, output_padding)
    print(f"{large} -> {small} -> {back} with output_padding {output_padding}\n")
    assert back == large


draw_axis(7, padding=0)
draw_axis(7, padding=1)
draw_axis(8, padding=1)

# %% [markdown]
# Lesson 1's autoencoder uses these numbers. Its encoder shrinks 28 pixels to 14 and 14
# to 7, with kernel 3, stride 2 and padding 1. Both leave the remainder 1, so the
# decoder has output_padding 1 there.
#
# You can now read `patches.py` and `convolution.py` in the folder `tinyae`.
#
# ## On your own
#
# 1. In `col2im_simple` write `=` in place of `+=`. Which assertion fails? Then set the
#    stride s to 4 as well.
# 2. Measure the time of the six loops, of `np.einsum("ok,kp->op", W, cols)`, which runs
#    the same loops in compiled code, and of `W @ cols`. Divide by the number of
#    multiplications, `W.size * cols.shape[1]`.
# 3. A convolution with a 1 × 1 kernel is a Linear layer at each pixel. Show it: give a
#    `Linear(7, 8)` the weight and bias of a `Conv2d(7, 8, 1)`, both with
#    `dtype="float64"`. Compare the Conv2d on x with the Linear on `x.reshape(7, -1)`.
# 4. By hand: a Conv2d with kernel 4, stride 3 and padding 1 shrinks 28 pixels. To how
#    many? Which output_padding returns 28?
# 5. Write a layer MaxPool2d: y is the largest value in each block of 2 × 2 pixels.
#    Which pixel gets the gradient? Put the layer into a file `my_maxpool.py` with the
#    line `CHECKS = [(MaxPool2d(), (3, 4, 6, 5))]` and run
#    `python -m tinyae.gradcheck my_maxpool.py`. Then let each of the four pixels get
#    dy / 4.
# 6. Find a kernel of 3 × 3, not all zeros, with which `enlarge` turns a constant image
#    into a constant one, but for the edge. Then take kernels of 2, 3 and 4 with random
#    weights between 0.5 and 1. By how much do the inner pixels vary?
#
# ### Answers
#
# 1. The comparison of dx fails; dW does not use col2im. With s = 4 everything passes,
#    because patches of 3 × 4 pixels then do not overlap.
# 2. On one core of an AMD EPYC (Zen 4) 800 nanoseconds (each turn multiplies an array
#    of 2 numbers), 0.32, and 0.064.
# 3. y, dx and dW agree to rounding.
# 4. To 9, and output_padding 2.
# 5. The largest pixel gets all of dy. The check says ok, with an error near 1e-12. With
#    dy / 4 it fails with 0.75: that is the backward of the mean of a block.
# 6. For example [[1, 2, 1], [2, 4, 2], [1, 2, 1]]: every inner pixel is 4. The centre
#    must equal the sum of left and right, of top and bottom, and of the four corners.
#    With random weights the standard deviation, divided by the mean, is 16%, 49% and 8%
#    for kernels 2, 3 and 4 (averages of 2,000 kernels). Kernels 2 and 4 need only equal
#    weights to be even.
