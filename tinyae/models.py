"""Layers put together: Sequential, and Anello's autoencoder."""

from collections import UserDict

import numpy as np

from . import checks
from .backend import namespace
from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layer import Layer
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten


class Sequential(Layer):
    """Layers one after the other.

    forward runs them in order and backward in reverse order, which is the chain rule.
    Pass the layers one by one, and they are named "0", "1", ...; or pass one dict
    {name: layer}. Raises TypeError if one is no Layer, ValueError if there is none, if
    one appears twice, or if a name is not a string, is empty or contains a dot.
    """

    def __init__(self, *layers):
        if len(layers) == 1 and isinstance(layers[0], dict):
            (layers,) = layers
        else:
            layers = {str(number): layer for number, layer in enumerate(layers)}
        # not a dict, because children() refuses a dict of layers
        self.layers = UserDict(checks.layers(layers, Layer))
        self.named_parameters()  # raises if a layer appears twice

    def __getitem__(self, key):
        """Return a layer by its name; layers passed one by one are numbered."""
        return self.layers[str(key)]

    def children(self):
        return [*self.layers.items(), *super().children()]

    def forward(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dy, input_grad=True):
        """Return dL/dx; None with input_grad=False, which saves work."""
        first, *rest = self.layers.values()
        for layer in reversed(rest):
            dy = layer.backward(dy)
        dx = first.backward(dy, input_grad=input_grad)
        return dx if input_grad else None


def batch_last(x):
    """(N, ...) -> (..., N), a view."""
    return namespace(x).moveaxis(x, 0, -1)


def batch_first(x):
    """(..., N) -> (N, ...), a view."""
    return namespace(x).moveaxis(x, -1, 0)


IMAGES = ("N", 1, 28, 28)


class AnelloAutoencoder(Layer):
    """Anello's convolutional autoencoder (2022).

    An autoencoder is two networks: the encoder squeezes an image into a few numbers,
    its code, and the decoder rebuilds the image from the code.

    Takes and returns images (N, 1, 28, 28); the rebuilt ones lie in [0, 1]. Codes are
    (N, latent_dim). Inside, the batch is last. width: channels after the first
    convolution (Anello's: 8); the next two double them. seed: as for Linear.
    """

    def __init__(self, latent_dim=4, *, width=8, dtype="float32", seed=None):
        self.latent_dim = checks.integer("latent_dim", latent_dim)
        w = checks.integer("width", width)
        # one generator, so that each layer draws different numbers
        how = {"dtype": dtype, "seed": np.random.default_rng(seed)}
        upsample = {"stride": 2, "padding": 1, "output_padding": 1} | how
        self.encoder = Sequential(
            {
                "encoder_cnn": Sequential(  # 1 x 28 x 28; then, for a width of 8,
                    Conv2d(1, w, 3, stride=2, padding=1, **how),  # 8 x 14 x 14
                    ReLU(),
                    Conv2d(w, 2 * w, 3, stride=2, padding=1, **how),  # 16 x 7 x 7
                    BatchNorm2d(2 * w, dtype=dtype),
                    ReLU(),
                    Conv2d(2 * w, 4 * w, 3, stride=2, **how),  # 32 x 3 x 3
                    ReLU(),
                ),
                "flatten": Flatten(),
                "encoder_lin": Sequential(
                    Linear(36 * w, 128, **how),  # 288 -> 128
                    ReLU(),
                    Linear(128, latent_dim, **how),
                ),
            }
        )
        self.decoder = Sequential(
            {
                "decoder_lin": Sequential(
                    Linear(latent_dim, 128, **how),
                    ReLU(),
                    Linear(128, 36 * w, **how),  # 128 -> 288
                    ReLU(),
                ),
                "unflatten": Unflatten((4 * w, 3, 3)),
                "decoder_conv": Sequential(  # 32 x 3 x 3
                    ConvTranspose2d(4 * w, 2 * w, 3, stride=2, **how),  # 16 x 7 x 7
                    BatchNorm2d(2 * w, dtype=dtype),
                    ReLU(),
                    ConvTranspose2d(2 * w, w, 3, **upsample),  # 8 x 14 x 14
                    BatchNorm2d(w, dtype=dtype),
                    ReLU(),
                    ConvTranspose2d(w, 1, 3, **upsample),  # 1 x 28 x 28
                ),
                "sigmoid": Sigmoid(),
            }
        )

    def encode(self, x):
        """Images (N, 1, 28, 28) -> codes (N, latent_dim)."""
        checks.array("x", x, IMAGES)
        return batch_first(self.encoder.forward(batch_last(x)))

    def decode(self, codes):
        """Codes (N, latent_dim) -> images (N, 1, 28, 28) in [0, 1]."""
        checks.array("codes", codes, ("N", self.latent_dim))
        return batch_first(self.decoder.forward(batch_last(codes)))

    def forward(self, x):
        """Images (N, 1, 28, 28) -> their reconstructions, the same shape, in [0, 1]."""
        return self.decode(self.encode(x))

    def backward(self, dy, input_grad=True):
        """Return dL/dx (N, 1, 28, 28), or None with input_grad=False."""
        dcode = self.decoder.backward(batch_last(dy))
        dx = self.encoder.backward(dcode, input_grad)
        return batch_first(dx) if input_grad else None


CHECKS = [
    (AnelloAutoencoder(3, seed=1), (3, 1, 28, 28)),
]
