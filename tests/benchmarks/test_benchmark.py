"""The benchmark runs, and what it compares computes the same. No time is asserted."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyae import AnelloAutoencoder


def test_the_benchmark_runs():
    script = Path(__file__).with_name("benchmark.py")
    command = [sys.executable, script, "epoch", "--quick", "--rounds", "1"]
    # Without the variable that sweep.py sets for its workers.
    subprocess.run(command, check=True, env=os.environ | {"PYTHONSAFEPATH": ""})


def test_pytorchs_twin():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch_training

    ours = AnelloAutoencoder(3, seed=1)
    theirs = torch_training.twin(ours)
    names = [name for name in theirs.state_dict() if "num_batches" not in name]
    values = map(torch.tensor, ours.state_dict().values())
    theirs.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    x = np.random.default_rng(1).uniform(-1, 1, (32, 1, 28, 28)).astype("float32")
    y = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), y, 0, 1e-6)
