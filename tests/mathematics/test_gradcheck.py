"""The gradient checker: right layers pass, each of these mistakes is noticed."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import arrays

import tinyae
from tinyae import gradcheck
from tinyae.gradcheck import check_layer, check_loss, measure
from tinyae.layer import Layer, Parameter

CONV = tinyae.Conv2d(2, 3, 3, 2, 1, seed=5), (2, 5, 7, 4)
NORM = tinyae.BatchNorm2d(3), (3, 4, 2, 5)
rng = np.random.default_rng(1)


class Broken(Layer):
    """A right layer, but one gradient is replaced by `change(gradient, self)`."""

    def __init__(self, layer, name, change):
        self.inner, self.name, self.change = layer, name, change

    def forward(self, x):
        self.x = x
        return self.inner.forward(x)

    def backward(self, dy, input_grad=True):
        self.dy, self.input_grad = dy, input_grad
        p = dict(self.named_parameters()).get(self.name)
        self.before = p and p.grad
        dx = self.inner.backward(dy)
        if p is None:
            return self.change(dx, self)
        p.grad = self.change(p.grad, self)
        return dx


def mean(a):
    return a.mean(axis=(1, 2, 3), keepdims=True)


def no_variance_term(dx, layer):
    """With ones for dy it would be right, because this term is 0 then."""
    scale = layer.inner.weight.data[:, None, None, None]
    s = 1 / np.sqrt(mean((layer.x - mean(layer.x)) ** 2) + layer.inner.eps)
    return scale * s * (layer.dy - mean(layer.dy)) if layer.training else dx


INF = float("inf")
MISTAKES = {
    "2.001 for 2": (CONV, "x", 5e-4, lambda g, layer: g * 2.001 / 2),
    "NaN": (CONV, "x", INF, lambda g, layer: g * np.nan),
    "axes": (CONV, "inner.weight", 0.1, lambda g, layer: g.swapaxes(2, 3)),
    "adds": (CONV, "inner.weight", INF, lambda g, layer: g + layer.before),
    "sets once": (CONV, "inner.weight", INF, lambda g, layer: layer.before),
    "mean": (CONV, "inner.bias", 0.9, lambda g, layer: g / layer.dy[0].size),
    "variance": (NORM, "x", 0.1, no_variance_term),
    "evaluation": (
        NORM,
        "x (evaluation)",
        1e-3,
        lambda g, layer: g if layer.training else g * 1.001,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_and_only_the_wrong_tensor_is_blamed(mistake):
    (layer, shape), blamed, least, change = mistake
    errors = check_layer(layer, shape)
    assert max(errors.values()) < 1e-6
    errors = check_layer(Broken(layer, blamed, change), shape)
    wrong = [name for name, error in errors.items() if error > 1e-6]
    assert blamed in wrong and {*wrong} <= {blamed, f"{blamed} (evaluation)"}
    assert errors[blamed] >= least * 0.99


class Odd(tinyae.ReLU):
    def __init__(self, f):
        self.f = f

    def forward(self, x):
        return super().forward(self.f(x))


class Old(tinyae.ReLU):
    def backward(self, dy):
        return super().backward(dy)


def write(array):
    array[:] = 0


def late(g, layer):
    """Be wrong only as training calls it."""
    return g if layer.input_grad else g * 2


@pytest.mark.parametrize(
    "layer, message",
    [
        (
            Broken(CONV[0], "x", lambda g, layer: g.T),
            "Broken, the gradient for x: got ndarray of shape (4, 7, 5, 2), expected s",
        ),
        (
            Broken(CONV[0], "inner.weight", late),
            "Broken: backward with input_grad=False stores other gradients, expected ",
        ),
        (Broken(CONV[0], "x", lambda g, layer: write(layer.dy)), "destination is read"),
        (Odd(write), "destination is read-only"),
        (
            Odd(lambda x: x * rng.random(x.shape)),
            "Odd, the gradient for x: forward is not smooth within 0.0001 of most",
        ),
        (Old(), "unexpected keyword argument 'input_grad'"),
    ],
)
def test_what_cannot_be_compared_is_an_error(layer, message):
    with pytest.raises((ValueError, TypeError)) as raised:
        check_layer(layer, CONV[1])
    assert message in str(raised.value)


def test_a_slope_is_measured_to_eleven_digits():
    x, dy = np.array([0.5, 2.0]), np.array([3.0, -1.0])
    slopes = [measure(lambda: x**3 * x[0], x, dy, (i,), 1e-3) for i in (0, 1)]
    assert slopes == pytest.approx([4 * 3 / 8 - 8, -3 * 4 / 2], abs=1e-11)
    assert x.tolist() == [0.5, 2.0]


def test_an_entry_with_a_kink_within_two_steps_is_left_out():
    x = np.zeros(1)
    for at in (-1.9e-4, -1e-4, -0.3e-4, 0, 0.5e-4, 1.5e-4, 2.1e-4):
        x[0] = at
        slope = measure(lambda: np.maximum(x, 0), x, np.ones(1), (0,), 1e-4)
        assert np.isnan(slope) == (at < 2e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_inputs_may_have_any_size(scale):
    (x,) = arrays(1, (2, 4, 5, 3))
    for layer in tinyae.Conv2d(2, 3, 3, seed=1), tinyae.BatchNorm2d(2), tinyae.ReLU():
        assert max(check_layer(layer, x * scale).values()) < 1e-6


def test_a_sampled_check_compares_that_many_entries(monkeypatch):
    looked = []

    def spy(f, x, dy, index, step):
        looked.append((x.size, tuple(index)))
        return 1.0

    monkeypatch.setattr(gradcheck, "measure", spy)
    check_layer(*CONV, entries=7)
    assert [size for size, _ in looked] == [280] * 7 + [54] * 7 + [3] * 3
    assert len(set(looked)) == 17


def test_everything_is_as_before_and_a_seed_repeats():
    (x,) = arrays(1, NORM[1])
    before = pickle.dumps([x, NORM[0]])
    errors = check_layer(NORM[0], x, 3)
    assert errors == check_layer(NORM[0], x, 3) != check_layer(NORM[0], x, 4)
    assert pickle.dumps([x, NORM[0]]) == before


class Dropout(Layer):
    """Its mask is drawn from a count of forwards, which is saved with the model."""

    def __init__(self):
        self.count = Parameter(np.zeros(1), trainable=False)

    def forward(self, x):
        mask = 1
        if self.training:
            self.count.data = self.count.data + 1
            mask = np.random.default_rng(int(self.count.data[0])).random(x.shape) < 0.5
        return self.save_for_backward(x * mask, mask)

    def backward(self, dy, input_grad=True):
        return dy * self.saved(dy)[0]


def test_a_layer_that_draws_can_be_checked_if_its_state_is_a_parameter():
    errors = check_layer(Dropout(), (3, 4))
    assert errors.keys() == {"x", "x (evaluation)"}
    assert max(errors.values()) < 1e-8


class BCELoss:
    def __init__(self, factor):
        self.factor = factor

    def forward(self, y, target):
        self.y, self.target = y, target
        return -np.mean(target * np.log(y) + (1 - target) * np.log(1 - y))

    def backward(self):
        slope = (self.y - self.target) / (self.y * (1 - self.y))
        return self.factor * slope / self.y.size


def test_a_loss_is_checked():
    assert check_loss(BCELoss(1), (3, 4))["y"] < 1e-8
    assert check_loss(BCELoss(1.001), (3, 4)) == {"y": pytest.approx(1e-3, rel=1e-3)}


# The command

POOLING = '''"""Max pooling, as a reader adds it to the package."""
from . import checks
from .backend import namespace
from .layer import Layer

class MaxPool2d(Layer):
    """The largest of each kernel_size x kernel_size pixels."""

    def __init__(self, kernel_size):
        self.kernel_size = checks.integer("kernel_size", kernel_size)

    def forward(self, x):
        checks.array("x", x, ("C", "H", "W", "N"))
        C, H, W, N = x.shape
        xp = namespace(x)
        k = self.kernel_size
        x = xp.reshape(x, (C, H // k, k, W // k, k, N))
        y = xp.max(x, axis=(2, 4), keepdims=True)
        largest = xp.astype(x == y, x.dtype)
        y = xp.reshape(y, (C, H // k, W // k, N))
        return self.save_for_backward(y, largest)

    def backward(self, dy, input_grad=True):
        (largest,) = self.saved(dy)
        xp = namespace(dy)
        C, H, W, N = dy.shape
        k = self.kernel_size
        dx = largest * xp.reshape(dy, (C, H, 1, W, 1, N))
        return xp.reshape(dx, (C, H * k, W * k, N))

CHECKS = [(MaxPool2d(2), (3, 4, 6, 5))]
'''


def test_the_command_checks_the_package_and_what_a_reader_adds_to_it(tmp_path):
    """Also where the output's encoding lacks characters."""
    shutil.copytree(Path(tinyae.__file__).parent, tmp_path / "tinyae")
    (tmp_path / "tinyae" / "pooling.py").write_text(POOLING)

    def rows(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "tinyae.gradcheck", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONSAFEPATH": ""},
        )
        assert (done.returncode, done.stderr) == (0, "")
        header, *rows = done.stdout.splitlines()
        assert all(row.endswith(" ok") for row in rows)
        return [row.split(",")[0] for row in rows]

    assert rows("tinyae/pooling.py") == ["MaxPool2d"]
    known = {*tinyae.__all__} - {"Adam", "SGD", "Sequential"}
    assert {*rows()} == known | {"MaxPool2d"}


SQUARE = """
from helper_of_theirs import two
from tinyae.layer import Layer

class Square(Layer):
    def forward(self, x):
        return self.save_for_backward(x * x, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.saved(dy)
        return dx

CHECKS = [(Square(), [3, 4])]
"""
NONE = "layer_of_theirs.py: got no CHECKS, expected a Python file that defines CHECKS"


@pytest.mark.parametrize(
    "text, code, words",
    [
        (SQUARE.replace("dx", "two * x * dy"), 0, "ok"),
        (SQUARE.replace("dx", "2.001 * x * dy"), 1, "FAILED"),
        (SQUARE, 1, "NameError: name 'dx' is not defined"),
        ("CHECKS = []", 1, NONE),
        (None, 1, NONE),
    ],
)
def test_the_command_on_a_readers_file(
    tmp_path, monkeypatch, capsys, text, code, words
):
    (tmp_path / "helper_of_theirs.py").write_text("two = 2")
    file = tmp_path / "layer_of_theirs.py"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(sys, "argv", ["gradcheck", str(file)])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(SystemExit) as caught:
        gradcheck.main()
    assert bool(caught.value.code) == code
    assert words in f"{capsys.readouterr().out}{caught.value.code}"
