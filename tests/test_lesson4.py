"""Lesson 4 runs, and its textbook convolution and PyTorch's twin compute what ours does. No time is asserted."""

import subprocess
import sys
from pathlib import Path

import benchmark
import joblib
import make_golden
import numpy as np
import pytest

import data_tools
import tinyae

LESSONS = Path(__file__).resolve().parent.parent / "lessons"


def test_lesson_4(tmp_path):
    command = [
        sys.executable,
        LESSONS / "04_speed.py",
        "--quick",
        "--backend",
        "numpy",
        "--output",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.glob("*.png")} == {
        "figure1_three_ways.png",
        "figure2_one_change.png",
        "figure3_profile.png",
    }
    for said in (
        "The machine's limits",
        "im2col, batch last",
        "One change at a time",
        "Recorded on",
    ):
        assert said in done.stdout
    assert (
        "One model on several cores: "
        if joblib.cpu_count() > 1
        else "Left out: there is one core"
    ) in done.stdout


def test_the_benchmarks_textbook_is_right():
    benchmark.check_textbook(data_tools.load_sample().train_images)


def test_the_benchmark_counts_the_products():
    """The products of one Anello step, counted by hand: 2 x 105.9 GFLOP / 60,000 images, the first dx left out."""
    encoder = [8 * 9 * 196, 16 * 72 * 49, 32 * 144 * 9, 288 * 128, 128 * 4]
    decoder = [4 * 128, 128 * 288, 32 * 144 * 9, 16 * 72 * 49, 8 * 9 * 196]
    assert (
        benchmark.multiply_adds(tinyae.AnelloAutoencoder(), 1)
        == 3 * sum(encoder + decoder) - encoder[0]
    )


def test_pytorchs_twin():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch
    import torch_training

    ours, theirs = (
        tinyae.AnelloAutoencoder(3, seed=1),
        torch_training.twin(tinyae.AnelloAutoencoder(3)),
    )
    state = dict(
        zip(make_golden.shapes(theirs), ours.state_dict().values(), strict=True)
    )
    make_golden.load(theirs, state)
    x = np.random.default_rng(1).uniform(-1, 1, (5, 1, 28, 28)).astype("float32")
    np.testing.assert_allclose(
        ours.forward(x), theirs(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-6
    )
    boxes = torch_training.erase(torch.ones(4000, 1, 28, 28)) == 0
    share = boxes.float().mean(dim=(1, 2, 3)).numpy()
    assert (
        0.45 < np.mean(share > 0) < 0.55
        and 0.01 < share[share > 0].min()
        and share.max() < 0.36
    )
