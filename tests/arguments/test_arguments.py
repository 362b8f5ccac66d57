"""Wrong calls: each error names the argument, what was given and what was expected."""

from contextlib import contextmanager
from functools import partial

import backends  # noqa: F401 -- registers "strict" and "counted"
import numpy as np
import pytest

from data_tools.corruptions import GaussianNoise
from tinyae import (
    Adam,
    AnelloAutoencoder,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    Unflatten,
)
from tinyae.backend import get_backend, namespace, zeros
from tinyae.experiment import Experiment
from tinyae.layer import Parameter
from tinyae.training import Training


@contextmanager
def wrong(start):
    """Expect an error that starts like this, its type included."""
    with pytest.raises((TypeError, ValueError)) as caught:
        yield
    assert f"{caught.typename}: {caught.value}".startswith(start)


NAN, INF = float("nan"), float("inf")


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def strict(*shape):
    return get_backend("strict")[0].from_numpy(ones(*shape))


def ran(layer, *shape):
    """Return the layer after a forward, ready for backward."""
    layer.forward(ones(*shape))
    return layer


def load(**changes):
    state = {"weight": ones(3, 2), "bias": ones(3)} | changes
    Linear(2, 3).load_state_dict({n: a for n, a in state.items() if a is not None})


def step(**gradients):
    """Adam's first step, with gradients that a layer of one's own may have stored."""
    layer = ran(Linear(2, 3), 2, 4)
    layer.backward(ones(3, 4))
    for name, gradient in gradients.items():
        getattr(layer, name).grad = gradient
    Adam(layer.parameters()).step()


def step_on_both():
    """Adam's averages are on one backend, and then the model moves to another."""
    layer = Linear(2, 3)
    optimizer = Adam(layer.parameters())
    for name in ("numpy", "strict"):
        layer.to(name)
        x = get_backend(name)[0].from_numpy(ones(2, 4))
        layer.backward(layer.forward(x))
        optimizer.step()


def tied():
    """Two layers with one weight."""
    layers = Linear(2, 2), Linear(2, 2)
    layers[1].weight = layers[0].weight
    return layers


adam = partial(Adam, [Parameter(ones(3))])
image = ones(1, 4, 4, 2)
RELU = ReLU()
train = Training(Experiment()).run


def test_sizes_of_layers():
    with wrong("ValueError: in_features: got 0, expected an integer from 1"):
        Linear(0, 3)
    with wrong("TypeError: in_features: got 2.0, expected an integer"):
        Linear(2.0, 3)
    with wrong("TypeError: out_features: got True, expected an integer"):
        Linear(2, True)
    with wrong("ValueError: in_channels: got 0, expected an integer from 1"):
        Conv2d(0, 1, 3)
    with wrong("TypeError: out_channels: got '8', expected an integer"):
        Conv2d(1, "8", 3)
    with wrong("ValueError: out_channels: got 0, expected an integer from 1"):
        ConvTranspose2d(1, 0, 3)
    with wrong("ValueError: eps: got 0, expected a finite number > 0"):
        BatchNorm2d(2, eps=0)
    with wrong("ValueError: eps: got nan, expected a finite number > 0"):
        BatchNorm2d(2, eps=NAN)
    with wrong("ValueError: momentum: got 1.5, expected a finite number >= 0 and <= 1"):
        BatchNorm2d(2, momentum=1.5)
    with wrong("TypeError: momentum: got None, expected a number"):
        BatchNorm2d(2, momentum=None)
    with wrong("TypeError: unflattened_size: got 12, expected (C, H, W)"):
        Unflatten(12)
    with wrong("ValueError: unflattened_size: got (), expected (C, H, W)"):
        Unflatten(())
    with wrong("ValueError: unflattened_size: got 0, expected an integer from 1"):
        Unflatten((3, 0, 2))
    with wrong("ValueError: latent_dim: got 0, expected an integer from 1"):
        AnelloAutoencoder(0)
    with wrong("ValueError: width: got 0, expected an integer from 1"):
        AnelloAutoencoder(width=0)


def test_sizes_that_no_memory_holds():
    with wrong("ValueError: in_features: got 2147483648, expected an integer from 1"):
        Linear(2**31, 1)
    with wrong("ValueError: weight: got shape (131072, 131072), expected at most 2^"):
        Linear(2**17, 2**17)
    with wrong("ValueError: weight: got shape (4096, 4096, 32, 32), expected at most"):
        Conv2d(2**12, 2**12, 2**5)
    with wrong("ValueError: num_features: got 100000000000, expected an integer from"):
        BatchNorm2d(10**11)
    with wrong("ValueError: weight: got shape (2147483647, 128), expected at most 2^"):
        AnelloAutoencoder(2**31 - 1)
    with wrong("ValueError: weight: got shape (536870912, 1, 3, 3), expected at most"):
        AnelloAutoencoder(width=2**29)


