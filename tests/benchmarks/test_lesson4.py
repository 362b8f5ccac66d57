"""Lesson 4 runs, and what it and the benchmark compare computes the same.

No time is asserted.
"""

import subprocess
import sys

import count_launches
import counted
import make_golden
import nchw
import numpy as np
import pytest
from conftest import ROOT

import tinyae
from data_tools import GaussianNoise, RandomErasing
from tinyae.experiment import Experiment
from tinyae.training import Training

IMAGES = np.random.default_rng(1).uniform(-1, 1, (32, 1, 28, 28)).astype("float32")


def run(*command):
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lesson_4(tmp_path):
    options = "--quick", "--backend", "numpy", "--output", tmp_path
    said = run(ROOT / "lessons" / "04_speed.py", *options)
    assert (tmp_path / "figure1_roofline.png").exists()
    for words in ("im2col, batch last", "waits for", "This run "):
        assert words in said
    # the intensity of Linear(288, 128), counted by hand
    operations = 3 * 2 * 288 * 128 * 256
    moved = 3 * 288 * 128 + 4 * (288 + 128) * 256
    assert f"{operations / moved:.1f}" in said


def test_the_textbook_network_is_right():
    ours = Training(Experiment())
    theirs = nchw.twin(ours.model)
    parameters = nchw.parameters(theirs)
    adam = tinyae.Adam(list(parameters.values()))
    loss = nchw.train_step(theirs, adam, IMAGES)
    assert abs(loss - ours.train_step(IMAGES, IMAGES)) < 1e-6
    for name, p in ours.model.named_parameters():
        if p.trainable:
            bound = 2e-6 + 1e-5 * abs(p.grad).max()
            assert abs(parameters[name].grad - p.grad).max() < bound, name


def test_the_benchmark_runs():
    folder = ROOT / "tests" / "benchmarks"
    said = run(folder / "benchmark.py", "textbook", "--quick", "--rounds", 1)
    assert "textbook / tinyae" in said
    said = run(folder / "count_launches.py")
    assert "no corruption" in said


@pytest.mark.parametrize("corruption", [None, GaussianNoise(0.5), RandomErasing()])
def test_launches_of_a_step(corruption):
    counts = count_launches.launches_of_a_step(2, corruption)
    assert counts == count_launches.launches_of_a_step(16, corruption)
    assert sum(count_launches.totals(counts).values()) <= count_launches.LIMIT


def test_copies_of_operands_are_counted():
    x = counted.asarray(counted.COUNTED.from_numpy(np.ones((2, 3, 4), "float32")))
    flat = counted.reshape(x, (6, 4))
    for product, copies in (
        (lambda: x @ x.mT, 1),
        (lambda: flat @ flat.T, 0),
        (lambda: flat[:, ::2] @ flat.T[::2, :], 2),
        (lambda: counted.concat([x, x.T, x], axis=None), 1),
    ):
        with counted.counting() as calls:
            product()
        assert calls["copy of an operand"] == copies


def test_pytorchs_twin():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch_training

    ours = tinyae.AnelloAutoencoder(3, seed=1)
    theirs = torch_training.twin(ours)
    names = make_golden.shapes(theirs)
    state = dict(zip(names, ours.state_dict().values(), strict=True))
    make_golden.load(theirs, state)
    theirs = theirs(torch.tensor(IMAGES)).detach().numpy()
    np.testing.assert_allclose(ours(IMAGES), theirs, rtol=0, atol=1e-6)


def test_pytorchs_erasing():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch_training

    boxes = torch_training.erase(torch.ones(4000, 1, 28, 28)) == 0
    share = boxes.float().mean(dim=(1, 2, 3)).numpy()
    assert 0.45 < np.mean(share > 0) < 0.55
    assert 0.01 < share[share > 0].min()
    assert share.max() < 0.36
