"""Anello's autoencoder: names, initial values, halves, and two epochs of training."""

import numpy as np
import pytest
from cases import arrays

from tinyae import AnelloAutoencoder, Conv2d, ConvTranspose2d, Linear
from tinyae.experiment import Experiment
from tinyae.layer import Layer
from tinyae.training import Training

NAMES = """
encoder.encoder_cnn.0.weight encoder.encoder_cnn.0.bias
encoder.encoder_cnn.2.weight encoder.encoder_cnn.2.bias
encoder.encoder_cnn.3.weight encoder.encoder_cnn.3.bias
encoder.encoder_cnn.3.running_mean encoder.encoder_cnn.3.running_var
encoder.encoder_cnn.5.weight encoder.encoder_cnn.5.bias
encoder.encoder_lin.0.weight encoder.encoder_lin.0.bias
encoder.encoder_lin.2.weight encoder.encoder_lin.2.bias
decoder.decoder_lin.0.weight decoder.decoder_lin.0.bias
decoder.decoder_lin.2.weight decoder.decoder_lin.2.bias
decoder.decoder_conv.0.weight decoder.decoder_conv.0.bias
decoder.decoder_conv.1.weight decoder.decoder_conv.1.bias
decoder.decoder_conv.1.running_mean decoder.decoder_conv.1.running_var
decoder.decoder_conv.3.weight decoder.decoder_conv.3.bias
decoder.decoder_conv.4.weight decoder.decoder_conv.4.bias
decoder.decoder_conv.4.running_mean decoder.decoder_conv.4.running_var
decoder.decoder_conv.6.weight decoder.decoder_conv.6.bias
"""


def test_the_names_are_those_of_anellos_pytorch_model_in_order():
    model = AnelloAutoencoder(seed=1)
    assert list(model.state_dict()) == NAMES.split()
    assert len(model.parameters()) == 26


def test_the_autoencoder_is_its_two_halves():
    model = AnelloAutoencoder(3, width=2, seed=1).eval()
    (x,) = arrays(1, (5, 1, 28, 28), dtype="float32")
    codes, y = model.encode(x), model.forward(x)
    assert (codes.shape, y.shape) == ((5, 3), x.shape)
    np.testing.assert_array_equal(model.decode(codes), y)
    assert 0 < y.min() < y.max() < 1
    np.testing.assert_allclose(model.encode(x[2:3]), codes[2:3], atol=1e-5)


@pytest.mark.parametrize(
    "kind, arguments, fan_in",
    [
        (Linear, (50, 40), 50),
        (Conv2d, (7, 40, (3, 5)), 7 * 3 * 5),
        (ConvTranspose2d, (40, 7, (3, 5)), 7 * 3 * 5),
    ],
)
def test_initial_values(kind, arguments, fan_in):
    """Uniform in +-1/√fan_in; a seed repeats them; no global state moves."""
    bound = fan_in**-0.5
    before = str(np.random.get_state())
    layers = [kind(*arguments, seed=seed) for seed in range(100)]
    assert str(np.random.get_state()) == before
    weight = layers[3].weight.data
    biases = np.concatenate([layer.bias.data for layer in layers])
    for values in (weight, biases):
        assert 0.98 * bound < values.max() <= bound
        assert -bound <= values.min() < -0.98 * bound
        assert values.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    rng = np.random.default_rng(3)
    assert (kind(*arguments, seed=rng).weight.data == weight).all()
    for seed in (rng, 4, None):  # rng continues where it was
        assert (kind(*arguments, seed=seed).weight.data != weight).all()


LOSSES = [[0.5951155871, 0.6013438702], [0.5923813223, 0.6002905369]]


class Double(Layer):
    """The autoencoder in float64, so that machines agree to many digits."""

    def __init__(self, seed):
        self.inner = AnelloAutoencoder(3, width=2, dtype="float64", seed=seed)

    def forward(self, x):
        return self.inner.forward(x.astype("float64")).astype("float32")

    def backward(self, dy, input_grad=True):
        return self.inner.backward(dy.astype("float64"), input_grad)


def test_two_epochs_give_these_losses():
    """Of initial values, order, steps and averages, none has changed since 0.2.0."""
    images = np.random.default_rng(1).integers(0, 256, (24, 28, 28), dtype="uint8")
    training = Training(Experiment(Double, epochs=2, batch_size=7, lr_decay=0.5))
    history = training.run(images[:20], images[20:]).history
    np.testing.assert_allclose(history, LOSSES, rtol=1e-6)
