"""Lessons as processes: start them, and see how they end."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "lessons"
LESSON_1 = LESSONS / "01_objective1.py"
WAIT = 240  # seconds; an idle worker would end after 300


def start(folder, *arguments, program, flags=(), cwd=None, **variables):
    """Start a lesson in a process group of its own, as a terminal does.

    folder: its output and its cache. variables: added to the environment.
    """
    options = ["--backend", "numpy", "--quick", "--output", folder, *arguments]
    variables = {"TINYAE_CACHE": str(folder), "PYTHONUNBUFFERED": "1"} | variables
    variables["OMP_NUM_THREADS"] = "1"  # threads wait for each other on a busy machine
    return subprocess.Popen(
        [sys.executable, *flags, *map(str, [program, *options])],
        cwd=cwd,
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
