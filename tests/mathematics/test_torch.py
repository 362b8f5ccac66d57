"""PyTorch beside tinyae, where it is installed: layers, optimisers, arguments."""

from inspect import signature

import numpy as np
import pytest
from cases import (
    LAYERS,
    arrays,
    convolutions,
    every,
    every_dtype,
    every_mode,
    new,
    step,
)
from hypothesis import given

import tinyae
from tinyae.layer import Parameter
from tinyae.models import batch_first, batch_last

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch_training import twin  # noqa: E402 -- needs PyTorch

torch.set_num_threads(1)


def known(layer):
    """Return whether PyTorch has this layer, or all those inside."""
    inside = [twin for _, twin in layer.named_layers() if not twin.named_layers()]
    return all(hasattr(torch.nn, type(part).__name__) for part in inside or [layer])


def agree(got, wanted):
    wanted = wanted.detach().numpy()
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    rounding = {"float32": 1e-5, "float64": 1e-12}[got.dtype.name]
    atol = rounding * max(1, abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def tensors(module):
    """Return its parameters and running statistics, in the order of state_dict."""
    named = module.state_dict(keep_vars=True).items()
    return [t for name, t in named if not name.endswith("num_batches_tracked")]


def copy_weights(ours, theirs):
    for values, tensor in zip(ours.state_dict().values(), tensors(theirs), strict=True):
        tensor.data = torch.tensor(values)


def compare(layer, shape, dtype="float64", training=True):
    """Compare a step of both, and what it leaves behind."""
    ours, theirs = new(layer, dtype).train(training), twin(layer).train(training)
    copy_weights(ours, theirs)
    whole = isinstance(layer, tinyae.AnelloAutoencoder)  # the batch is first already
    first, last = (np.array, np.array) if whole else (batch_first, batch_last)
    made = step(ours, shape, dtype=dtype)
    x, dy = (
        arrays(s, size, dtype=dtype)[0]
        for s, size in ((1, shape), (2, made["y"].shape))
    )
    x = torch.tensor(first(x), requires_grad=True)
    y = theirs(x)
    y.backward(torch.tensor(first(dy)))
    agree(first(made["y"]), y)
    agree(first(made["dx"]), x.grad)
    for (_, p), tensor in zip(ours.named_parameters(), tensors(theirs), strict=True):
        agree(p.data, tensor)
        if p.trainable:
            agree(p.grad, tensor.grad)


@every([check for check in LAYERS if known(check[0])])
@every_mode
@every_dtype
def test_a_step_through_a_layer_is_pytorchs(part, shape, training, dtype):
    compare(part, shape, dtype, training)


@given(convolutions(), convolutions(transposed=True))
def test_a_step_through_any_convolution_is_pytorchs(conv, transposed):
    for kind, case in (tinyae.Conv2d, conv), (tinyae.ConvTranspose2d, transposed):
        arguments, shape, seed = case
        compare(kind(*arguments, seed=seed), shape)


OPTIMIZERS = {
    "Adam": {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1},
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_of_an_optimiser_are_pytorchs(name):
    start, *slopes = arrays(1, *[(4, 3)] * 11)
    ours, theirs = Parameter(start), torch.nn.Parameter(torch.tensor(start))
    mine = getattr(tinyae, name)([ours], **OPTIMIZERS[name])
    others = getattr(torch.optim, name)([theirs], **OPTIMIZERS[name])
    for slope in slopes:
        ours.grad, theirs.grad = slope, torch.tensor(slope)
        mine.step()
        others.step()
        agree(ours.data, theirs)


@pytest.mark.parametrize("name", tinyae.__all__)
def test_argument_names_and_defaults_are_pytorchs(name):
    """All of ours are arguments there, but for these three."""
    theirs = getattr(torch.optim, name, None) or getattr(torch.nn, name, None)
    if theirs is None or name == "Sequential":
        pytest.skip("PyTorch has none, or takes any number of layers too")
    theirs = signature(theirs).parameters
    for argument in signature(getattr(tinyae, name)).parameters.values():
        if argument.name not in ("seed", "parameters", "dtype", "how"):
            assert argument.default == theirs[argument.name].default