def test_the_geometry_of_convolutions():
    with wrong("ValueError: kernel_size: got 0, expected an integer from 1"):
        Conv2d(1, 1, 0)
    with wrong("ValueError: kernel_size: got (3, 3, 3), expected an integer or a pair"):
        Conv2d(1, 1, (3, 3, 3))
    with wrong("TypeError: kernel_size: got 2.5, expected an integer"):
        Conv2d(1, 1, (3, 2.5))
    with wrong("TypeError: kernel_size: got '33', expected an integer"):
        Conv2d(1, 1, "33")
    with wrong("ValueError: stride: got 0, expected an integer from 1"):
        Conv2d(1, 1, 3, stride=0)
    with wrong("ValueError: padding: got -1, expected an integer from 0"):
        Conv2d(1, 1, 3, padding=-1)
    with wrong("ValueError: padding: got -2, expected an integer from 0"):
        Conv2d(1, 1, 3, padding=(0, -2))
    with wrong("ValueError: output_padding: got (2, 2), expected less than the stride"):
        ConvTranspose2d(1, 1, 3, 2, output_padding=2)
    with wrong("ValueError: output_padding: got (1, 1), expected less than the stride"):
        ConvTranspose2d(1, 1, 3, (3, 1), output_padding=1)
    with wrong("ValueError: output_padding: got -1, expected an integer from 0"):
        ConvTranspose2d(1, 1, 3, output_padding=-1)
    with wrong("ValueError: kernel_size: got 4, expected at most 3: 3 pixels + 2 * pa"):
        Conv2d(1, 1, 4)(ones(1, 3, 9, 2))
    with wrong("ValueError: kernel_size: got 6, expected at most 5: 3 pixels + 2 * pa"):
        Conv2d(1, 1, 6, padding=1)(ones(1, 9, 3, 2))
    with wrong("ValueError: padding: got 2, expected less: an output of 0 pixels woul"):
        ConvTranspose2d(1, 1, (1, 2), padding=(0, 2))(ones(1, 2, 3, 2))


def test_dtypes_and_seeds():
    with wrong("ValueError: dtype: got 'float16', expected 'float32' or 'float64'"):
        Linear(2, 3, dtype="float16")
    with wrong("ValueError: dtype: got None, expected 'float32' or 'float64'"):
        BatchNorm2d(2, dtype=None)
    with wrong("ValueError: dtype: got 'double', expected 'float32' or 'float64'"):
        AnelloAutoencoder(dtype="double")
    with wrong("ValueError: seed: got -1, expected an integer from 0"):
        Linear(2, 3, seed=-1)
    with wrong("TypeError: seed: got 1.0, expected an integer"):
        Conv2d(1, 1, 3, seed=1.0)
    with wrong("TypeError: seed: got RandomState(MT19937)"):
        AnelloAutoencoder(seed=np.random.RandomState(1))


