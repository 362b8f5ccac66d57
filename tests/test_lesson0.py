"""Lesson 0 runs from top to bottom with all its assertions, and its staged batch norm is the library's closed one."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyae import BatchNorm2d

LESSONS = Path(__file__).resolve().parent.parent / "lessons"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The lesson's names after a run, and the folder it wrote to."""
    output = tmp_path_factory.mktemp("lesson0")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LESSONS)
        patch.setattr(sys, "argv", ["00_backprop.py", "--output", str(output)])
        patch.setattr(
            sys, "excepthook", sys.excepthook
        )  # the lessons' own is put back afterwards
        return runpy.run_path(str(LESSONS / "00_backprop.py")), output


def test_draws_every_figure(lesson):
    _, output = lesson
    expected = [
        "03_step_size",
        "04_slopes",
        "05_im2col",
        "06_overlaps",
        "07_transposed",
        "08_shapes",
        "10_valley",
        "11_spirals",
    ]
    assert sorted(path.stem for path in output.glob("*.png")) == expected
    assert all(path.stat().st_size > 10_000 for path in output.glob("*.png"))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 2), (2, 3, 5, 4), (5, 1, 4, 3), (3, 7, 2, 6)]
)
def test_staged_batch_norm_equals_the_closed_form(lesson, shape):
    names, _ = lesson
    C, H, W, N = shape
    rng = np.random.default_rng(shape)
    x, dy = rng.normal(1.5, 2.0, shape), rng.standard_normal(shape)
    gamma, beta = (
        rng.uniform(0.5, 2.0, C),
        rng.uniform(0.5, 2.0, C),
    )  # away from 1 and 0

    layer = BatchNorm2d(C, eps=1e-3, dtype="float64")
    layer.weight.data, layer.bias.data = gamma, beta
    y, dx = layer.forward(x), layer.backward(dy)

    v = names["staged_forward"](x.reshape(C, -1), gamma[:, None], beta[:, None], 1e-3)
    d = names["staged_backward"](dy.reshape(C, -1), v)
    for got, staged in [
        (y, v["y"]),
        (dx, d["x"]),
        (layer.weight.grad, d["gamma"]),
        (layer.bias.grad, d["beta"]),
    ]:
        np.testing.assert_allclose(
            got.reshape(staged.shape), staged, rtol=1e-9, atol=1e-12
        )
