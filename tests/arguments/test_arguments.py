"""Wrong calls: each error names the argument, what came and what was expected.

Each kind of check stands once with its whole message, in KINDS. At the other places the
name and what came are looked at, and the beginning of the expectation.
"""

from functools import partial

import numpy as np
import pytest
from backends import to_strict

import tinyae
from data_tools.corruptions import GaussianNoise
from tinyae import Adam, BatchNorm2d, Conv2d, ConvTranspose2d, Linear, Sequential
from tinyae.experiment import Experiment
from tinyae.layer import Layer, Parameter
from tinyae.training import Training

NAN = float("nan")
PIXELS = np.zeros((4, 28, 28), "uint8")
model = partial(tinyae.AnelloAutoencoder, 2, width=1)
rng = np.random.default_rng(1)
relu, mse = tinyae.ReLU(), tinyae.MSELoss()


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def back(layer, x, dy):
    layer.forward(x)
    return layer.backward(dy)


def holding(**attributes):
    """Return a layer with these attributes."""
    layer = Layer()
    vars(layer).update(attributes)
    return layer


def optimize(*gradients):
    optimizer = Adam([Parameter(ones(3)) for _ in gradients])
    for p, gradient in zip(optimizer.parameters, gradients, strict=True):
        p.grad = gradient
    optimizer.step()


def start(**how):
    return Training(Experiment(**{"model": model, "epochs": 1} | how))


def train(train=PIXELS, test=PIXELS, epochs=None, **how):
    start(**how).run(train, test, epochs)


class FloatLoss(tinyae.MSELoss):
    def forward(self, y, target):
        return float(super().forward(y, target))


adam = partial(Adam, [Parameter(ones(3))])
once, linear = model(seed=1), Linear(2, 3, seed=1)
weights = linear.state_dict()

