"""The command python -m tinyae.gradcheck: on this package, and on a reader's file."""

import subprocess
import sys
from pathlib import Path

import pytest

import tinyae
from tinyae import gradcheck


def test_the_command_passes_on_this_package(monkeypatch):
    """Also where the output's encoding lacks characters."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = subprocess.run(
        [sys.executable, "-m", "tinyae.gradcheck"],
        capture_output=True,
        text=True,
        cwd=Path(tinyae.__file__).parents[1],
    )
    header, *rows = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert header.split() == ["layer", "worst", "tensor", "error", "bound"]
    assert all(row.endswith(" ok") for row in rows)
    for name in set(tinyae.__all__) - {"Adam", "MSELoss"}:
        assert any(row.startswith(name) for row in rows)


def run(monkeypatch, capsys, *arguments):
    """Return the rows that the command prints, or its last sentence, and its status."""
    monkeypatch.setattr(sys, "argv", ["gradcheck", *arguments])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(SystemExit) as caught:
        gradcheck.main()
    rows = capsys.readouterr().out.splitlines()[1:]
    code = caught.value.code
    return ([code], 1) if isinstance(code, str) else (rows, code)


def test_the_command_notices_a_mistake(monkeypatch, capsys):
    right = tinyae.Sigmoid.backward
    layers = tinyae.ReLU(), tinyae.Sigmoid(), tinyae.Sequential(tinyae.Sigmoid())
    rows = [(layer, (2, 3), 1e-6) for layer in layers]
    monkeypatch.setattr(gradcheck, "configurations", lambda: rows)
    monkeypatch.setattr(tinyae.Sigmoid, "backward", lambda *a, **k: 1.001 * right(*a))
    rows, code = run(monkeypatch, capsys)
    assert code == 1
    assert [row.split()[-1] for row in rows] == ["ok", "FAILED", "FAILED"]


SQUARE = """
from helper_of_theirs import two
from tinyae.layer import Layer

class Square(Layer):
    def forward(self, x):
        return self.save(x * x, x)

    def backward(self, dy):
        (x,) = self.saved(dy)
        return dx

CHECKS = [(Square(), [3, 4])]
"""
FORM = "[(layer, input_shape), ...], got "


@pytest.mark.parametrize(
    "text, code, words",
    [
        (SQUARE.replace("dx", "two * x * dy"), 0, "ok"),
        (SQUARE.replace("dx", "x * dy"), 1, "FAILED"),
        (SQUARE, 1, "FAILED, NameError: name 'dx' is not defined ({file}, line 11)"),
        ("", 1, f"a Python file that defines CHECKS = {FORM}KeyError: 'CHECKS'"),
        ("CHECKS = 3", 1, FORM + "TypeError: 'int' object is not iterable"),
        ("CHECKS = [(3, (4,))]", 1, "FAILED, "),
        ("CHECKS = []", 1, FORM + "ValueError: CHECKS = []"),
        ("\n1 / 0", 1, "got ZeroDivisionError: division by zero ({file}, line 2)"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
        ("raise SystemExit(0)", 1, "SystemExit: 0 ({file}, line 1)"),
        (None, 1, "FileNotFoundError"),
    ],
)
def test_the_command_on_a_readers_file(
    tmp_path, monkeypatch, capsys, text, code, words
):
    folder = tmp_path / "sub folder"
    folder.mkdir()
    (folder / "helper_of_theirs.py").write_text("two = 2")
    if text is not None:
        (folder / "layer_of_theirs.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    file = "sub folder/layer_of_theirs.py"
    rows, got = run(monkeypatch, capsys, file)
    assert (len(rows), got) == (1, code)
    assert words.format(file=file) in rows[0]