def test_what_forward_is_given():
    with wrong("TypeError: x: got list, expected a plain array"):
        Linear(2, 3)([[1.0, 2.0]])
    with wrong("TypeError: x: got float, expected a plain array"):
        Linear(2, 3)(1.0)
    with wrong("TypeError: x: got list, expected a plain array"):
        ReLU()([1.0, 2.0])
    with wrong("TypeError: x: got NoneType, expected a plain array"):
        Sigmoid()(None)
    with wrong("TypeError: x: got list, expected a plain array"):
        Flatten()([[[[1.0]]]])
    with wrong("TypeError: x: got matrix, expected a plain array"):
        Linear(2, 3)(ones(2, 4).view(np.matrix))
    with wrong("TypeError: x: got MaskedArray, expected a plain array"):
        Sigmoid()(ones(2, 4).view(np.ma.MaskedArray))
    with wrong("TypeError: x: got memmap, expected a plain array"):
        ReLU()(ones(2, 4).view(np.memmap))
    with wrong("ValueError: x: got shape (2,), expected (2, N)"):
        Linear(2, 3)(ones(2))
    with wrong("ValueError: x: got shape (4, 2), expected (2, N)"):
        Linear(2, 3)(ones(4, 2))
    with wrong("ValueError: x: got shape (2, 0), expected (2, N), no axis empty"):
        Linear(2, 3)(ones(2, 0))
    with wrong("ValueError: x: got shape (3, 5, 5), expected (3, H, W, N)"):
        Conv2d(3, 1, 2)(ones(3, 5, 5))
    with wrong("ValueError: x: got shape (2, 5, 5, 3), expected (3, H, W, N)"):
        Conv2d(3, 1, 2)(ones(2, 5, 5, 3))
    with wrong("ValueError: x: got shape (1, 5, 5, 3), expected (3, H, W, N)"):
        ConvTranspose2d(3, 1, 2)(ones(1, 5, 5, 3))
    with wrong("ValueError: x: got shape (3, 8), expected (3, H, W, N)"):
        BatchNorm2d(3)(ones(3, 8))
    with wrong("ValueError: x: got shape (3, 1, 1, 1), expected more than one value p"):
        BatchNorm2d(3)(ones(3, 1, 1, 1))
    with wrong("ValueError: x: got shape (3, 4), expected (C, H, W, N)"):
        Flatten()(ones(3, 4))
    with wrong("ValueError: x: got shape (23, 5), expected (24, N)"):
        Unflatten((2, 3, 4))(ones(23, 5))
    with wrong("ValueError: x: got shape (3, 0), expected (..., ...), no axis empty"):
        ReLU()(ones(3, 0))
    with wrong("TypeError: x: got dtype int64, expected float32"):
        Linear(2, 3)(ones(2, 4, dtype="int64"))
    with wrong("TypeError: x: got dtype uint8, expected float32"):
        Conv2d(1, 1, 2)(image.astype("uint8"))
    with wrong("TypeError: x: got dtype bool, expected float32 or float64"):
        Sigmoid()(ones(3, dtype="bool"))
    with wrong("TypeError: x: got dtype complex64, expected float32 or float64"):
        ReLU()(ones(3, dtype="complex64"))
    with wrong("TypeError: x: got dtype float64, expected float32"):
        Linear(2, 3)(ones(2, 4, dtype="float64"))
    with wrong("TypeError: x: got dtype float32, expected float64"):
        Linear(2, 3, dtype="float64")(ones(2, 4))
    with wrong("TypeError: x: got a strict array, expected a numpy array"):
        Linear(2, 3)(strict(2, 4))
    with wrong("TypeError: x: got a numpy array, expected a strict array"):
        Conv2d(1, 1, 2).to("strict")(image)


def test_what_backward_is_given():
    with wrong("ValueError: dy: got shape (3, 5), expected (3, 4)"):
        ran(Linear(2, 3), 2, 4).backward(ones(3, 5))
    with wrong("TypeError: dy: got list, expected a plain array"):
        ran(Linear(2, 3), 2, 4).backward([1.0])
    with wrong("TypeError: dy: got a strict array, expected a numpy array"):
        ran(Linear(2, 3), 2, 4).backward(strict(3, 4))
    with wrong("ValueError: dy: got shape (2, 4, 3, 3), expected (2, 3, 4, 3)"):
        ran(Conv2d(1, 2, 2), 1, 4, 5, 3).backward(ones(2, 4, 3, 3))
    with wrong("ValueError: dy: got shape (2, 6, 5, 3), expected (2, 5, 6, 3)"):
        ran(ConvTranspose2d(1, 2, 2), 1, 4, 5, 3).backward(ones(2, 6, 5, 3))
    with wrong("ValueError: dy: got shape (2, 3, 4, 6), expected (2, 3, 4, 5)"):
        ran(BatchNorm2d(2), 2, 3, 4, 5).backward(ones(2, 3, 4, 6))
    with wrong("TypeError: dy: got dtype float64, expected float32"):
        ran(BatchNorm2d(2), 2, 3, 4, 5).backward(np.ones((2, 3, 4, 5)))
    with wrong("ValueError: dy: got shape (3,), expected (3, 4)"):
        ran(Sigmoid(), 3, 4).backward(ones(3))
    with wrong("ValueError: dy: got shape (2, 3, 4, 5), expected (24, 5)"):
        ran(Flatten(), 2, 3, 4, 5).backward(ones(2, 3, 4, 5))
    with wrong("ValueError: dy: got shape (24, 5), expected (2, 3, 4, 5)"):
        ran(Unflatten((2, 3, 4)), 24, 5).backward(ones(24, 5))


