"""Layers put together: Sequential, and Anello's autoencoder."""

from . import checks
from .backend import namespace
from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layer import Layer
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten


class Sequential(Layer):
    """Layers one after the other: forward goes through them, backward through them in reverse. That is the chain rule.
    Give the layers one by one, and they are named "0", "1", ...; or one dict {name: layer}, in order.
    """

    def __init__(self, *layers):
        named = (
            layers[0]
            if len(layers) == 1 and isinstance(layers[0], dict)
            else dict(enumerate(layers))
        )
        self.layers = checks.layers(
            {str(name): layer for name, layer in named.items()}, Layer
        )

    def children(self):
        return list(self.layers.items())

    def forward(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dy, input_grad=True):
        """dL/dx; or with input_grad=False None, which spares the first layer that work: nothing lies before it."""
        first, *rest = self.layers.values()
        for layer in reversed(rest):
            dy = layer.backward(dy)
        dx = first.backward(dy) if input_grad else first.backward(dy, input_grad=False)
        return dx if input_grad else None


def batch_last(x):
    """(N, ...) -> (..., N), a view."""
    return namespace(x).permute_dims(x, (*range(1, len(x.shape)), 0))


def batch_first(x):
    """(..., N) -> (N, ...), a view."""
    return namespace(x).permute_dims(x, (len(x.shape) - 1, *range(len(x.shape) - 1)))


class AnelloAutoencoder(Layer):
    """Anello's convolutional autoencoder (2022): an image squeezed into latent_dim numbers, its code, and rebuilt.

    Takes and gives images (N, 1, 28, 28), the rebuilt ones in (0, 1); codes are (N, latent_dim). Inside, the batch is
    last. width: channels after the first convolution; the next two double them (Anello's: 8). seed: as Linear's.
    """

    def __init__(self, latent_dim=4, *, width=8, dtype="float32", seed=None):
        self.latent_dim, w = (
            checks.integer("latent_dim", latent_dim, 1),
            checks.integer("width", width, 1),
        )
        how = {
            "dtype": checks.dtype(dtype),
            "seed": checks.generator(seed),
        }  # one generator, used in order
        self.encoder = Sequential(
            {
                "encoder_cnn": Sequential(  # 1 x 28 x 28, then for a width of 8
                    Conv2d(1, w, 3, stride=2, padding=1, **how),
                    ReLU(),  # 8 x 14 x 14
                    Conv2d(w, 2 * w, 3, stride=2, padding=1, **how),  # 16 x 7 x 7
                    BatchNorm2d(2 * w, dtype=dtype),
                    ReLU(),
                    Conv2d(2 * w, 4 * w, 3, stride=2, padding=0, **how),
                    ReLU(),
                ),  # 32 x 3 x 3
                "flatten": Flatten(),  # 288
                "encoder_lin": Sequential(
                    Linear(36 * w, 128, **how), ReLU(), Linear(128, latent_dim, **how)
                ),
            }
        )
        self.decoder = Sequential(
            {
                "decoder_lin": Sequential(
                    Linear(latent_dim, 128, **how),
                    ReLU(),
                    Linear(128, 36 * w, **how),
                    ReLU(),
                ),
                "unflatten": Unflatten((4 * w, 3, 3)),  # 32 x 3 x 3
                "decoder_conv": Sequential(
                    ConvTranspose2d(4 * w, 2 * w, 3, stride=2, **how),  # 16 x 7 x 7
                    BatchNorm2d(2 * w, dtype=dtype),
                    ReLU(),
                    ConvTranspose2d(
                        2 * w, w, 3, stride=2, padding=1, output_padding=1, **how
                    ),  # 8 x 14 x 14
                    BatchNorm2d(w, dtype=dtype),
                    ReLU(),
                    ConvTranspose2d(
                        w, 1, 3, stride=2, padding=1, output_padding=1, **how
                    ),
                ),  # 1 x 28 x 28
                "sigmoid": Sigmoid(),
            }
        )

    def encode(self, x):
        """Images (N, 1, 28, 28) -> codes (N, latent_dim)."""
        checks.array("x", x, {"N": None, "channel": 1, "height": 28, "width": 28})
        return batch_first(self.encoder.forward(batch_last(x)))

    def decode(self, codes):
        """Codes (N, latent_dim) -> images (N, 1, 28, 28) in (0, 1)."""
        checks.array("codes", codes, {"N": None, "latent_dim": self.latent_dim})
        return batch_first(self.decoder.forward(batch_last(codes)))

    def forward(self, x):
        """Images (N, 1, 28, 28) -> their reconstructions, the same shape, in (0, 1)."""
        return self.decode(self.encode(x))

    def backward(self, dy, input_grad=True):
        """dL/dx (N, 1, 28, 28) from dy = dL/d(reconstructions); with input_grad=False None, and less work."""
        checks.array("dy", dy, {"N": None, "channel": 1, "height": 28, "width": 28})
        dx = self.encoder.backward(self.decoder.backward(batch_last(dy)), input_grad)
        return batch_first(dx) if input_grad else None
