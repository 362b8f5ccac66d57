"""The same numbers as PyTorch: against golden.npz everywhere, and against PyTorch itself where it is installed.

One step is compared to float32 rounding. Ten Adam steps are compared in float64: in float32 they are chaotic, even
PyTorch does not agree with itself. A bias before a batch norm has a true gradient of zero, so what is computed for it
is rounding, and is compared absolutely.
"""

import make_golden
import numpy as np
import pytest
from cases import convolutions, distinct, seeds, transposed_convolutions
from hypothesis import given, settings
from hypothesis import strategies as st
from make_golden import BATCH, LR, STEPS, WEIGHT_DECAY, sample, state, values

import tinyae

ROUNDING = {"float32": 5e-6, "float64": 1e-13}  # of the largest entry
BEFORE_NORM = (
    "encoder.encoder_cnn.2.bias",
    "decoder.decoder_conv.0.bias",
    "decoder.decoder_conv.3.bias",
)


def batch_last(x):
    return np.ascontiguousarray(np.moveaxis(x, 0, -1))


def batch_first(x):
    return np.moveaxis(x, -1, 0)


def agree(got, wanted, name=""):
    """Equal shape and dtype, and equal values to the dtype's rounding, of the largest entry."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape and got.dtype == wanted.dtype, name
    atol = (
        1e-7
        if name.endswith(BEFORE_NORM)
        else ROUNDING[str(got.dtype)] * abs(wanted).max()
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol, err_msg=name)


def shapes(layer):
    return {name: value.shape for name, value in layer.state_dict().items()}


# -- against the file --


@pytest.fixture(scope="module")
def golden():
    with np.load(make_golden.FILE, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("number", range(len(make_golden.LAYERS)))
def test_golden_layer(golden, number):
    kind, arguments, size = make_golden.LAYERS[number]
    layer = getattr(tinyae, kind)(*arguments)
    layer.load_state_dict(state(shapes(layer)))
    y = layer.forward(
        batch_last(values("x", (4, arguments[0], *size)).astype("float32"))
    )
    dx = layer.backward(
        batch_last(values("dy", batch_first(y).shape).astype("float32"))
    )
    results = {"y": batch_first(y), "dx": batch_first(dx)} | {
        f"d{name}": g for name, g in layer.gradients().items()
    }
    results |= {
        name: value
        for name, value in layer.state_dict().items()
        if name.startswith("running")
    }
    assert {f"layer{number}.{name}" for name in results} == {
        n for n in golden if n.startswith(f"layer{number}.")
    }
    for name, value in results.items():
        agree(value, golden[f"layer{number}.{name}"], name)


def test_golden_step(golden):
    model, loss = tinyae.AnelloAutoencoder(4), tinyae.MSELoss()
    model.load_state_dict(state(shapes(model)))
    x, target = (
        values(key, (BATCH, 1, 28, 28)).astype("float32")
        for key in ("images", "target")
    )
    codes = model.encode(x)
    y = model.decode(codes)
    results = {"codes": codes, "y": sample(y), "loss": loss.forward(y, target)}
    results["dx"] = sample(model.backward(loss.backward()))
    results |= {
        f"d{name}": sample(gradient) for name, gradient in model.gradients().items()
    }
    results |= {
        name: value for name, value in model.state_dict().items() if "running" in name
    }
    results["y evaluating"] = sample(model.eval().forward(x))
    assert {f"step.{name}" for name in results} == {
        name for name in golden if name.startswith("step.")
    }
    for name, value in results.items():
        agree(value, golden[f"step.{name}"], name)


def train(model, images):
    """One loss per batch, each followed by an Adam step."""
    loss, adam = (
        tinyae.MSELoss(),
        tinyae.Adam(model.parameters(), LR, weight_decay=WEIGHT_DECAY),
    )
    for x in images:
        yield float(loss.forward(model.forward(x), x))
        assert model.backward(loss.backward(), input_grad=False) is None
        adam.step()


def test_golden_ten_adam_steps(golden):
    model = tinyae.AnelloAutoencoder(4, dtype="float64")
    model.load_state_dict(state(shapes(model)))
    losses = list(
        train(model, [values(f"images {t}", (BATCH, 1, 28, 28)) for t in range(STEPS)])
    )
    np.testing.assert_allclose(losses, golden["ten.losses"], rtol=0, atol=1e-9)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(
            sample(value), golden[f"ten.{name}"], rtol=0, atol=1e-9, err_msg=name
        )


def test_the_golden_values_are_what_they_claim(golden):
    """They could not tell a right layer from a wrong one if they were zeros, or all alike."""
    assert make_golden.FILE.stat().st_size < 300_000
    for name, value in golden.items():
        if name != "torch" and not name.endswith(BEFORE_NORM):
            assert np.isfinite(value).all() and abs(value).max() > 1e-5, name
            assert len(set(value.ravel().tolist())) >= min(value.size, 16), name


# -- against PyTorch --


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: only golden.npz is compared"
    )
    torch.set_num_threads(1)
    return torch


def compare_layer(torch, ours, theirs, shape, seed, dtype):
    """Forward and backward of both on the same weights and data; shape has the batch first.

    In float32 all is positive: where terms cancel, rounding is as large as the terms, and says nothing about the sum.
    Not so for batch norm, which takes the mean away before it adds up anything.
    """
    rng, theirs = np.random.default_rng(seed), theirs.to(getattr(torch, dtype))
    drawn = {name: rng.uniform(0.2, 1.2, shape) for name, shape in shapes(ours).items()}
    ours.load_state_dict(drawn)
    make_golden.load(theirs, drawn)
    normal = dtype == "float64" or isinstance(ours, tinyae.BatchNorm2d)
    draw = rng.standard_normal if normal else lambda shape: rng.uniform(0.2, 1.2, shape)
    x = draw(shape).astype(dtype)
    tensor = torch.tensor(x, requires_grad=True)
    wanted, y = theirs(tensor), batch_first(ours.forward(batch_last(x)))
    dy = draw(wanted.shape).astype(dtype)
    wanted.backward(torch.tensor(dy))
    dx = batch_first(ours.backward(batch_last(dy)))
    agree(y, wanted.detach().numpy(), "y")
    agree(dx, tensor.grad.numpy(), "dx")
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert gradients.keys() == ours.gradients().keys()
    for name, gradient in ours.gradients().items():
        agree(gradient, gradients[name], name)
    for name, value in ours.state_dict().items():
        agree(value, theirs.state_dict()[name], name)


dtypes = st.sampled_from(["float32", "float64"])


@given(convolutions(), dtypes)
def test_conv2d(torch, case, dtype):
    arguments, (C, H, W, N), seed = case
    compare_layer(
        torch,
        tinyae.Conv2d(*arguments, dtype=dtype),
        torch.nn.Conv2d(*arguments),
        (N, C, H, W),
        seed,
        dtype,
    )


@given(transposed_convolutions(), dtypes)
def test_conv_transpose2d(torch, case, dtype):
    arguments, (C, H, W, N), seed = case
    ours, theirs = (
        tinyae.ConvTranspose2d(*arguments, dtype=dtype),
        torch.nn.ConvTranspose2d(*arguments),
    )
    compare_layer(torch, ours, theirs, (N, C, H, W), seed, dtype)


@given(distinct(3), seeds, dtypes)
def test_linear(torch, sizes, seed, dtype):
    i, o, N = sizes
    compare_layer(
        torch,
        tinyae.Linear(i, o, dtype=dtype),
        torch.nn.Linear(i, o),
        (N, i),
        seed,
        dtype,
    )


@given(
    distinct(4, 2, 6),
    st.sampled_from([1e-5, 1e-2]),
    st.floats(0.05, 0.95),
    st.booleans(),
    seeds,
    dtypes,
)
def test_batch_norm2d(torch, shape, eps, momentum, training, seed, dtype):
    ours = tinyae.BatchNorm2d(shape[1], eps, momentum, dtype=dtype).train(training)
    compare_layer(
        torch,
        ours,
        torch.nn.BatchNorm2d(shape[1], eps, momentum).train(training),
        shape,
        seed,
        dtype,
    )


@given(distinct(4), seeds, dtypes)
def test_layers_without_parameters(torch, shape, seed, dtype):
    for ours, theirs in [
        (tinyae.ReLU(), torch.nn.ReLU()),
        (tinyae.Sigmoid(), torch.nn.Sigmoid()),
    ]:
        rng = np.random.default_rng(seed)
        x, dy = (
            rng.standard_normal(shape).astype(dtype),
            rng.standard_normal(shape).astype(dtype),
        )
        tensor = torch.tensor(x, requires_grad=True)
        wanted = theirs(tensor)
        wanted.backward(torch.tensor(dy))
        agree(ours.forward(x), wanted.detach().numpy())
        agree(ours.backward(dy), tensor.grad.numpy())
    N, *size = shape
    flat = torch.nn.Flatten()(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(
        batch_first(tinyae.Flatten().forward(batch_last(x))), flat
    )
    np.testing.assert_array_equal(
        batch_first(tinyae.Unflatten(size).forward(batch_last(flat))), x
    )


@pytest.mark.parametrize(
    "kind, arguments",
    [
        ("Linear", (5, 3)),
        ("Conv2d", (2, 3, 3)),
        ("ConvTranspose2d", (2, 3, 3)),
        ("BatchNorm2d", (3,)),
        ("Adam", None),
    ],
)
def test_argument_names_and_defaults(torch, kind, arguments):
    if kind == "Adam":
        from inspect import signature

        ours, theirs = (
            signature(tinyae.Adam).parameters,
            signature(torch.optim.Adam).parameters,
        )
        assert [ours[n].default for n in list(ours)[1:]] == [
            theirs[n].default for n in list(ours)[1:]
        ]
        return
    torch.manual_seed(1)
    seed = {} if kind == "BatchNorm2d" else {"seed": 1}
    ours, theirs = (
        getattr(tinyae, kind)(*arguments, **seed),
        getattr(torch.nn, kind)(*arguments),
    )
    for name in vars(ours):
        if name not in ("geometry", "weight", "bias", "running_mean", "running_var"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert shapes(ours) == make_golden.shapes(theirs)
    for name, value in theirs.state_dict().items():
        if kind != "BatchNorm2d":
            assert (
                abs(getattr(ours, name).data).max() <= 1.2 * abs(value).max() + 0.3
            )  # the same order of size


@settings(max_examples=max(2, settings.default.max_examples // 20))
@given(st.integers(1, 6), distinct(1, 2, 6), seeds)
def test_autoencoder(torch, latent, batch, seed):
    """Weights moved both ways, one float32 step, evaluation, then ten float64 Adam steps."""
    theirs, ours = (
        make_golden.anello(latent),
        tinyae.AnelloAutoencoder(latent, seed=seed),
    )
    ours.load_state_dict(
        {name: value.numpy() for name, value in theirs.state_dict().items()}
    )  # theirs to ours
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, theirs.state_dict()[name].numpy())
    rng, (N,) = np.random.default_rng(seed), batch
    images = rng.uniform(-1, 1, (STEPS, N, 1, 28, 28))

    ours, theirs = (
        tinyae.AnelloAutoencoder(latent, seed=seed, dtype="float64"),
        theirs.double(),
    )
    make_golden.load(theirs, ours.state_dict())  # ours to theirs
    adam, losses = (
        torch.optim.Adam(theirs.parameters(), lr=LR, weight_decay=WEIGHT_DECAY),
        [],
    )
    for t, x in enumerate(map(torch.tensor, images)):
        adam.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs(x), x)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    np.testing.assert_allclose(list(train(ours, images)), losses, rtol=0, atol=1e-9)
    for name, value in ours.state_dict().items():
        np.testing.assert_allclose(
            value, theirs.state_dict()[name].numpy(), rtol=0, atol=1e-9, err_msg=name
        )
    x = images[0]
    with torch.no_grad():
        np.testing.assert_allclose(
            ours.eval().forward(x),
            theirs.eval()(torch.tensor(x)).numpy(),
            rtol=0,
            atol=1e-9,
        )


def test_one_float32_step(torch):
    theirs, ours, loss = (
        make_golden.anello(3),
        tinyae.AnelloAutoencoder(3, seed=1),
        tinyae.MSELoss(),
    )
    make_golden.load(theirs, ours.state_dict())
    rng = np.random.default_rng(1)
    x, target = (rng.uniform(-1, 1, (7, 1, 28, 28)).astype("float32") for _ in range(2))
    tensor = torch.tensor(x, requires_grad=True)
    wanted = theirs(tensor)
    wanted_loss = torch.nn.functional.mse_loss(wanted, torch.tensor(target))
    wanted_loss.backward()
    y = ours.forward(x)
    agree(y, wanted.detach().numpy(), "y")
    agree(loss.forward(y, target), wanted_loss.detach().numpy(), "loss")
    agree(ours.backward(loss.backward()), tensor.grad.numpy(), "dx")
    for name, p in theirs.named_parameters():
        agree(ours.gradients()[name], p.grad.numpy(), name)
    for name, value in ours.state_dict().items():
        agree(value, theirs.state_dict()[name].numpy(), name)