def test_models():
    with wrong("ValueError: x: got shape (2, 3, 28, 28), expected (N, 1, 28, 28)"):
        AnelloAutoencoder()(ones(2, 3, 28, 28))
    with wrong("ValueError: x: got shape (2, 1, 32, 32), expected (N, 1, 28, 28)"):
        AnelloAutoencoder()(ones(2, 1, 32, 32))
    with wrong("ValueError: x: got shape (0, 1, 28, 28), expected (N, 1, 28, 28), no"):
        AnelloAutoencoder()(ones(0, 1, 28, 28))
    with wrong("TypeError: x: got dtype float64, expected float32"):
        AnelloAutoencoder()(ones(2, 1, 28, 28, dtype="float64"))
    with wrong("ValueError: codes: got shape (2, 5), expected (N, 4)"):
        AnelloAutoencoder(4).decode(ones(2, 5))
    with wrong("ValueError: dy: got shape (2, 28, 28), expected (N, 1, 28, 28)"):
        ran(AnelloAutoencoder(), 2, 1, 28, 28).backward(ones(2, 28, 28))
    with wrong("ValueError: backend: got 'tpu', expected one of 'auto'"):
        AnelloAutoencoder().to("tpu")
    with wrong("ValueError: layers: got none, expected at least one"):
        Sequential()
    with wrong("TypeError: layers: got <ufunc 'tanh'> at '1', expected a Layer"):
        Sequential(ReLU(), np.tanh)
    with wrong(
        "TypeError: layers: got <class 'tinyae.layers.ReLU'> at 'a', expected a Layer"
    ):
        Sequential({"a": ReLU})
    for name in (1, "a.b"):
        with wrong(
            f"ValueError: layers: got {name!r}, expected a string without a dot"
        ):
            Sequential({name: ReLU()})
    with wrong("ValueError: layers: got the same ReLU at '0' and '1', expected a new"):
        Sequential(RELU, RELU)
    with wrong(
        "ValueError: layers: got the same ReLU at '0.0' and '1.a', expected a new"
    ):
        Sequential(Sequential(RELU), Sequential({"a": RELU}))
    with wrong(
        "ValueError: layers: got the same Parameter at '0.weight' and '1.weight', "
        "expected a new one"
    ):
        Sequential(*tied())


def test_state_dict():
    with wrong(
        "ValueError: state: missing ['bias'], unknown to this Linear []; expected"
    ):
        load(bias=None)
    with wrong(
        "ValueError: state: missing [], unknown to this Linear ['gamma']; expected"
    ):
        load(gamma=ones(3))
    with wrong(
        "ValueError: state['weight']: got shape (2, 3) and dtype float32, "
        "expected floats of shape (3, 2)"
    ):
        load(weight=ones(2, 3))
    with wrong(
        "ValueError: state['weight']: got shape (3, 2) and dtype int64, "
        "expected floats of shape (3, 2)"
    ):
        load(weight=ones(3, 2, dtype="int64"))
    with wrong("TypeError: state: got list, expected a dict {name: NumPy array}"):
        Linear(2, 3).load_state_dict([ones(3, 2), ones(3)])


