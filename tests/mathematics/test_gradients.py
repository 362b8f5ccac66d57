"""Every backward against measured derivatives of its forward, on drawn configurations.

The bounds: 1e-8 where the output is linear in each tensor (or quadratic, the loss),
1e-6 where it is curved, 1e-5 through many layers.
"""

import numpy as np
import pytest
from cases import arrays, convolutions, distinct, seeds, transposed_convolutions
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinyae
from tinyae.gradcheck import check_layer
from tinyae.layer import Layer

EXACT, CURVED, DEEP = 1e-8, 1e-6, 1e-5


def right(layer, shape, seed, bound, entries=20, **options):
    errors = check_layer(layer, shape, seed, entries=entries, **options)
    assert max(errors.values()) <= bound, errors


@given(convolutions())
def test_conv2d(case):
    arguments, shape, seed = case
    right(tinyae.Conv2d(*arguments, seed=seed), shape, seed, EXACT)


@given(transposed_convolutions())
def test_conv_transpose2d(case):
    arguments, shape, seed = case
    right(tinyae.ConvTranspose2d(*arguments, seed=seed), shape, seed, EXACT)


@given(distinct(4, high=6), seeds, st.sampled_from([1e-5, 0.1]))
def test_batch_norm(shape, seed, eps):
    assume(np.prod(shape[1:]) >= 4)
    layer = tinyae.BatchNorm2d(shape[0], eps)
    right(layer, shape, seed, CURVED)
    layer.running_var.data = layer.running_var.data + 1  # check_layer leaves 1
    right(layer.eval(), shape, seed, CURVED)


class Loss(Layer):
    """MSELoss as a layer: the target is fixed."""

    def __init__(self, target):
        self.loss, self.target = tinyae.MSELoss(), target

    def forward(self, x):
        return self.loss.forward(x, self.target)

    def backward(self, dy, input_grad=True):
        return dy * self.loss.backward()


@given(distinct(4, high=5), seeds)
def test_small_layers(shape, seed):
    *size, N = shape
    flat = int(np.prod(size)), N
    right(tinyae.Linear(*shape[:2], seed=seed), (shape[0], N), seed, EXACT)
    right(Loss(*arrays(seed + 1, shape)), shape, seed, EXACT)
    right(tinyae.Unflatten(size), flat, seed, EXACT)
    for layer in (tinyae.Flatten(), tinyae.ReLU(), tinyae.Sigmoid()):
        right(layer, shape, seed, CURVED)


@settings(max_examples=max(4, settings.default.max_examples // 10))
@given(distinct(3, 2, 5), st.booleans(), seeds)
def test_autoencoder(sizes, training, seed):
    latent, width, N = sizes
    model = tinyae.AnelloAutoencoder(latent, width=width, seed=seed).train(training)
    options = {"step": 3e-6, "entries": 2}
    try:
        right(model, (N, 1, 28, 28), seed, DEEP, **options)
    except ValueError as error:  # of thousands of ReLUs, some are at a kink
        assume("forward is not smooth" not in str(error))
        raise


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_inputs_of_any_size(scale):
    (x,) = arrays(1, (2, 4, 5, 3))
    layers = tinyae.Conv2d(2, 3, 3, seed=1), tinyae.BatchNorm2d(2), tinyae.ReLU()
    for layer in layers:
        right(layer, x * scale, 1, CURVED)
