"""Layers put together: Sequential, and Anello's autoencoder."""

from . import checks
from .backend import namespace
from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layer import Layer, children_among
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
        checks.expect(layers, ValueError, "layers", "none", "at least one")
        for name, layer in layers.items():
            plain = isinstance(name, str) and name and "." not in name
            form = "a string without a dot"
            checks.expect(plain, ValueError, "layers", f"the name {name!r}", form)
            right = isinstance(layer, Layer)
            checks.expect(right, TypeError, f"layers[{name!r}]", repr(layer), "a Layer")
        self.layers = dict(layers)
        self.named_parameters()  # raises if a layer appears twice

    def __getitem__(self, key):
        """Return a layer by its number or its name."""
        return (
            self.layers[key] if isinstance(key, str) else [*self.layers.values()][key]
        )

    def children(self):
        others = {n: value for n, value in vars(self).items() if n != "layers"}
        return [*self.layers.items(), *children_among(others)]

    def forward(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dy, input_grad=True):
        """Return dL/dx; None with input_grad=False, which saves work."""
        first, *rest = self.layers.values()
        for layer in reversed(rest):
            dy = layer.backward(dy)
        dx = first.backward(dy) if input_grad else first.backward(dy, input_grad=False)
        return dx if input_grad else None


def batch_last(x):
    """(N, ...) -> (..., N), a view."""
    xp = namespace(x)
    return xp.permute_dims(x, (*range(1, len(x.shape)), 0))


def batch_first(x):
    """(..., N) -> (N, ...), a view."""
    xp = namespace(x)
    return xp.permute_dims(x, (len(x.shape) - 1, *range(len(x.shape) - 1)))


IMAGES = ("N", 1, 28, 28)


class AnelloAutoencoder(Layer):
    """Anello's convolutional autoencoder (2022).

    An autoencoder is two networks: the encoder squeezes an image into a few numbers,
    its code, and the decoder rebuilds the image from the code.

    Takes and returns images (N, 1, 28, 28); the rebuilt ones lie in (0, 1). Codes are
    (N, latent_dim). Inside, the batch is last. width: channels after the first
    convolution (Anello's: 8); the next two double them. seed: as for Linear.
    """

    def __init__(self, latent_dim=4, *, width=8, dtype="float32", seed=None):
        self.latent_dim = checks.integer("latent_dim", latent_dim, at_least=1)
        w = checks.integer("width", width, at_least=1)
        # one generator, so that each layer draws different numbers
        how = {"dtype": checks.dtype(dtype), "seed": checks.generator(seed)}
        encoder_cnn = Sequential(  # 1 x 28 x 28; then, for a width of 8,
            Conv2d(1, w, 3, stride=2, padding=1, **how),  # 8 x 14 x 14
            ReLU(),
            Conv2d(w, 2 * w, 3, stride=2, padding=1, **how),  # 16 x 7 x 7
            BatchNorm2d(2 * w, dtype=dtype),
            ReLU(),
            Conv2d(2 * w, 4 * w, 3, stride=2, padding=0, **how),  # 32 x 3 x 3
            ReLU(),
        )
        encoder_lin = Sequential(
            Linear(36 * w, 128, **how),  # 288 -> 128
            ReLU(),
            Linear(128, latent_dim, **how),
        )
        decoder_lin = Sequential(
            Linear(latent_dim, 128, **how),
            ReLU(),
            Linear(128, 36 * w, **how),  # 128 -> 288
            ReLU(),
        )
        upsample = {"stride": 2, "padding": 1, "output_padding": 1} | how
        decoder_conv = Sequential(  # 32 x 3 x 3
            ConvTranspose2d(4 * w, 2 * w, 3, stride=2, **how),  # 16 x 7 x 7
            BatchNorm2d(2 * w, dtype=dtype),
            ReLU(),
            ConvTranspose2d(2 * w, w, 3, **upsample),  # 8 x 14 x 14
            BatchNorm2d(w, dtype=dtype),
            ReLU(),
            ConvTranspose2d(w, 1, 3, **upsample),  # 1 x 28 x 28
        )
        self.encoder = Sequential(
            {
                "encoder_cnn": encoder_cnn,
                "flatten": Flatten(),
                "encoder_lin": encoder_lin,
            }
        )
        self.decoder = Sequential(
            {
                "decoder_lin": decoder_lin,
                "unflatten": Unflatten((4 * w, 3, 3)),
                "decoder_conv": decoder_conv,
                "sigmoid": Sigmoid(),
            }
        )

    def encode(self, x):
        """Images (N, 1, 28, 28) -> codes (N, latent_dim)."""
        checks.array("x", x, IMAGES)
        return batch_first(self.encoder.forward(batch_last(x)))

    def decode(self, codes):
        """Codes (N, latent_dim) -> images (N, 1, 28, 28) in (0, 1)."""
        checks.array("codes", codes, ("N", self.latent_dim))
        return batch_first(self.decoder.forward(batch_last(codes)))

    def forward(self, x):
        """Images (N, 1, 28, 28) -> their reconstructions, the same shape, in (0, 1)."""
        return self.decode(self.encode(x))

    def backward(self, dy, input_grad=True):
        """Return dL/dx (N, 1, 28, 28), or None with input_grad=False."""
        checks.array("dy", dy, IMAGES)
        dcode = self.decoder.backward(batch_last(dy))
        dx = self.encoder.backward(dcode, input_grad)
        return batch_first(dx) if input_grad else None


CHECKS = [
    (Sequential(Conv2d(3, 2, 3, seed=1), BatchNorm2d(2), ReLU()), (3, 4, 5, 6)),
    (AnelloAutoencoder(3, seed=1), (3, 1, 28, 28)),
]
