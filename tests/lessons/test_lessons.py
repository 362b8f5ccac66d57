"""Every lesson runs to its end, and without its packages it says what to type."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import LESSONS, run

each_lesson = pytest.mark.parametrize(
    "lesson", sorted(LESSONS.glob("[0-9]*.py")), ids=lambda lesson: lesson.stem
)
FOUND = {  # numbers in the text that every machine repeats
    "00a_backprop": ["1e-05", "3e-12", "1e-02", "2e-06", "1,185"],
    "00b_convolution": ["7 -> 4 -> 7", "8 -> 4 -> 8 with output_padding 1"],
    "00c_batchnorm_adam": ["3.1365%", "0.091", "0.0042", "0.0055", "3.16", "step 12"],
}


@each_lesson
def test_a_quick_run(tmp_path, lesson):
    """It says first where it runs, and announces every figure and nothing else."""
    trains = "trains=False" not in lesson.read_text("utf-8")
    out = run(tmp_path, *(["--epochs", 1] if trains else []), program=lesson)
    assert out.startswith("Runs on the CPU, through NumPy") and "1 epochs" not in out
    figures = {Path(path) for path in re.findall(r"figure: (.*\.png)", out)}
    assert figures and figures == set(tmp_path.glob("*.png"))
    assert all(path.stat().st_size > 5_000 for path in figures)
    assert all(number in out for number in FOUND.get(lesson.stem, []))


@each_lesson
def test_without_its_packages(lesson):
    """No lesson may import one before common.py, which says what to type."""
    absent = "numpy scipy sklearn joblib threadpoolctl matplotlib pooch tqdm".split()
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({absent}));"
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, lesson]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=LESSONS)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert any(f"'{name}" in done.stderr for name in absent)
    assert "-m pip install" in done.stderr
