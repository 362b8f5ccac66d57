"""tinyae: a convolutional autoencoder from scratch, in NumPy, to be read in an evening. In this order:

    layer.py         what a layer is: forward keeps, backward multiplies
    layers.py        Linear, ReLU, Sigmoid: the rules that all derivatives here come from
    patches.py       an image's patches as columns, and back: all the index arithmetic
    convolution.py   Conv2d and ConvTranspose2d: the same three products, forward and backward exchanged
    batchnorm.py     BatchNorm2d, and its backward derived
    losses.py        what is to become small
    optim.py         Adam: what to do with a gradient
    models.py        layers put together: Sequential, and Anello's autoencoder
    backend.py       how one source runs on NumPy and on CuPy
    gradcheck.py     how to know that a backward is right

The rest is carrying out: training.py (the loop), group.py (a batch shared by processes), checkpoint.py (nothing is
lost), diagnosis.py (where a training went wrong), checks.py (what is said to a wrong argument). Only NumPy is imported.
"""

from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten
from .losses import MSELoss
from .models import AnelloAutoencoder, Sequential
from .optim import Adam

__all__ = [
    "Linear",
    "Conv2d",
    "ConvTranspose2d",
    "BatchNorm2d",
    "ReLU",
    "Sigmoid",
    "Flatten",
    "Unflatten",
    "Sequential",
    "MSELoss",
    "Adam",
    "AnelloAutoencoder",
]
