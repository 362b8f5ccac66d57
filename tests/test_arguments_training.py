"""Wrong arguments of losses, Adam, corruptions, experiments, backends: answered as those of layers are."""

import numpy as np
import pytest
from bad_arguments import INF, NAN, check, every_row, ones, strict

from data_tools.corruptions import GaussianNoise, RandomErasing
from tinyae import Adam, Linear, MSELoss
from tinyae.backend import choose, namespace, to_numpy, zeros
from tinyae.layer import Parameter
from tinyae.training import Experiment, Training


def adam_moved():
    """Adam's averages are on one backend, then the model moves to another."""
    layer = Linear(2, 3)
    optimizer = Adam(layer.parameters())
    for name in ("numpy", "strict"):
        layer.to(name)
        x = choose(name)[0].from_numpy(ones(2, 4))
        layer.backward(layer.forward(x))
        optimizer.step()


def gaussian(images):
    return GaussianNoise(0.1)(images, np.random.default_rng(1))


TABLE = [
    # -- loss and optimiser --
    (lambda: MSELoss().forward([1.0], [1.0]), TypeError, "y", "list", "an array"),
    (
        lambda: MSELoss().forward(ones(3), [1.0] * 3),
        TypeError,
        "target",
        "list",
        "an array",
    ),
    (
        lambda: MSELoss().forward(ones(3, 2), ones(2, 3)),
        ValueError,
        "target",
        "(2, 3)",
        "3",
    ),
    (
        lambda: MSELoss().forward(ones(3), ones(3, dtype="float64")),
        TypeError,
        "target",
        "float64",
        "float32",
    ),
    (
        lambda: MSELoss().forward(ones(3, dtype="int32"), ones(3)),
        TypeError,
        "y",
        "int32",
        "float32",
    ),
    (
        lambda: MSELoss().forward(ones(3), strict(3)),
        TypeError,
        "target",
        "strict",
        "numpy",
    ),
    (
        lambda: MSELoss().forward(ones(0), ones(0)),
        ValueError,
        "y",
        "(0,)",
        "no axis empty",
    ),
    (lambda: Adam([]), ValueError, "parameters", "none", "parameters()"),
    (lambda: Adam(Linear(2, 3)), TypeError, "parameters", "Linear", "parameters()"),
    (lambda: Adam([ones(3)]), TypeError, "parameters", "array", "parameters()"),
    (
        lambda: Adam([Parameter(ones(3)), Parameter(ones(3, dtype="float64"))]),
        TypeError,
        "parameters",
        "float64",
        "float32",
    ),
    (
        lambda: Adam([Parameter(ones(3)), Parameter(strict(3))]),
        TypeError,
        "parameters",
        "strict",
        "numpy",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), lr=-1e-3),
        ValueError,
        "lr",
        "-0.001",
        ">= 0",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), lr=NAN),
        ValueError,
        "lr",
        "nan",
        "finite",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), lr=INF),
        ValueError,
        "lr",
        "inf",
        "finite",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), lr="1e-3"),
        TypeError,
        "lr",
        "'1e-3'",
        "a number",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), lr=10**400),
        ValueError,
        "lr",
        "1000",
        "finite",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), eps=NAN),
        ValueError,
        "eps",
        "nan",
        ">= 0",
    ),
    (lambda: Adam(Linear(2, 3).parameters(), eps=-1), ValueError, "eps", "-1", ">= 0"),
    (
        lambda: Adam(Linear(2, 3).parameters(), weight_decay=-1e-5),
        ValueError,
        "weight_decay",
        "-1e-05",
        ">= 0",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), weight_decay=True),
        TypeError,
        "weight_decay",
        "True",
        "a number",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), betas=(0.9, 1.0)),
        ValueError,
        "betas",
        "1.0",
        "< 1",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), betas=(-0.1, 0.999)),
        ValueError,
        "betas",
        "-0.1",
        ">= 0",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), betas=(NAN, 0.999)),
        ValueError,
        "betas",
        "nan",
        "< 1",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), betas=0.9),
        TypeError,
        "betas",
        "0.9",
        "(beta1, beta2)",
    ),
    (
        lambda: Adam(Linear(2, 3).parameters(), betas=(0.9,)),
        ValueError,
        "betas",
        "(0.9,)",
        "(beta1, beta2)",
    ),
    (adam_moved, TypeError, "the averages of Adam", "numpy", "strict"),
    # -- corruptions --
    (lambda: GaussianNoise(-0.1), ValueError, "sigma", "-0.1", "0"),
    (lambda: GaussianNoise(NAN), ValueError, "sigma", "nan", "finite"),
    (lambda: GaussianNoise(INF), ValueError, "sigma", "inf", "finite"),
    (lambda: GaussianNoise("0.1"), TypeError, "sigma", "'0.1'", "a number"),
    (lambda: GaussianNoise(True), TypeError, "sigma", "True", "a number"),
    (lambda: RandomErasing(p=-0.1), ValueError, "p", "-0.1", ">= 0 and <= 1"),
    (lambda: RandomErasing(p=1.1), ValueError, "p", "1.1", ">= 0 and <= 1"),
    (lambda: RandomErasing(p=NAN), ValueError, "p", "nan", "finite"),
    (
        lambda: RandomErasing(scale=(0.33, 0.02)),
        ValueError,
        "scale",
        "(0.33, 0.02)",
        "low <= high",
    ),
    (lambda: RandomErasing(scale=(0.02, 1.5)), ValueError, "scale", "1.5", "<= 1"),
    (lambda: RandomErasing(scale=0.2), TypeError, "scale", "0.2", "a pair"),
    (
        lambda: RandomErasing(ratio=(3.3, 0.3)),
        ValueError,
        "ratio",
        "(3.3, 0.3)",
        "low <= high",
    ),
    (lambda: RandomErasing(ratio=(0, 1)), ValueError, "ratio", "0", "> 0"),
    (
        lambda: RandomErasing(ratio=(1, 2, 3)),
        ValueError,
        "ratio",
        "(1, 2, 3)",
        "a pair",
    ),
    (lambda: RandomErasing(value=NAN), ValueError, "value", "nan", "finite"),
    (
        lambda: gaussian(ones(2, 1, 4, 4, dtype="uint8")),
        TypeError,
        "images",
        "uint8",
        "float32",
    ),
    (
        lambda: gaussian(ones(2, 1, 4, 4, dtype="float16")),
        TypeError,
        "images",
        "float16",
        "float32",
    ),
    (lambda: gaussian(ones(4, 4)), ValueError, "images", "(4, 4)", "(N, C, H, W)"),
    (
        lambda: gaussian(ones(0, 1, 4, 4)),
        ValueError,
        "images",
        "(0, 1, 4, 4)",
        "none of them 0",
    ),
    (lambda: gaussian([[1.0]]), TypeError, "images", "list", "an array"),
    (lambda: gaussian(strict(2, 1, 4, 4)), TypeError, "rng", "Generator", "backend"),
    (
        lambda: gaussian(choose("counted")[0].from_numpy(ones(2, 1, 4, 4))),
        TypeError,
        "rng",
        "another device",
        "backend",
    ),
    (
        lambda: GaussianNoise(0.1)(ones(2, 1, 4, 4), 1),
        TypeError,
        "rng",
        "1",
        "a NumPy Generator",
    ),
    # -- experiments --
    (lambda: Experiment(epochs=0), ValueError, "epochs", "0", "at least 1"),
    (lambda: Experiment(epochs=1.5), TypeError, "epochs", "1.5", "an integer"),
    (lambda: Experiment(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    (lambda: Experiment(latent_dim=-4), ValueError, "latent_dim", "-4", "at least 1"),
    (lambda: Experiment(seed=-1), ValueError, "seed", "-1", "at least 0"),
    (lambda: Experiment(lr=NAN), ValueError, "lr", "nan", "finite"),
    (lambda: Experiment(weight_decay=-1), ValueError, "weight_decay", "-1", ">= 0"),
    (
        lambda: Experiment(corruption=0.1),
        TypeError,
        "corruption",
        "0.1",
        "None or a function",
    ),
    (
        lambda: Experiment(pixel_range=(1, 0)),
        ValueError,
        "pixel_range",
        "(1, 0)",
        "low < high",
    ),
    (
        lambda: Experiment(pixel_range=(-INF, 0)),
        ValueError,
        "pixel_range",
        "-inf",
        "finite",
    ),
    (
        lambda: Training(Experiment()).run(ones(3, 28, 28), ones(3, 28, 28)),
        TypeError,
        "train_images",
        "float32",
        "uint8",
    ),
    (
        lambda: Training(Experiment()).run([1], [2]),
        TypeError,
        "train_images",
        "list",
        "uint8",
    ),
    # -- the backend --
    (lambda: choose("tpu"), ValueError, "backend", "'tpu'", "'numpy'"),
    (lambda: choose(None), ValueError, "backend", "None", "'numpy'"),
    (lambda: to_numpy([1.0]), TypeError, "x", "list", "an array"),
    (lambda: namespace(1.0), TypeError, "array", "float", "numpy"),
    (lambda: zeros((2,), like=1.0), TypeError, "like", "float", "an array"),
]


@every_row(TABLE)
def test_bad_argument(call, error, argument, came, expected):
    check(call, error, argument, came, expected)


def test_other_things_out_of_order():
    with pytest.raises(ValueError, match="MSELoss: backward before forward"):
        MSELoss().backward()
    layer = Linear(2, 3)
    with pytest.raises(ValueError, match="Linear: gradients before backward"):
        layer.gradients()
    with pytest.raises(ValueError, match="Adam: step before backward"):
        Adam(layer.parameters()).step()
