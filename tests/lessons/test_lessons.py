"""The lessons as somebody types them: what they print, write and say to a wrong option."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

LESSONS = Path(__file__).resolve().parent.parent / "lessons"


def run(tmp_path, *arguments, code=None, cache="cache"):
    """A lesson, or `code`, in a process of its own, with a cache of its own."""
    command = (
        [sys.executable, "-c", code] if code else [sys.executable, *map(str, arguments)]
    )
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=LESSONS.parent,
        env=os.environ
        | {"TINYAE_CACHE": str(tmp_path / cache), "PYTHONPATH": str(LESSONS)},
    )


@pytest.fixture(scope="module")
def lesson1(tmp_path_factory):
    """Lesson 1, quick, two epochs: (what it printed, its output folder, its temporary folder)."""
    folder = tmp_path_factory.mktemp("lesson1")
    done = run(
        folder,
        LESSONS / "01_objective1.py",
        "--quick",
        "--epochs",
        2,
        "--output",
        folder / "out",
    )
    assert done.returncode == 0, done.stderr
    return done, folder / "out", folder


def test_lesson_1_says_where_it_runs_first(lesson1):
    first, second, *_ = lesson1[0].stdout.splitlines()
    assert first.startswith("Runs on ") and first.endswith(").")
    assert "6,000 images to train and 1,000 to test" in second


def test_table_1_as_csv(lesson1):
    with open(lesson1[1] / "table1.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["dataset", "epoch", "split", "loss", "report"]
    assert [(row["dataset"], row["epoch"], row["split"]) for row in rows] == [
        (name, epoch, split)
        for name in ("Normal", "Gaussian σ=1", "RandomErasing")
        for epoch in "12"
        for split in ("train", "test")
    ]
    losses = {
        (row["dataset"], row["epoch"], row["split"]): float(row["loss"]) for row in rows
    }
    assert all(0.55 < loss < 2.6 for loss in losses.values())
    assert (
        abs(losses["Gaussian σ=1", "2", "test"] - losses["Normal", "2", "test"] - 1)
        < 0.05
    )  # sigma squared
    assert {row["report"] for row in rows} == {
        ""
    }  # the sample is not compared with the report


def test_lesson_1_writes_its_figures(lesson1):
    written = {file.name for file in lesson1[1].glob("*.png")}
    assert written == {
        "figure1_datasets.png",
        "figure2_losses.png",
        "figure3_normal.png",
        "figure3_gaussian.png",
        "figure3_randomerasing.png",
        "figure4_tsne.png",
    }
    for name in written:
        assert f"figure: {lesson1[1] / name}" in lesson1[0].stdout


def test_a_second_run_trains_nothing_and_says_the_same(lesson1):
    done, out, folder = lesson1
    before = {
        file: file.stat().st_mtime_ns
        for file in (folder / "cache" / "trainings").iterdir()
    }
    again = run(
        folder, LESSONS / "01_objective1.py", "--quick", "--epochs", 2, "--output", out
    )
    assert again.stdout == done.stdout
    assert {
        file: file.stat().st_mtime_ns
        for file in (folder / "cache" / "trainings").iterdir()
    } == before


@pytest.mark.parametrize(
    "options, said",
    [
        (["--epochs", "0"], "expected an integer of at least 1"),
        (["--seed", "-1"], "expected an integer of at least 0"),
        (["--latent-dim", "four"], "expected an integer of at least 1"),
        (["--backend", "abacus"], "expected one of"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence(tmp_path, options, said):
    done = run(
        tmp_path, LESSONS / "01_objective1.py", *options, "--output", tmp_path / "out"
    )
    assert (
        done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr
    )


def test_help_explains_every_option(tmp_path):
    done = run(tmp_path, LESSONS / "01_objective1.py", "--help")
    for option in (
        "epochs",
        "seed",
        "latent-dim",
        "data",
        "output",
        "backend",
        "quick",
        "fresh",
    ):
        assert f"--{option} " in done.stdout


def test_a_missing_dependency_is_one_pip_line(tmp_path):
    done = run(tmp_path, code="import sys; sys.modules['tqdm'] = None; import common")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "tqdm" in done.stderr and "-m pip install" in done.stderr


@pytest.mark.parametrize(
    "output, cache", [("file", "cache"), ("file/below", "cache"), ("out", "file")]
)
def test_a_file_where_a_folder_goes(tmp_path, output, cache):
    (tmp_path / "file").touch()
    done = run(
        tmp_path,
        LESSONS / "01_objective1.py",
        "--quick",
        "--epochs",
        1,
        "--output",
        tmp_path / output,
        cache=cache,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        str(tmp_path / "file") in done.stderr
        and "choose another folder with --output" in done.stderr
    )


@pytest.mark.parametrize(
    "lesson", sorted(LESSONS.glob("0*.py")), ids=lambda lesson: lesson.stem
)
def test_without_any_dependency_too(tmp_path, lesson):
    """No lesson may import one before common.py, which says what to type."""
    absent = (
        "numpy",
        "scipy",
        "sklearn",
        "joblib",
        "threadpoolctl",
        "matplotlib",
        "pooch",
        "tqdm",
    )
    done = run(
        tmp_path,
        code=f"import runpy, sys; sys.modules.update(dict.fromkeys({absent}));"  # as if not installed
        f"runpy.run_path({str(lesson)!r}, run_name='__main__')",
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert (
        any(f"need {name}," in done.stderr for name in absent)
        and "-m pip install" in done.stderr
    )


def test_a_kernels_arguments_are_not_the_lessons(tmp_path):
    """In a notebook sys.argv belongs to the kernel."""
    code = (
        "import sys, types; sys.argv = ['ipykernel_launcher.py', '-f', 'kernel-1.json', '--HistoryManager.enabled=0'];"
        "sys.modules['ipykernel'] = types.ModuleType('ipykernel'); import matplotlib; matplotlib.use('Agg');"
        f"import common; from pathlib import Path; common.ROOT = Path({str(tmp_path)!r});"
        "print(common.options('lesson', 'words').epochs)"
    )
    done = run(tmp_path, code=code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "20", done.stderr