KINDS = {
    "TypeError: in_features: got 2.0, expected an integer": lambda: Linear(2.0, 3),
    "TypeError: in_features: got True, expected an integer": lambda: Linear(True, 3),
    "ValueError: in_features: got 0, expected an integer from 1 to 2147483647": (
        lambda: Linear(0, 3)
    ),
    "TypeError: lr: got '1', expected a number": lambda: adam(lr="1"),
    "ValueError: lr: got nan, expected a finite number in [0, inf]": (
        lambda: adam(lr=NAN)
    ),
    "ValueError: eps: got 0, expected a finite number in (0, inf]": (
        lambda: BatchNorm2d(2, eps=0)
    ),
    "ValueError: betas: got 1.0, expected a finite number in [0, 1)": (
        lambda: adam(betas=(0.9, 1.0))
    ),
    "ValueError: betas: got 0.9, expected (beta1, beta2), both less than 1": (
        lambda: adam(betas=0.9)
    ),
    "ValueError: stride: got (3, 3, 3), expected an integer or a pair (height, "
    "width)": (lambda: Conv2d(1, 1, 3, (3, 3, 3))),
    "ValueError: output_padding: got (1, 1), expected less than the stride (3, 1)": (
        lambda: ConvTranspose2d(1, 1, 3, (3, 1), output_padding=1)
    ),
    "ValueError: kernel_size: got 6, expected at most 5: 3 pixels + 2 * padding 1": (
        lambda: Conv2d(1, 1, 6, 1, 1, seed=1)(ones(1, 3, 9, 2))
    ),
    "ValueError: padding: got 2, expected less: 0 pixels would be left": (
        lambda: ConvTranspose2d(1, 1, (1, 2), padding=(0, 2), seed=1)(ones(1, 2, 3, 2))
    ),
    "ValueError: dtype: got 'float16', expected 'float32' or 'float64'": (
        lambda: Linear(2, 3, dtype="float16")
    ),
    "TypeError: x: got list, expected a plain array of a backend: numpy, strict": (
        lambda: relu([1.0])
    ),
    "TypeError: x: got dtype int64, expected float32 or float64": (
        lambda: relu(ones(2, dtype="int64"))
    ),
    "TypeError: dy: got float64 on numpy, expected float32 on numpy; move the model "
    "with model.to(...) or the data with Backend.from_numpy": (
        lambda: back(relu, ones(3), np.ones(3))
    ),
    "ValueError: x: got shape (3, 5, 0, 5), expected (3, H, W, N), no axis empty": (
        lambda: BatchNorm2d(3)(ones(3, 5, 0, 5))
    ),
    "ValueError: x: got one value per channel, expected several": (
        lambda: BatchNorm2d(3)(ones(3, 1, 1, 1))
    ),
    "ValueError: ReLU: backward before forward; call forward(x) first": (
        lambda: tinyae.ReLU().backward(ones(3))
    ),
    "ValueError: MSELoss: backward before forward; call forward(...) first": (
        tinyae.MSELoss().backward
    ),
    "ValueError: mode: got 'eval', expected True or False": lambda: once.train("eval"),
    "ValueError: layers: got none, expected at least one": Sequential,
    "TypeError: layers: got <ufunc 'tanh'> at '1', expected a Layer": (
        lambda: Sequential(relu, np.tanh)
    ),
    "ValueError: layers: got the name '', expected a string without a dot": (
        lambda: Sequential({"": relu})
    ),
    "ValueError: layers: got the same ReLU at '0' and '1.a', expected a new one at "
    "each place: a layer remembers only its latest forward": (
        lambda: Sequential(relu, Sequential({"a": relu}))
    ),
    "TypeError: blocks: got layers or Parameters in a list, where they are not found; "
    "put layers in a Sequential": lambda: holding(blocks=[relu]).parameters(),
    "TypeError: state: got [], expected a dict {name: NumPy array}": (
        lambda: once.load_state_dict([])
    ),
    "ValueError: state: missing ['weight', 'bias'], unknown [1]; expected the names of "
    "state_dict()": lambda: linear.load_state_dict({1: ones(3)}),
    "ValueError: state['bias']: got shape (2,) and dtype int64, expected floats of "
    "shape (3,)": lambda: linear.load_state_dict(weights | {"bias": np.arange(2)}),
    "TypeError: parameters: got None, expected a layer's parameters()": (
        lambda: Adam(None)
    ),
    "ValueError: step before backward: a parameter has no gradient": (
        lambda: optimize(None)
    ),
    "ValueError: parameters[1].grad: got shape (2,), expected (3), no axis "
    "empty": lambda: optimize(ones(3), ones(2)),
    "ValueError: state: got {'v'}, expected {'t'}": (
        lambda: tinyae.optim.Optimizer([Parameter(ones(3))]).load_state_dict({"v": 1})
    ),
    "ValueError: backend: got 'tpu', expected one of 'auto', 'cupy', 'numpy', "
    "'strict'": (lambda: once.to("tpu")),
    "TypeError: train_images: got float32 (4, 28, 28), expected uint8 images (M, H, W) "
    "or (M, C, H, W), no axis empty": lambda: train(ones(4, 28, 28)),
    "ValueError: pixel_range: got (1, 1), expected (low, high) with low < high": (
        lambda: start(pixel_range=(1, 1))
    ),
    "ValueError: model: got the same Parameters twice, expected new ones from each "
    "call": (lambda: start(model=lambda seed: once)),
    "ValueError: state: got no finished epoch, expected at least one": (
        lambda: start().state()
    ),
    "TypeError: model: got 4, expected a Layer": lambda: start(model=lambda seed: 4),
    "TypeError: loss: got float of shape (), expected a 0-d array": (
        lambda: train(loss=FloatLoss)
    ),
    "TypeError: optimizer: got 4, expected one with ('lr', 'step', 'state_dict', "
    "'load_state_dict')": lambda: train(optimizer=lambda parameters: 4),
}


