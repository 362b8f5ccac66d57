"""tinyae: a convolutional autoencoder from scratch, in NumPy."""

from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten
from .losses import MSELoss
from .models import AnelloAutoencoder, Sequential
from .optim import Adam

__all__ = ["Linear", "Conv2d", "ConvTranspose2d", "BatchNorm2d", "ReLU", "Sigmoid", "Flatten", "Unflatten",
           "Sequential", "MSELoss", "Adam", "AnelloAutoencoder"]
