"""tinyae: a convolutional autoencoder from scratch, in NumPy.

Read the files in this order:

    layer.py         what a layer is: forward and backward, parameters, their names
    layers.py        Linear, ReLU, Sigmoid: the two rules behind every derivative
    patches.py       im2col and col2im: an image's patches as columns, and back
    convolution.py   Conv2d and ConvTranspose2d: one symmetry, three products
    batchnorm.py     BatchNorm2d, and its backward in closed form
    losses.py        the mean squared error loss
    optim.py         gradient descent, momentum, Adam: how a gradient becomes a step
    models.py        Sequential, and Anello's autoencoder
    backend.py       how one source runs on NumPy and on CuPy
    gradcheck.py     how to know that a backward is right

The other files run experiments: experiment.py (settings and batches), training.py (the
loop), checkpoint.py (save and resume), diagnosis.py (where a training diverged),
checks.py (errors for wrong arguments). NumPy is the only dependency.
"""

from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten
from .losses import MSELoss
from .models import AnelloAutoencoder, Sequential
from .optim import SGD, Adam

__all__ = [
    "Adam",
    "AnelloAutoencoder",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Flatten",
    "Linear",
    "MSELoss",
    "ReLU",
    "SGD",
    "Sequential",
    "Sigmoid",
    "Unflatten",
]