def error(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return f"{caught.typename}: {caught.value}"


@pytest.mark.parametrize("message, call", KINDS.items(), ids=KINDS)
def test_a_kind_of_wrong_call_has_this_message(message, call):
    assert error(call) == message


shared = Parameter(ones(3))


def double(images, rng):
    return images.astype("float64")


PLACES = [
    ("kernel_size: got 0, expected an integer from 1", lambda: Conv2d(1, 1, (3, 0))),
    ("stride: got 0, expected an integer from 1", lambda: Conv2d(1, 1, 3, 0)),
    ("padding: got -1, expected an integer from 0", lambda: Conv2d(1, 1, 3, 1, -1)),
    ("num_features: got None, expected an integer", lambda: BatchNorm2d(None)),
    ("momentum: got 1.1, expected a finite", lambda: BatchNorm2d(2, momentum=1.1)),
    ("unflattened_size: got (2, 3), expected (C", lambda: tinyae.Unflatten((2, 3))),
    ("latent_dim: got 0, expected an integer", lambda: tinyae.AnelloAutoencoder(0)),
    ("x: got shape (4, 2), expected (2, N)", lambda: linear(ones(4, 2))),
    (
        "x: got shape (3, 4), expected (C, H, W, N)",
        lambda: tinyae.Flatten()(ones(3, 4)),
    ),
    ("x: got array_api_strict.float32 on", lambda: linear(to_strict(ones(2, 4)))),
    ("x: got shape (1, 28, 28), expected (N, 1, 28", lambda: once(ones(1, 28, 28))),
    ("y: got dtype bool, expected", lambda: mse.forward(ones(3) > 0, ones(3))),
    ("target: got shape (2, 3), exp", lambda: mse.forward(ones(3, 2), ones(2, 3))),
    ("rng: got Gene", lambda: GaussianNoise(1)(to_strict(ones(1, 1, 4, 4)), rng)),
    ("layers: got the name 'a.b', expected", lambda: Sequential({"a.b": relu})),
    ("layers: got the same Param", lambda: holding(a=shared, b=shared).parameters()),
    ("a: got layers or Parameters in a dict", lambda: holding(a={1: shared}).train()),
    ("a: got layers or Parameters in a tuple", lambda: holding(a=(relu,)).eval()),
    ("parameters: got float64", lambda: Adam([shared, Parameter(np.ones(3))])),
    ("parameters: got the same Parameter at 0 and 1", lambda: Adam([shared] * 2)),
    ("parameters[0].grad", lambda: optimize(np.ones(3))),
    ("lr: got inf, expected", lambda: adam(lr=np.float32("inf"))),
    ("eps: got -1, expected", lambda: adam(eps=-1)),
    ("momentum: got 1, expected", lambda: tinyae.SGD([shared], momentum=1)),
    ("state: got {", lambda: adam().load_state_dict(tinyae.SGD([shared]).state_dict())),
    ("lr_decay: got 1.5, expected", lambda: start(lr_decay=1.5)),
    ("model: got functools.partial(", lambda: start(model=partial(id))),
    ("loss: got <class 'dict'> (", lambda: start(loss=dict)),
    ("optimizer: got <class 'object'> (", lambda: start(optimizer=object)),
    ("corruption: got 0.1 (0.1 is not", lambda: start(corruption=0.1)),
    ("epochs: got -1, expected an integer from 0", lambda: train(epochs=-1)),
    ("epochs: got 1.5, expected an integer", lambda: train(epochs=1.5)),
    ("test_images: got uint8 (0, 28, 28), expected", lambda: train(test=PIXELS[:0])),
    ("x: got shape (2, 1, 28, 9), exp", lambda: train(test=PIXELS[..., :9])),
    ("model: got shape (3, 1", lambda: train(model=partial(ConvTranspose2d, 2, 3, 1))),
    ("corruption: got shape (2, 1", lambda: train(corruption=lambda x, rng: x[::2])),
    ("corruption: got shape (1, 1", lambda: train(corruption=lambda x, rng: x[:1])),
    ("corruption: got NoneType, exp", lambda: train(corruption=lambda x, rng: None)),
    (
        "corruption: got float64 on",
        lambda: train(corruption=lambda x, rng: np.float64(x)),
    ),
]


@pytest.mark.parametrize("start, call", PLACES, ids=[start for start, _ in PLACES])
def test_elsewhere_the_name_and_what_came_are_said(start, call):
    assert error(call).partition(": ")[2].startswith(start)
