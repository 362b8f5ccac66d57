"""Wrong arguments of layers and models: each answered by an error that says which, what came, what was expected."""

import numpy as np
import pytest
from bad_arguments import INF, NAN, check, every_row, ones, strict

from tinyae import (
    AnelloAutoencoder,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Unflatten,
)


def after_forward(layer, *shape):
    """The layer with a forward behind it, ready for backward."""
    layer.forward(ones(*shape))
    return layer


def load(**changed):
    """Load into a Linear(2, 3) a state with some entries changed, or left out where None."""
    state = {"weight": ones(3, 2), "bias": ones(3), **changed}
    Linear(2, 3).load_state_dict(
        {name: values for name, values in state.items() if values is not None}
    )


TABLE = [
    # -- sizes of layers --
    (lambda: Linear(0, 3), ValueError, "in_features", "0", "at least 1"),
    (lambda: Linear(2, -1), ValueError, "out_features", "-1", "at least 1"),
    (lambda: Linear(2.0, 3), TypeError, "in_features", "2.0", "an integer"),
    (lambda: Linear(2, True), TypeError, "out_features", "True", "an integer"),
    (lambda: Linear(None, 3), TypeError, "in_features", "None", "an integer"),
    (lambda: Conv2d(0, 1, 3), ValueError, "in_channels", "0", "at least 1"),
    (lambda: Conv2d(1, "8", 3), TypeError, "out_channels", "'8'", "an integer"),
    (lambda: ConvTranspose2d(1, 0, 3), ValueError, "out_channels", "0", "at least 1"),
    (lambda: BatchNorm2d(0), ValueError, "num_features", "0", "at least 1"),
    (lambda: BatchNorm2d(1.5), TypeError, "num_features", "1.5", "an integer"),
    (lambda: BatchNorm2d(2, eps=0), ValueError, "eps", "0", "> 0"),
    (lambda: BatchNorm2d(2, eps=NAN), ValueError, "eps", "nan", "> 0"),
    (lambda: BatchNorm2d(2, eps=INF), ValueError, "eps", "inf", "finite"),
    (lambda: BatchNorm2d(2, momentum=1.5), ValueError, "momentum", "1.5", "<= 1"),
    (lambda: BatchNorm2d(2, momentum=None), TypeError, "momentum", "None", "a number"),
    (lambda: Unflatten(12), TypeError, "unflattened_size", "12", "(C, H, W)"),
    (lambda: Unflatten(()), ValueError, "unflattened_size", "()", "(C, H, W)"),
    (lambda: Unflatten((3, 0, 2)), ValueError, "unflattened_size", "0", "at least 1"),
    (
        lambda: Unflatten((3, 2.0, 2)),
        TypeError,
        "unflattened_size",
        "2.0",
        "an integer",
    ),
    (lambda: AnelloAutoencoder(0), ValueError, "latent_dim", "0", "at least 1"),
    (lambda: AnelloAutoencoder(True), TypeError, "latent_dim", "True", "an integer"),
    (lambda: AnelloAutoencoder(width=0), ValueError, "width", "0", "at least 1"),
    # -- the geometry of convolutions --
    (lambda: Conv2d(1, 1, 0), ValueError, "kernel_size", "0", "at least 1"),
    (lambda: Conv2d(1, 1, (3, 3, 3)), ValueError, "kernel_size", "(3, 3, 3)", "pair"),
    (lambda: Conv2d(1, 1, (3,)), ValueError, "kernel_size", "(3,)", "pair"),
    (lambda: Conv2d(1, 1, (3, 2.5)), TypeError, "kernel_size", "2.5", "an integer"),
    (lambda: Conv2d(1, 1, "33"), TypeError, "kernel_size", "'33'", "an integer"),
    (lambda: Conv2d(1, 1, 3, stride=0), ValueError, "stride", "0", "at least 1"),
    (lambda: Conv2d(1, 1, 3, stride=True), TypeError, "stride", "True", "an integer"),
    (lambda: Conv2d(1, 1, 3, padding=-1), ValueError, "padding", "-1", "at least 0"),
    (
        lambda: Conv2d(1, 1, 3, padding=(0, -2)),
        ValueError,
        "padding",
        "-2",
        "at least 0",
    ),
    (
        lambda: ConvTranspose2d(1, 1, 3, stride=(1, 0)),
        ValueError,
        "stride",
        "0",
        "at least 1",
    ),
    (
        lambda: ConvTranspose2d(1, 1, 3, stride=2, output_padding=2),
        ValueError,
        "output_padding",
        "(2, 2)",
        "below the stride (2, 2)",
    ),
    (
        lambda: ConvTranspose2d(1, 1, 3, stride=(3, 1), output_padding=1),
        ValueError,
        "output_padding",
        "(1, 1)",
        "below the stride",
    ),
    (
        lambda: ConvTranspose2d(1, 1, 3, output_padding=-1),
        ValueError,
        "output_padding",
        "-1",
        "at least 0",
    ),
    (
        lambda: Conv2d(1, 1, 4).forward(ones(1, 3, 9, 2)),
        ValueError,
        "kernel_size",
        "(4, 4)",
        "(3, 9)",
    ),
    (
        lambda: Conv2d(1, 1, 6, padding=1).forward(ones(1, 9, 3, 2)),
        ValueError,
        "kernel_size",
        "(6, 6)",
        "padding (1, 1)",
    ),
    (
        lambda: ConvTranspose2d(1, 1, 2, padding=2).forward(ones(1, 2, 2, 2)),
        ValueError,
        "padding",
        "(2, 2)",
        "less",
    ),
    # -- dtypes and seeds --
    (
        lambda: Linear(2, 3, dtype="float16"),
        ValueError,
        "dtype",
        "'float16'",
        "'float32' or 'float64'",
    ),
    (
        lambda: Conv2d(1, 1, 3, dtype=int),
        ValueError,
        "dtype",
        "int",
        "'float32' or 'float64'",
    ),
    (
        lambda: BatchNorm2d(2, dtype=None),
        ValueError,
        "dtype",
        "None",
        "'float32' or 'float64'",
    ),
    (
        lambda: AnelloAutoencoder(dtype="double"),
        ValueError,
        "dtype",
        "'double'",
        "'float32' or 'float64'",
    ),
    (lambda: Linear(2, 3, seed=-1), ValueError, "seed", "-1", "at least 0"),
    (lambda: Conv2d(1, 1, 3, seed=1.0), TypeError, "seed", "1.0", "an integer"),
    (
        lambda: ConvTranspose2d(1, 1, 3, seed="1"),
        TypeError,
        "seed",
        "'1'",
        "an integer",
    ),
    (lambda: AnelloAutoencoder(seed=True), TypeError, "seed", "True", "an integer"),
    (
        lambda: AnelloAutoencoder(seed=np.random.RandomState(1)),
        TypeError,
        "seed",
        "RandomState",
        "an integer",
    ),
    # -- what forward is given --
    (lambda: Linear(2, 3).forward([[1.0, 2.0]]), TypeError, "x", "list", "an array"),
    (lambda: Linear(2, 3).forward(1.0), TypeError, "x", "float", "an array"),
    (lambda: ReLU().forward([1.0, 2.0]), TypeError, "x", "list", "an array"),
    (lambda: Sigmoid().forward(None), TypeError, "x", "NoneType", "an array"),
    (lambda: Flatten().forward([[[[1.0]]]]), TypeError, "x", "list", "an array"),
    (
        lambda: Linear(2, 3).forward(ones(2)),
        ValueError,
        "x",
        "(2,)",
        "in_features=2, N",
    ),
    (
        lambda: Linear(2, 3).forward(ones(4, 2)),
        ValueError,
        "x",
        "(4, 2)",
        "in_features=2, N",
    ),
    (
        lambda: Linear(2, 3).forward(ones(2, 0)),
        ValueError,
        "x",
        "(2, 0)",
        "no axis empty",
    ),
    (
        lambda: Conv2d(3, 1, 2).forward(ones(3, 5, 5)),
        ValueError,
        "x",
        "(3, 5, 5)",
        "C=3, H, W, N",
    ),
    (
        lambda: Conv2d(3, 1, 2).forward(ones(2, 5, 5, 3)),
        ValueError,
        "x",
        "(2, 5, 5, 3)",
        "C=3, H, W, N",
    ),
    (
        lambda: Conv2d(3, 1, 2).forward(ones(3, 5, 5, 0)),
        ValueError,
        "x",
        "(3, 5, 5, 0)",
        "no axis empty",
    ),
    (
        lambda: ConvTranspose2d(3, 1, 2).forward(ones(1, 5, 5, 3)),
        ValueError,
        "x",
        "(1, 5, 5, 3)",
        "C=3, H, W, N",
    ),
    (
        lambda: BatchNorm2d(3).forward(ones(3, 8)),
        ValueError,
        "x",
        "(3, 8)",
        "C=3, H, W, N",
    ),
    (
        lambda: BatchNorm2d(3).forward(ones(3, 1, 1, 1)),
        ValueError,
        "x",
        "(3, 1, 1, 1)",
        "more than one value",
    ),
    (lambda: Flatten().forward(ones(3, 4)), ValueError, "x", "(3, 4)", "C, H, W, N"),
    (
        lambda: Unflatten((2, 3, 4)).forward(ones(23, 5)),
        ValueError,
        "x",
        "(23, 5)",
        "C*H*W=24",
    ),
    (lambda: ReLU().forward(ones(3, 0)), ValueError, "x", "(3, 0)", "no axis empty"),
    (
        lambda: Linear(2, 3).forward(ones(2, 4, dtype="int64")),
        TypeError,
        "x",
        "int64",
        "float32",
    ),
    (
        lambda: Conv2d(1, 1, 2).forward(ones(1, 4, 4, 2, dtype="uint8")),
        TypeError,
        "x",
        "uint8",
        "float32",
    ),
    (
        lambda: BatchNorm2d(1).forward(ones(1, 4, 4, 2, dtype="float16")),
        TypeError,
        "x",
        "float16",
        "float32",
    ),
    (
        lambda: Sigmoid().forward(ones(3, dtype="bool")),
        TypeError,
        "x",
        "bool",
        "float32",
    ),
    (
        lambda: ReLU().forward(ones(3, dtype="complex64")),
        TypeError,
        "x",
        "complex64",
        "float32",
    ),
    (
        lambda: Linear(2, 3).forward(ones(2, 4, dtype="float64")),
        TypeError,
        "x",
        "float64",
        "float32",
    ),
    (
        lambda: Linear(2, 3, dtype="float64").forward(ones(2, 4)),
        TypeError,
        "x",
        "float32",
        "float64",
    ),
    (lambda: Linear(2, 3).forward(strict(2, 4)), TypeError, "x", "strict", "numpy"),
    (
        lambda: Conv2d(1, 1, 2).to("strict").forward(ones(1, 4, 4, 2)),
        TypeError,
        "x",
        "numpy",
        "strict",
    ),
    (
        lambda: BatchNorm2d(1).forward(strict(1, 4, 4, 2)),
        TypeError,
        "x",
        "strict",
        "numpy",
    ),
    # -- what backward is given --
    (
        lambda: after_forward(Linear(2, 3), 2, 4).backward(ones(3, 5)),
        ValueError,
        "dy",
        "(3, 5)",
        "(3, 4)",
    ),
    (
        lambda: after_forward(Linear(2, 3), 2, 4).backward([1.0]),
        TypeError,
        "dy",
        "list",
        "an array",
    ),
    (
        lambda: after_forward(Linear(2, 3), 2, 4).backward(strict(3, 4)),
        TypeError,
        "dy",
        "strict",
        "numpy",
    ),
    (
        lambda: after_forward(Conv2d(1, 2, 2), 1, 4, 5, 3).backward(ones(2, 4, 3, 3)),
        ValueError,
        "dy",
        "(2, 4, 3, 3)",
        "(2, 3, 4, 3)",
    ),
    (
        lambda: after_forward(ConvTranspose2d(1, 2, 2), 1, 4, 5, 3).backward(
            ones(2, 6, 5, 3)
        ),
        ValueError,
        "dy",
        "(2, 6, 5, 3)",
        "(2, 5, 6, 3)",
    ),
    (
        lambda: after_forward(BatchNorm2d(2), 2, 3, 4, 5).backward(ones(2, 3, 4, 6)),
        ValueError,
        "dy",
        "(2, 3, 4, 6)",
        "(2, 3, 4, 5)",
    ),
    (
        lambda: after_forward(BatchNorm2d(2), 2, 3, 4, 5).backward(
            ones(2, 3, 4, 5, dtype="float64")
        ),
        TypeError,
        "dy",
        "float64",
        "float32",
    ),
    (
        lambda: after_forward(ReLU(), 3, 4).backward(ones(4, 3)),
        ValueError,
        "dy",
        "(4, 3)",
        "3",
    ),
    (
        lambda: after_forward(Sigmoid(), 3, 4).backward(ones(3)),
        ValueError,
        "dy",
        "(3,)",
        "4",
    ),
    (
        lambda: after_forward(Flatten(), 2, 3, 4, 5).backward(ones(2, 3, 4, 5)),
        ValueError,
        "dy",
        "(2, 3, 4, 5)",
        "24",
    ),
    (
        lambda: after_forward(Unflatten((2, 3, 4)), 24, 5).backward(ones(24, 5)),
        ValueError,
        "dy",
        "(24, 5)",
        "2",
    ),
    # -- the autoencoder --
    (
        lambda: AnelloAutoencoder().forward(ones(2, 28, 28)),
        ValueError,
        "x",
        "(2, 28, 28)",
        "channel=1, height=28, width=28",
    ),
    (
        lambda: AnelloAutoencoder().forward(ones(2, 3, 28, 28)),
        ValueError,
        "x",
        "(2, 3, 28, 28)",
        "channel=1",
    ),
    (
        lambda: AnelloAutoencoder().forward(ones(2, 1, 32, 32)),
        ValueError,
        "x",
        "(2, 1, 32, 32)",
        "height=28",
    ),
    (
        lambda: AnelloAutoencoder().forward(ones(0, 1, 28, 28)),
        ValueError,
        "x",
        "(0, 1, 28, 28)",
        "no axis empty",
    ),
    (
        lambda: AnelloAutoencoder().encode(ones(2, 1, 28, 28, dtype="uint8")),
        TypeError,
        "x",
        "uint8",
        "float32",
    ),
    (
        lambda: AnelloAutoencoder().forward(ones(2, 1, 28, 28, dtype="float64")),
        TypeError,
        "x",
        "float64",
        "float32",
    ),
    (
        lambda: AnelloAutoencoder().forward(strict(2, 1, 28, 28)),
        TypeError,
        "x",
        "strict",
        "numpy",
    ),
    (
        lambda: AnelloAutoencoder(4).decode(ones(2, 5)),
        ValueError,
        "codes",
        "(2, 5)",
        "latent_dim=4",
    ),
    (
        lambda: AnelloAutoencoder(4).decode([[1.0] * 4]),
        TypeError,
        "codes",
        "list",
        "an array",
    ),
    (
        lambda: after_forward(AnelloAutoencoder(), 2, 1, 28, 28).backward(
            ones(2, 28, 28)
        ),
        ValueError,
        "dy",
        "(2, 28, 28)",
        "channel=1",
    ),
    (lambda: AnelloAutoencoder().to("tpu"), ValueError, "backend", "'tpu'", "'numpy'"),
    (lambda: Sequential(), ValueError, "layers", "none", "at least one"),
    (lambda: Sequential(ReLU(), np.tanh), TypeError, "layers", "tanh", "a Layer"),
    (lambda: Sequential({"a": ReLU}), TypeError, "layers", "ReLU", "a Layer"),
    (lambda: Sequential([ReLU(), ReLU()]), TypeError, "layers", "[", "a Layer"),
    (lambda: Sequential(*[ReLU()] * 2), ValueError, "layers", "twice", "a new one"),
    # -- state_dict --
    (lambda: load(bias=None), ValueError, "state", "['bias']", "state_dict()"),
    (lambda: load(gamma=ones(3)), ValueError, "state", "['gamma']", "state_dict()"),
    (
        lambda: load(weight=ones(2, 3)),
        ValueError,
        "state['weight']",
        "(2, 3)",
        "(3, 2)",
    ),
    (
        lambda: load(weight=ones(3, 2, dtype="int64")),
        ValueError,
        "state['weight']",
        "int64",
        "floats",
    ),
    (
        lambda: load(bias=np.array(["a", "b", "c"])),
        ValueError,
        "state['bias']",
        "<U1",
        "floats",
    ),
    (
        lambda: Linear(2, 3).load_state_dict([ones(3, 2), ones(3)]),
        TypeError,
        "state",
        "list",
        "a dict",
    ),
]


@every_row(TABLE)
def test_bad_argument(call, error, argument, came, expected):
    check(call, error, argument, came, expected)


LAYERS = [
    Linear(2, 3),
    Conv2d(1, 1, 2),
    ConvTranspose2d(1, 1, 2),
    BatchNorm2d(2),
    ReLU(),
    Sigmoid(),
    Flatten(),
    Unflatten((2, 3, 4)),
    Sequential(Linear(2, 3)),
    AnelloAutoencoder(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_backward_before_forward(layer):
    shape = (2, 1, 28, 28) if isinstance(layer, AnelloAutoencoder) else (2, 3)
    with pytest.raises(
        ValueError, match=r"backward before forward; call forward\(x\) first"
    ):
        layer.backward(ones(*shape))
