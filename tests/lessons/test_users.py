"""What users do, done with lesson 1: it works, or one sentence says why not."""

import csv
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import common
import figures
import numpy as np
import pytest
from processes import LESSON_1, LESSONS, ROOT, finish, run, start

import data_tools

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


# A run


def test_a_table_of_one_epoch_has_each_row_once(warm):
    with open(warm[0] / "table1.csv", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[:4] == ["dataset", "epoch", "train", "test"]
    assert [row[:2] for row in rows] == [[name, "1"] for name in NAMES]
    assert {*rows[0][4:]} == {"-"}, "the sample is not the report's data"
    losses = [float(row[3]) for row in rows]
    assert abs(losses[1] - losses[0] - 1) < 0.1  # sigma squared
    assert 0.55 < losses[2] < losses[0] < 2


def test_a_second_run_trains_nothing_and_says_the_same(warm):
    """Also with python -P, and with a notebook's matplotlib backend that is absent."""
    files = [*(warm[0] / "trainings").iterdir()]
    before = {file: file.stat().st_mtime_ns for file in files}
    process = again(warm, flags=["-P"], cwd=ROOT, MPLBACKEND="module://absent")
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


STRANGE = """
import io, os, runpy, subprocess, sys, threading

def refuse(*arguments, **keywords):
    raise RuntimeError("there are none here")

how, lesson = sys.argv[1:3]
sys.argv[:3] = [lesson]
if how == "browser":  # no processes, no threads
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"
    import sklearn.manifold  # the browser's own does not need what is blocked now
    sys.modules["_multiprocessing"] = None
    threading.Thread.start = subprocess.Popen.__init__ = refuse
elif how == "StringIO":
    sys.stdout = sys.stderr = io.StringIO()
else:
    os.close(1), os.close(2)
    sys.stdout = sys.stderr = None
runpy.run_path(lesson, run_name="__main__")
"""


@pytest.mark.parametrize("how", ["browser", "StringIO", "closed"])
def test_a_strange_home_gives_the_same_numbers(warm, tmp_path, how):
    options = "--quick --fresh --epochs 1 --output".split()
    cache = {"TINYAE_CACHE": str(warm[0])}  # it still has the layouts of t-SNE
    python(STRANGE, how, str(LESSON_1), *options, str(tmp_path), **cache)
    table = (tmp_path / "table1.csv").read_bytes()
    assert table == (warm[0] / "table1.csv").read_bytes()


# Sentences


def remote(text):
    """Return an error as joblib raises it: its cause is another process's text."""
    error = ValueError("could not be sent")
    error.__cause__ = Exception(text)
    return error


@pytest.mark.parametrize(
    "error, words",
    [
        (KeyboardInterrupt(), "Stopped. Every finished epoch is saved; the same comm"),
        (BrokenExecutor(), "A worker process was killed, memory ran out, or an exp"),
        (data_tools.DataError("it is damaged"), "it is damaged"),
        (OSError(28, "No space left"), "[Errno 28] No space left. Every finished"),
        (remote("x\nOSError: [Errno 28] No space left\n"), "[Errno 28] No space left."),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(error, words):
    assert common.sentence(error).startswith(words)
    assert common.sentence(ValueError("a bug")) is None


def options(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lesson.py", *map(str, arguments)])
    return common.options("lesson", "words")


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["--epochs", 0], "argument --epochs: got 0, expected an integer from 1"),
        (["--seed=-1"], "argument --seed: got -1, expected an integer from 0"),
        (["--latent-dim", "four"], "argument --latent-dim: invalid int value: 'four'"),
        (["--latent-dim", 785], "argument --latent-dim: got 785, expected"),
        (["--backend", "abacus"], "argument --backend: got 'abacus', expected one of"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_option_is_one_sentence(monkeypatch, capsys, wrong, words):
    with pytest.raises(SystemExit):
        options(monkeypatch, *wrong)
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--output", "TINYAE_CACHE"])
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, option):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below"
    given = {"TINYAE_CACHE": str(below)} if option == "TINYAE_CACHE" else {}
    process = start(tmp_path, "--output", below, program=LESSON_1, **given)
    status, _, err = finish(process)
    assert status == 1 and str(below) in err and option in err


def test_images_that_the_model_cannot_take_are_one_sentence(monkeypatch):
    data = data_tools.load_sample()
    data = data._replace(train_images=data.train_images[:, :8, :8])
    monkeypatch.setattr(data_tools, "load_fashion_mnist", lambda folder: data)
    with pytest.raises(data_tools.DataError, match=r"got \(8, 8\), expected \(28, 28"):
        common.load(options(monkeypatch, "--backend", "numpy"))


# Pictures


def test_tsne_of_equal_codes_of_one_number_and_of_a_few(capsys):
    """scikit-learn crashes, raises and raises."""
    for spread in (0, 1e-30):
        codes = spread * np.random.default_rng(0).random((40, 4), dtype="float32")
        assert not common.tsne(codes).any()
    assert capsys.readouterr().out.count("The autoencoder collapsed") == 2
    assert common.tsne(np.arange(9.0).reshape(9, 1)).shape == (9, 2)


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5)])
def test_an_image_is_drawn_in_grey_or_in_colour(shape):
    image = np.linspace(-1, 1, np.prod(shape)).reshape(shape)
    axis = figures.plt.figure().subplots()
    figures.show_image(axis, image)
    drawn = np.moveaxis(np.atleast_3d(axis.images[0].get_array()), 2, 0)
    np.testing.assert_allclose(drawn.squeeze(), (image.squeeze() + 1) / 2)


# Notebooks

NOTEBOOK = """
import sys, types

class Shell:
    def set_custom_exc(self, kinds, handler):
        self.handler = handler

    def showtraceback(self, *_, **__):
        print("traceback")

shell = Shell()
kernel, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
kernel.get_ipython = lambda: shell
shown.HTML, shown.display = str, print
modules = {"IPython": kernel, "IPython.display": shown, "ipykernel": kernel}
sys.modules.update(modules)
sys.argv = ["ipykernel_launcher.py", "-f", "kernel-1.json", "--HistoryManager.x=0"]
import matplotlib; matplotlib.use("agg")
import common

for _ in range(2):  # a reader runs the first cell again
    args = common.options("lesson", "words")
    print(args.epochs, args.quick)
sys.argv = ["lessons/lesson.py", "--epochs", "7", "--output", str(args.output)]
print("%run:", common.options("lesson", "words").epochs)
common.heading("not printed again")
common.table(["a"], [["<b>"]], "title")

def end(function):
    try:
        function()
    except BaseException as error:
        shell.handler(shell, type(error), error, error.__traceback__)

def interrupt():
    raise KeyboardInterrupt

common.data_tools.load_fashion_mnist = lambda data: interrupt()
end(interrupt)
end(lambda: common.load(args))
"""


def test_a_notebook(tmp_path):
    """The kernel's arguments are not the lesson's; a sentence is only for our own."""
    given = f"--quick --epochs 2 --output '{tmp_path}/a b'"
    cache = {"TINYAE_CACHE": str(tmp_path)}
    out = python(NOTEBOOK, TINYAE_OPTIONS=given, **cache)
    assert out.count("2 True\n") == 2 and (tmp_path / "a b").exists()
    assert "%run: 7\n" in out
    assert "<td>&lt;b&gt;" in out and "not printed" not in out
    assert out.endswith(
        "traceback\nStopped. Every finished epoch is saved; run the "
        "cell again to continue.\n"
    )


def test_a_session_keeps_its_own_handlers():
    assert sys.excepthook != common.explain
    assert signal.getsignal(signal.SIGINT) != common.stop
