"""Lesson 5's network: its backward, what it subtracts, and what it leaves alone."""

import ast
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tinyae.gradcheck import check_layer

LESSON = Path(__file__).resolve().parents[2] / "lessons" / "05_robust.py"
PIECES = [{"skips": s, "bottleneck": b} for s, b in product((True, False), repeat=2)]


def lesson_class():
    """Return the lesson's network without running the lesson."""
    names = {"np": np}
    tree = ast.parse(LESSON.read_text("utf-8"))
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    kept = [n for n in imports if n.module.startswith("tinyae")]
    kept += [n for n in tree.body if isinstance(n, ast.ClassDef)]
    exec(compile(ast.Module(kept, []), LESSON, "exec"), names)
    return names["SkipAutoencoder"]


Network = lesson_class()


def images(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("pieces", PIECES)
def test_backward_is_the_derivative(pieces):
    network = Network(5, width=2, **pieces, seed=1)
    errors = check_layer(network, (3, 1, 28, 28), step=3e-6, entries=4)
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("skips", [True, False])
def test_output_is_the_input_minus_what_the_last_layer_returns(skips):
    network, x = Network(5, width=2, skips=skips, seed=1), images(3, 1, 28, 28)
    last = network.up[0][-1]
    last.weight.data = np.zeros_like(last.weight.data)
    last.bias.data = np.full_like(last.bias.data, 0.25)
    assert np.array_equal(network(x), x - 0.25 if skips else np.full_like(x, 0.25))


@pytest.mark.parametrize("pieces", PIECES)
def test_arguments_and_results_are_not_modified(pieces):
    network = Network(5, width=2, **pieces, seed=1)
    x, dy = images(3, 1, 28, 28), images(3, 1, 28, 28, seed=2)
    x.flags.writeable = dy.flags.writeable = False
    y = network(x)
    y_before = y.copy()
    dx = network.backward(dy)
    assert np.array_equal(y, y_before)
    assert dx.shape == x.shape

    gradients = [p.grad for p in network.parameters()]
    assert network.backward(dy, input_grad=False) is None
    for gradient, p in zip(gradients, network.parameters(), strict=True):
        assert np.array_equal(gradient, p.grad)


def test_codes():
    x = images(3, 1, 28, 28)
    assert Network(5, width=2, seed=1).encode(x).shape == (3, 5)
    assert Network(5, width=2, bottleneck=False, seed=1).encode(x).shape == (3, 72)
