"""The command python -m tinyae.gradcheck: on this package, on a mistake, on a reader's file."""

import subprocess
import sys
from pathlib import Path

import pytest

import tinyae
from tinyae import gradcheck


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tinyae.gradcheck", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )


def test_the_command_passes_on_this_package():
    done = command()
    header, *rows = done.stdout.splitlines()
    assert (
        done.returncode == 0
        and not done.stderr
        and header.split() == ["layer", "worst", "tensor", "error", "bound"]
    )
    assert len(rows) == 20 and all(row.endswith(" ok") for row in rows)
    assert all(
        any(row.startswith(name) for row in rows)
        for name in tinyae.__all__
        if name != "Adam"
    )


def test_the_command_sees_a_mistake(monkeypatch, capsys):
    right = tinyae.Sigmoid.backward
    monkeypatch.setattr(
        tinyae.Sigmoid, "backward", lambda self, dy: 1.001 * right(self, dy)
    )
    monkeypatch.setattr(sys, "argv", ["gradcheck"])
    with pytest.raises(SystemExit) as exit:
        gradcheck.main()
    failed = [
        row.split("(")[0]
        for row in capsys.readouterr().out.splitlines()
        if row.endswith("FAILED")
    ]
    assert exit.value.code == 1 and failed == [
        "Sigmoid",
        "Sequential",
        "AnelloAutoencoder",
    ]


LAYER_FILE = """
from tinyae.layer import Layer

class Square(Layer):
    def forward(self, x):
        return self.keep(x * x, x)

    def backward(self, dy):
        (x,) = self.kept(dy)
        return {backward}

CHECKS = [(Square(), [3, 4])]
"""


@pytest.mark.parametrize(
    "text, code, said",
    [
        (LAYER_FILE.format(backward="2 * x * dy"), 0, "ok"),
        (LAYER_FILE.format(backward="x * dy"), 1, "FAILED"),
        (
            LAYER_FILE.format(backward="2 * z * dy"),
            1,
            "FAILED, NameError: name 'z' is not defined ({file}, line 10)",
        ),
        (
            "",
            1,
            "{file}: expected a Python file that defines CHECKS = [(layer, input_shape), ...], got KeyError: 'CHECKS'",
        ),
        (
            "CHECKS = 3",
            1,
            "[(layer, input_shape), ...], got TypeError: 'int' object is not iterable",
        ),
        ("CHECKS = []", 1, "[(layer, input_shape), ...], got ValueError: CHECKS = []"),
        (LAYER_FILE.format(backward="2 * x * dy + [1, 'ok']"), 1, "FAILED, "),
        ("\n1 / 0", 1, "got ZeroDivisionError: division by zero ({file}, line 2)"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
        ("raise SystemExit(0)", 1, "SystemExit: 0 ({file}, line 1)"),
        (None, 1, "FileNotFoundError"),
    ],
)
def test_the_command_on_a_readers_file(tmp_path, monkeypatch, capsys, text, code, said):
    file = tmp_path / "their_file.py"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(sys, "argv", ["gradcheck", str(file)])
    with pytest.raises(SystemExit) as exit:
        gradcheck.main()
    output = capsys.readouterr().out.splitlines()[1:] + [exit.value.code] * isinstance(
        exit.value.code, str
    )
    assert (exit.value.code if isinstance(exit.value.code, int) else 1) == code
    assert len(output) == 1 and said.format(file=file) in output[0]
