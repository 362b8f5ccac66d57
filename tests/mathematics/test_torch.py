"""PyTorch beside tinyae, where it is installed: drawn layers, defaults, weights."""

from inspect import signature

import make_golden
import numpy as np
import pytest
from cases import convolutions, distinct, seeds, transposed_convolutions
from every_layer import gradients
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from tinyae.checkpoint import load_weights, save_weights
from tinyae.models import batch_first, batch_last

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torch.set_num_threads(1)
ROUNDING = {"float32": 5e-6, "float64": 1e-13}  # of the largest entry


def agree(got, wanted, name=""):
    wanted = wanted.detach().numpy()
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), name
    atol = ROUNDING[str(got.dtype)] * abs(wanted).max()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol, err_msg=name)


def compare(kind, arguments, shape, seed, dtype, training=True):
    """Compare a step of both, with the same weights; shape has the batch first.

    In float32 all numbers are positive: where terms cancel, rounding is as large as
    they are. Batch norm is the exception, because it subtracts the mean first.
    """
    how = {} if kind in ("ReLU", "Sigmoid", "Flatten") else {"dtype": dtype}
    ours = getattr(tinyae, kind)(*arguments, **how).train(training)
    theirs = getattr(torch.nn, kind)(*arguments).train(training)
    theirs = theirs.to(getattr(torch, dtype))
    rng = np.random.default_rng(seed)
    positive = dtype == "float32" and kind != "BatchNorm2d"

    def draw(shape):
        low = 0.2 if positive else -1.2
        return rng.uniform(low, 1.2, shape).astype(dtype)

    state = {name: abs(draw(v.shape)) for name, v in ours.state_dict().items()}
    ours.load_state_dict(state)
    make_golden.load(theirs, state)
    x = draw(shape)
    tensor = torch.tensor(x, requires_grad=True)
    wanted = theirs(tensor)
    dy = draw(wanted.shape)
    wanted.backward(torch.tensor(dy))
    agree(batch_first(ours.forward(batch_last(x))), wanted, "y")
    agree(batch_first(ours.backward(batch_last(dy))), tensor.grad, "dx")
    for name, p in theirs.named_parameters():
        agree(gradients(ours)[name], p.grad, name)
    for name, values in ours.state_dict().items():
        agree(values, theirs.state_dict()[name], name)


dtypes = st.sampled_from(["float32", "float64"])


@given(convolutions(), dtypes)
def test_conv2d(case, dtype):
    arguments, (*size, N), seed = case
    compare("Conv2d", arguments, (N, *size), seed, dtype)


@given(transposed_convolutions(), dtypes)
def test_conv_transpose2d(case, dtype):
    arguments, (*size, N), seed = case
    compare("ConvTranspose2d", arguments, (N, *size), seed, dtype)


@given(distinct(4, 2, 6), st.floats(0.05, 0.95), st.booleans(), seeds, dtypes)
def test_other_layers(shape, momentum, training, seed, dtype):
    N, C, out, _ = shape
    norm = C, 0.01, momentum
    compare("BatchNorm2d", norm, shape, seed, dtype, training)
    compare("Linear", (C, out), (N, C), seed, dtype)
    for kind in ("ReLU", "Sigmoid", "Flatten"):
        compare(kind, (), shape, seed, dtype)


@pytest.mark.parametrize(
    "kind", "Linear Conv2d ConvTranspose2d BatchNorm2d Adam Unflatten".split()
)
def test_argument_names_and_defaults(kind):
    """All of ours are arguments there, in the same order, but for seed and params."""
    theirs = getattr(torch.optim if kind == "Adam" else torch.nn, kind)
    theirs = signature(theirs).parameters
    ours = signature(getattr(tinyae, kind)).parameters
    for name, argument in ours.items():
        if name not in ("seed", "parameters", "dtype"):
            assert name in theirs
            assert argument.default == theirs[name].default


def test_weights_to_pytorch_and_back(tmp_path):
    model, theirs = (
        tinyae.AnelloAutoencoder(4, seed=1).eval(),
        make_golden.anello(4).eval(),
    )
    images = np.random.default_rng(2).uniform(-1, 1, (5, 1, 28, 28)).astype("float32")

    def difference():
        with torch.no_grad():
            return abs(theirs(torch.tensor(images)).numpy() - model(images)).max()

    assert difference() > 1e-3  # before anything was moved
    save_weights(tmp_path / "weights.npz", model)
    with np.load(tmp_path / "weights.npz") as file:
        state = {name: torch.tensor(values) for name, values in file.items()}
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    assert difference() < 2e-6

    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.rand_like(p) * 0.1)
    assert difference() > 1e-3
    arrays = {name: values.numpy() for name, values in theirs.state_dict().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    load_weights(tmp_path / "weights.npz", model)
    assert difference() < 2e-6
