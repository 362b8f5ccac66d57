"""What users do, done with lesson 1: it works, or one sentence says why not."""

import csv
import json
import os
import subprocess
import sys

import pytest
from processes import LESSON_1, LESSONS, ROOT, finish, run, start

NAMES = ("Normal", "Gaussian σ=1", "RandomErasing")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a folder where lesson 1 has run for one epoch, and what it printed."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(folder, "--epochs", 1, program=LESSON_1)


def again(warm, *arguments, **how):
    """Start the same lesson again; nothing has to be trained."""
    return start(warm[0], "--epochs", 1, *arguments, **({"program": LESSON_1} | how))


def python(code, *arguments, **variables):
    """Return the output of Python code that can import the lessons."""
    path = {"PYTHONPATH": os.pathsep.join([str(LESSONS), str(ROOT)])}
    path["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | path | variables,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_of_one_epoch_has_each_row_once(warm):
    with open(warm[0] / "table1.csv", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["dataset", "epoch", "split", "loss", "report"]
    keys = [[name, "1", split] for name in NAMES for split in ("train", "test")]
    assert [row[:3] for row in rows] == keys
    losses = {(name, split): float(loss) for name, _, split, loss, _ in rows}
    assert all(0.55 < loss < 2.6 for loss in losses.values())
    excess = losses["Gaussian σ=1", "test"] - losses["Normal", "test"]
    assert abs(excess - 1) < 0.1  # sigma squared
    assert {row[4] for row in rows} == {"-"}, "the sample is not the report's data"


def test_a_second_run_trains_nothing_and_says_the_same(warm):
    """Also with python -P, and with a notebook's matplotlib backend that is absent."""
    files = [*(warm[0] / "trainings").iterdir()]
    before = {file: file.stat().st_mtime_ns for file in files}
    process = again(warm, flags=["-P"], MPLBACKEND="module://absent")
    assert finish(process) == (0, warm[1], "")
    assert {file: file.stat().st_mtime_ns for file in files} == before


C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "cp1252"}, C], ids=str)
def test_an_encoding_without_sigma(warm, tmp_path, variables):
    """From a path with spaces, quotes and letters beyond ASCII, through a link."""
    folder = tmp_path / 'it\'s "ü" σ'
    folder.symlink_to(LESSONS)
    output = tmp_path / "σ"
    variables = {"program": folder / LESSON_1.name} | variables
    status, out, err = finish(again(warm, "--output", output, **variables))
    assert (status, err) == (0, "") and "Gaussian ?=1" in out
    assert out.count("\n") == warm[1].count("\n")
    table = (output / "table1.csv").read_bytes()
    assert table == (warm[0] / "table1.csv").read_bytes()


@pytest.mark.parametrize("lines", [0, 3])
def test_head(warm, lines):
    """python lesson.py | head -3 ends quietly."""
    process = again(warm, PYTHONUNBUFFERED="1" if lines else "")
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() in (1, 141) and err == ""


def test_help_explains_every_option():
    command = [sys.executable, LESSON_1, "--help"]
    env = os.environ | {"PYTHONIOENCODING": "cp1252"}
    out = subprocess.check_output(command, env=env).decode("cp1252")
    options = "seed output backend quick epochs latent-dim data fresh"
    assert all(f"--{option} " in out for option in options.split())


OPTIONS = """
import contextlib, io, json, sys
sys.modules["cupy"] = None
import common
for sys.argv[1:] in json.loads(sys.argv[1]):
    said, status = io.StringIO(), 0
    with contextlib.redirect_stderr(said):
        try:
            common.load(common.options("lesson", "words"))
        except SystemExit as error:
            status = error.code
        except Exception as error:
            status = 1
            said.write(common.sentence(error))
    print(json.dumps([status, said.getvalue()]))
"""


def options(arguments, **variables):
    """Return [(exit status, stderr), ...] of a lesson with each of these arguments."""
    lists = json.dumps([[str(a) for a in given] for given in arguments])
    lines = python(OPTIONS, lists, **variables).splitlines()
    return [json.loads(line) for line in lines if line.startswith("[")]


WRONG = {  # arguments: what is said
    ("--epochs", "0"): "argument --epochs: got '0', expected an integer from 1",
    ("--epochs", 10**12): "argument --epochs: got '1000000000000', expected",
    ("--epochs", "9" * 5000): "argument --epochs: ",
    ("--epochs=--5",): "argument --epochs: ",
    ("--seed=-1",): "argument --seed: got '-1', expected an integer from 0",
    ("--latent-dim", "four"): "argument --latent-dim: got 'four', expected",
    ("--latent-dim", 99999999999): "argument --latent-dim: got '99999999999'",
    ("--latent-dim", 785): "argument --latent-dim: got '785', expected",
    ("--backend", "abacus"): "argument --backend: got 'abacus', expected one of",
    ("--backend", "cupy"): "CuPy is not installed: pip install 'cupy-cuda12x[ctk]>",
    ("--data", "/nowhere"): "/nowhere",
    ("--qui",): "unrecognized arguments: --qui",
}