def test_loss_and_optimiser():
    with wrong("TypeError: target: got list, expected a plain array"):
        MSELoss().forward(ones(3), [1.0] * 3)
    with wrong("ValueError: target: got shape (2, 3), expected (3, 2)"):
        MSELoss().forward(ones(3, 2), ones(2, 3))
    with wrong("TypeError: target: got dtype float64, expected float32"):
        MSELoss().forward(ones(3), ones(3, dtype="float64"))
    with wrong("TypeError: y: got dtype int32, expected float32 or float64"):
        MSELoss().forward(ones(3, dtype="int32"), ones(3))
    with wrong("TypeError: target: got a strict array, expected a numpy array"):
        MSELoss().forward(ones(3), strict(3))
    with wrong("ValueError: y: got shape (0,), expected (...), no axis empty"):
        MSELoss().forward(ones(0), ones(0))
    with wrong("ValueError: parameters: got none, expected a layer's parameters()"):
        Adam([])
    with wrong(
        "TypeError: parameters: got Linear(in_features=2, out_features=3), "
        "expected a layer's parameters()"
    ):
        Adam(Linear(2, 3))
    with wrong(
        "TypeError: parameters: got array([1., 1., 1.], dtype=float32), "
        "expected a layer's parameters()"
    ):
        Adam([ones(3)])
    with wrong("TypeError: parameters: got dtype float64, expected float32"):
        Adam([Parameter(ones(3)), Parameter(np.ones(3))])
    with wrong("TypeError: parameters: got a strict array, expected a numpy array"):
        Adam([Parameter(ones(3)), Parameter(strict(3))])
    with wrong(
        "ValueError: parameters: got the same Parameter at 0 and 1, expected a new"
    ):
        Adam([Parameter(ones(3))] * 2)
    with wrong("ValueError: lr: got -0.001, expected a finite number >= 0"):
        adam(lr=-1e-3)
    with wrong("ValueError: lr: got nan, expected a finite number >= 0"):
        adam(lr=NAN)
    with wrong("TypeError: lr: got '1e-3', expected a number"):
        adam(lr="1e-3")
    with wrong("ValueError: eps: got nan, expected a finite number >= 0"):
        adam(eps=NAN)
    with wrong("ValueError: eps: got -1, expected a finite number >= 0"):
        adam(eps=-1)
    with wrong("ValueError: weight_decay: got -1e-05, expected a finite number >= 0"):
        adam(weight_decay=-1e-5)
    with wrong("ValueError: betas: got 1.0, expected a finite number >= 0 and < 1"):
        adam(betas=(0.9, 1.0))
    with wrong("ValueError: betas: got nan, expected a finite number >= 0 and < 1"):
        adam(betas=(NAN, 0.999))
    with wrong("TypeError: betas: got 0.9, expected (beta1, beta2)"):
        adam(betas=0.9)
    with wrong("ValueError: betas: got (0.9,), expected (beta1, beta2)"):
        adam(betas=(0.9,))
    with wrong(
        "ValueError: parameters[0].grad (parameter of shape (3, 2)): got shape (2, 3), "
        "expected (3, 2)"
    ):
        step(weight=ones(2, 3))
    with wrong(
        "TypeError: parameters[1].grad (parameter of shape (3,)): got dtype float64, "
        "expected float32"
    ):
        step(bias=np.ones(3))
    with wrong(
        "TypeError: parameters[1].grad (parameter of shape (3,)): got list, "
        "expected a plain array"
    ):
        step(bias=[0.0] * 3)
    with wrong("TypeError: the averages of Adam: got a numpy array, expected a strict"):
        step_on_both()


def test_experiments_and_corruptions():
    with wrong("TypeError: epochs: got 1.5, expected an integer"):
        Experiment(epochs=1.5)
    with wrong("ValueError: epochs: got 1000000000000, expected an integer from 1"):
        Experiment(epochs=10**12)
    with wrong("ValueError: batch_size: got 0, expected an integer from 1"):
        Experiment(batch_size=0)
    with wrong("TypeError: model: got AnelloAutoencoder("):
        Experiment(model=AnelloAutoencoder())
    with wrong("TypeError: model: got 4, expected a function (seed=...) that returns"):
        Experiment(model=4)
    with wrong("ValueError: seed: got -1, expected an integer from 0"):
        Experiment(seed=-1)
    with wrong("ValueError: lr: got nan, expected a finite number >= 0"):
        Experiment(lr=NAN)
    with wrong("ValueError: lr_decay: got 1.5, expected a finite number >= 0 and <= 1"):
        Experiment(lr_decay=1.5)
    with wrong("ValueError: weight_decay: got -1, expected a finite number >= 0"):
        Experiment(weight_decay=-1)
    with wrong("TypeError: corruption: got 0.1, expected None or a function (images,"):
        Experiment(corruption=0.1)
    with wrong("ValueError: pixel_range: got (1, 0), expected (low, high) with low <"):
        Experiment(pixel_range=(1, 0))
    with wrong("ValueError: pixel_range: got -inf, expected a finite number"):
        Experiment(pixel_range=(-INF, 0))
    with wrong("TypeError: train_images: got float32 (3, 28, 28), expected uint8 imag"):
        train(ones(3, 28, 28), ones(3, 28, 28))
    with wrong("TypeError: test_images: got list (1,), expected uint8 images (M, 28,"):
        train(ones(3, 28, 28, dtype="uint8"), [2])
    with wrong("TypeError: rng: got Generator(PCG64)"):
        GaussianNoise(0.1)(strict(2, 1, 4, 4), np.random.default_rng(1))


def test_backends():
    with wrong("ValueError: backend: got 'tpu', expected one of 'auto'"):
        get_backend("tpu")
    with wrong("TypeError: array: got float, expected a plain array"):
        namespace(1.0)
    with wrong("TypeError: like: got float, expected a plain array"):
        zeros((2,), like=1.0)
