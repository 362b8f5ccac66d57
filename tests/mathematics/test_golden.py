"""The same numbers as PyTorch computed: golden.npz, written by make_golden.py.

One step is compared to float32 rounding. Ten Adam steps are compared in float64: in
float32 they are chaotic, and PyTorch does not even agree with itself. A bias before a
batch norm has a true gradient of zero, so its computed one is rounding, and is
compared absolutely.
"""

import make_golden
import numpy as np
import pytest
from every_layer import gradients
from make_golden import BATCH, LR, STEPS, WEIGHT_DECAY, running, sample, state, values

import tinyae
from tinyae.models import batch_first, batch_last

BEFORE_NORM = ("cnn.2.bias", "conv.0.bias", "conv.3.bias")


@pytest.fixture(scope="module")
def golden():
    with np.load(make_golden.FILE, allow_pickle=False) as file:
        return dict(file)


def agree(golden, where, results, rounding=5e-6):
    """Compare {name: array} with the file's entries `where`.name: all of them."""
    wanted = {n: v for n, v in golden.items() if n.startswith(f"{where}.")}
    assert {f"{where}.{name}" for name in results} == wanted.keys()
    for name, value in results.items():
        got, want = sample(value), wanted[f"{where}.{name}"]
        assert got.dtype == want.dtype, name
        zero = name.endswith(BEFORE_NORM)
        atol = 1e-7 if zero else rounding * abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)


def prepared(layer):
    layer.load_state_dict(state({n: a.shape for n, a in layer.state_dict().items()}))
    return layer


def gradients_and_running(layer):
    found = {f"d{name}": gradient for name, gradient in gradients(layer).items()}
    return found | running(layer.state_dict())


@pytest.mark.parametrize("number", range(len(make_golden.LAYERS)))
def test_layer(golden, number):
    kind, arguments, size = make_golden.LAYERS[number]
    layer = prepared(getattr(tinyae, kind)(*arguments))
    x = values("x", (4, arguments[0], *size)).astype("float32")
    y = batch_first(layer.forward(batch_last(x)))
    dx = layer.backward(batch_last(values("dy", y.shape).astype("float32")))
    results = {"y": y, "dx": batch_first(dx)} | gradients_and_running(layer)
    agree(golden, f"layer{number}", results)


def test_step(golden):
    model, loss = prepared(tinyae.AnelloAutoencoder(4)), tinyae.MSELoss()
    shape = BATCH, 1, 28, 28
    x, target = (values(key, shape).astype("float32") for key in ("images", "target"))
    codes = model.encode(x)
    y = model.decode(codes)
    results = {"codes": codes, "y": y, "loss": loss.forward(y, target)}
    results["dx"] = model.backward(loss.backward())
    results |= gradients_and_running(model)
    results["y evaluating"] = model.eval().forward(x)
    agree(golden, "step", results)


def test_ten_adam_steps(golden):
    model, loss = (
        prepared(tinyae.AnelloAutoencoder(4, dtype="float64")),
        tinyae.MSELoss(),
    )
    adam = tinyae.Adam(model.parameters(), LR, weight_decay=WEIGHT_DECAY)
    losses = []
    for t in range(STEPS):
        x = values(f"images {t}", (BATCH, 1, 28, 28))
        losses.append(float(loss.forward(model.forward(x), x)))
        model.backward(loss.backward(), input_grad=False)
        adam.step()
    results = {"losses": np.array(losses)} | model.state_dict()
    agree(golden, "ten", results, rounding=1e-8)


def test_the_file_could_tell_a_wrong_layer(golden):
    """Its numbers are finite, not zero and not all alike."""
    for name, value in golden.items():
        if name != "torch" and not name.endswith(BEFORE_NORM):
            assert np.isfinite(value).all()
            assert abs(value).max() > 1e-5, name
            assert len(set(value.tolist())) >= min(value.size, 16), name