def test_a_wrong_option_is_one_sentence(tmp_path):
    home = ["--output", tmp_path, "--data", "sample"]
    said = options([[*home, *given] for given in WRONG], TINYAE_CACHE=str(tmp_path))
    for (status, text), words in zip(said, WRONG.values(), strict=True):
        assert status in (1, 2) and words in text.splitlines()[-1]


def test_a_path_that_cannot_be_is_one_sentence(tmp_path):
    """Before any training, whichever of the files cannot be written."""
    (tmp_path / "file").touch()
    for folder in ("1/run.json", "2/figure4_tsne.png", "3/table1.csv"):
        (tmp_path / folder).mkdir(parents=True)
    paths = ["file", "file/below", "a" * 300, "1", "2", "3", "/proc/x"]
    arguments = [["--quick", "--output", tmp_path / path] for path in paths]
    cache = {"TINYAE_CACHE": str(tmp_path / "cache")}
    for (status, text), path in zip(options(arguments, **cache), paths, strict=True):
        words = f"argument --output: cannot write to {tmp_path / path}"
        assert status == 2 and words in text, path


@pytest.mark.parametrize("cache", ["file", "file/below", "/proc/x"])
def test_a_cache_that_cannot_be_is_one_sentence(tmp_path, cache):
    (tmp_path / "file").touch()
    cache = str(tmp_path / cache)
    status, _, err = finish(start(tmp_path, program=LESSON_1, TINYAE_CACHE=cache))
    assert status in (1, 2) and "TINYAE_CACHE" in err


def test_the_home_folder_and_an_empty_cache(tmp_path):
    code = "import sys, sweep, common; print(sweep.CACHE, common.path(sys.argv[1]))"
    for given, cache in {"": ROOT / "results", "~/c": tmp_path / "c"}.items():
        out = python(code, "~/x", HOME=str(tmp_path), TINYAE_CACHE=given)
        assert out == f"{cache} {tmp_path / 'x'}\n"
    out = python(code, "~nobody9/x", TINYAE_CACHE="~nobody9/y")
    assert out == "~nobody9/y ~nobody9/x\n"


def test_a_code_of_one_number(tmp_path):
    """t-SNE starts from two principal components, which one number does not have."""
    run(tmp_path, "--latent-dim", 1, "--epochs", 1, program=LESSON_1)
    assert (tmp_path / "figure4_tsne.png").exists()


SMALL_COMPUTER = """
import dataclasses, os, runpy, subprocess, sys, threading

os.environ["JOBLIB_MULTIPROCESSING"] = "0"
import sklearn.manifold  # the browser's own does not need what is blocked now

def refuse(*arguments, **keywords):
    raise RuntimeError("there are none here")

sys.modules["_multiprocessing"] = None
threading.Thread.start = subprocess.Popen.__init__ = refuse

import common, figures, numpy, sweep
from tinyae import backend

class Narrow:
    def __getattr__(self, name):
        thing = getattr(numpy, name)
        if name not in ("array", "asarray", "arange", "argsort", "argmax", "sum"):
            return thing

        def narrow(*arguments, **keywords):
            result = thing(*arguments, **keywords)
            given = len(arguments) > 1 or "dtype" in keywords
            copied = isinstance(arguments[0], numpy.ndarray) and "array" in name
            wide = result.dtype == "int64" and not given and not copied
            return result.astype("int32") if wide else result

        return narrow

assert Narrow().array(5).dtype == "int32"
OURS = "tinyae", "data_tools", "common", "figures"
for module in list(sys.modules.values()):
    if getattr(module, "np", None) is numpy and module.__name__.startswith(OURS):
        module.np = Narrow()
backend.register(dataclasses.replace(backend.find("numpy"), xp=Narrow()))
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_a_32_bit_browser_without_processes_and_threads(warm):
    """Lesson 1 trains again and comes to its end, with the same numbers."""
    code = SMALL_COMPUTER.replace("sys.argv[1]", repr(str(LESSON_1)))
    arguments = "--quick --backend numpy --epochs 1 --fresh --output".split()
    folder = str(warm[0])
    assert python(code, *arguments, folder, TINYAE_CACHE=folder) == warm[1]


NOTEBOOK = """
import sys, types

kernel, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
kernel.get_ipython = lambda: types.SimpleNamespace(set_custom_exc=lambda *_: None)
shown.HTML, shown.display = str, print
modules = {"IPython": kernel, "IPython.display": shown, "ipykernel": kernel}
sys.modules.update(modules)
sys.argv = ["ipykernel_launcher.py", "-f", "kernel-1.json", "--HistoryManager.x=0"]
import matplotlib; matplotlib.use("agg")
import common

for _ in range(2):  # a reader runs the first cell again
    args = common.options("lesson", "words")
    print(args.epochs, args.quick)
common.heading("not printed again")
common.table(["a"], [["<b>"]], "title")
"""


def test_a_notebook(tmp_path):
    """The kernel's arguments are not the lesson's; TINYAE_OPTIONS are."""
    given = f"--quick --epochs 2 --output '{tmp_path}/a b'"
    cache = {"TINYAE_CACHE": str(tmp_path)}
    out = python(NOTEBOOK, TINYAE_OPTIONS=given, **cache)
    assert out.count("2 True\n") == 2 and (tmp_path / "a b" / "run.json").exists()
    assert "<td>&lt;b&gt;</td>" in out and "not printed" not in out
