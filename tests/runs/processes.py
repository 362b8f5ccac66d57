"""Lessons as processes: start them, watch them, and see what remains of them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tinyae import checkpoint

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "lessons"
LESSON_1 = LESSONS / "01_objective1.py"
SMALL = Path(__file__).with_name("small_training.py")
NAMES, EPOCHS = ("Normal", "RandomErasing"), 6
BATCHES = 10  # in an epoch: 8 to train and 2 to test
WAIT = 300  # seconds; never reached, however slow the machine


def start(folder, *arguments, program=SMALL, flags=(), **variables):
    """Start a lesson in a process group of its own, as a terminal does.

    folder: its output and its cache. variables: added to the environment.
    """
    options = ["--backend", "numpy", "--quick", "--output", folder, *arguments]
    if program == SMALL and "--epochs" not in arguments:
        options += ["--epochs", EPOCHS]
    variables = {"TINYAE_CACHE": str(folder), "PYTHONUNBUFFERED": "1"} | variables
    variables["OMP_NUM_THREADS"] = "1"  # threads wait for each other on a busy machine
    return subprocess.Popen(
        [sys.executable, *flags, *map(str, [program, *options])],
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def finish(process):
    """Return (exit status, stdout, stderr); fail if there is a traceback."""
    out, err = process.communicate(timeout=WAIT)
    for words in ("Traceback", "Exception ignored", "Error:", "leaked"):
        assert words not in out + err, out + err
    return process.returncode, out, err


def run(folder, *arguments, **how):
    """Return the output of a lesson that ends well."""
    status, out, err = finish(start(folder, *arguments, **how))
    assert status == 0, err
    return out


def hashes(out):
    """Return the lines that small_training.py prints at its end."""
    found = re.findall(r"^\w+ [0-9a-f]{32}$", out, re.M)
    assert len(found) == len(NAMES)
    return found


def log(folder):
    """Return [(training, process), ...] of the batches begun so far."""
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, int(pid)) for name, pid in map(str.split, lines)]


def saved(folder):
    """Return {training: its finished epochs on the disk}."""
    found = {}
    for path in (folder / "trainings").glob("*.checkpoint"):
        found[path.name.split("-")[0]] = len(checkpoint.load(path)["history"])
    return found


def until(condition, process=None):
    """Wait for condition(); return False if `process` ended before."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if condition():
            return True
        if process and process.poll() is not None:
            return False
        time.sleep(0.01)
    raise AssertionError("it never happened")


def processes():
    """Return {process: its group} of all that are alive."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if state not in "ZX":
            found[int(path.parent.name)] = int(group)
    return found


def members(process):
    """Return how many processes of the group that `process` leads are alive."""
    return list(processes().values()).count(process.pid)
