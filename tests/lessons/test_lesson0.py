"""Lessons 0a, 0b and 0c: they run to their end, draw, and confirm what they say."""

import re

import pytest
from processes import LESSONS, run

NAMES = ("00a_backprop", "00b_convolution", "00c_batchnorm_adam")
FIGURES = {
    "00a_backprop": ["03_step_size", "04_slopes", "05_spirals"],
    "00b_convolution": ["02_im2col", "04_transposed"],
    "00c_batchnorm_adam": ["05_valley"],
}
FOUND = {  # numbers in the text that every machine repeats
    "00a_backprop": ["1e-05", "3e-12", "1e-02", "2e-06", "1,185"],
    "00b_convolution": ["7 -> 4 -> 7", "8 -> 4 -> 8 with output_padding 1"],
    "00c_batchnorm_adam": ["9.00", "0.091", "0.0055", "3.16", "step 12", "0.460"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_to_its_end(tmp_path, name):
    out = run(tmp_path, program=LESSONS / f"{name}.py")
    drawn = {path.stem: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert sorted(drawn) == FIGURES[name]
    assert min(drawn.values()) > 10_000
    for number in FOUND[name]:
        assert number in out


@pytest.mark.parametrize("name", NAMES)
def test_formulas_are_narrow_and_exercises_are_answered(name):
    text = (LESSONS / f"{name}.py").read_text(encoding="utf-8")
    formulas = re.findall(r"^# ( {4}.*)", text, re.M)
    assert max(map(len, formulas)) <= 72
    assert len(re.findall(r"^# # ", text, re.M)) == 1
    exercises = re.split(r"^# \d\. ", text.split("## On your own")[1], flags=re.M)[1:]
    assert len(exercises) >= 4
    assert all("(Expected:" in exercise for exercise in exercises)
