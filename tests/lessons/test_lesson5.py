"""Lesson 5: the gradients of its networks, and what `fill` may change."""

import ast
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinyae.gradcheck import check_layer

LESSON = Path(__file__).resolve().parents[2] / "lessons" / "05_robust.py"


def definitions():
    """Return the lesson's networks and `fill`, without running the lesson."""
    names = {"np": np}
    tree = ast.parse(LESSON.read_text("utf-8"))
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    kept = [n for n in imports if n.module.startswith("tinyae")]
    kept += [n for n in tree.body if isinstance(n, ast.ClassDef)]
    kept += [n for n in tree.body if getattr(n, "name", "") == "fill"]
    exec(compile(ast.Module(kept, []), LESSON, "exec"), names)
    return SimpleNamespace(**names)


lesson = definitions()
NETWORKS = [
    lesson.SkipAutoencoder,
    partial(lesson.SkipAutoencoder, skips=False, bottleneck=False),
    lesson.ResidualAutoencoder,
]


@pytest.mark.parametrize("network", NETWORKS)
def test_backward_is_the_derivative(network):
    layer = network(5, width=2, seed=1)
    errors = check_layer(layer, (3, 1, 28, 28), step=3e-6, entries=4)
    assert max(errors.values()) < 1e-5
    y = layer.forward(np.ones((3, 1, 28, 28), "float32"))
    assert layer.backward(y, input_grad=False) is None


def test_fill_keeps_the_known_pixels_and_replaces_the_others():
    images = np.zeros((3, 1, 28, 28), "float32")
    known = np.arange(images.size).reshape(images.shape) % 3 > 0
    denoiser = SimpleNamespace(reconstruct=np.ones_like)
    filled = lesson.fill(denoiser, images, known, passes=2)
    assert np.array_equal(filled, np.where(known, images, 1))
    assert filled.dtype == images.dtype and not images.any()
