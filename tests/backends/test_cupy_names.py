"""Whatever the source asks of an array library, CuPy and the standard have.

CuPy imports without a GPU, so its functions can be looked up. The tests run the library
on the counted backend, which offers nothing but what is checked here, and compare every
call with the signature of CuPy's function.
"""

import ast
import inspect
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from cases import arrays
from counted import CountedArray, counted
from every_layer import LAYERS
from test_backend_layers import CORRUPTIONS
from test_backend_training import IMAGES, training

import tinyae
from tinyae.backend import get_backend
from tinyae.diagnosis import first_nonfinite

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
PACKAGE = Path(tinyae.__file__).parent
SOURCES = [*PACKAGE.glob("*.py"), PACKAGE.parent / "data_tools" / "corruptions.py"]


def use_everything():
    device, _ = get_backend("counted")
    for make, shape in LAYERS.values():
        layer = make().to("counted")
        (x,) = arrays(1, shape, dtype="float32")
        y = layer.forward(device.from_numpy(x))
        layer.backward(y)
    for corruption in CORRUPTIONS:
        training("counted", corruption=corruption, clean_target=True).run(*IMAGES)
    first_nonfinite(training("counted", lr=1e37), IMAGES[0])
    training("counted").encode(np.ones((300, 1, 28, 28), "float32"))


def test_every_call_fits_cupys_function(monkeypatch):
    calls = []

    def recorded(name, function):
        def call(*arguments, **keywords):
            calls.append((name, len(arguments), tuple(keywords)))
            return function(*arguments, **keywords)

        return call

    for name, thing in vars(counted).copy().items():
        if not isinstance(thing, type):
            monkeypatch.setattr(counted, name, recorded(name, thing))
    use_everything()
    assert len({name for name, _, _ in calls}) > 10
    for name, positional, keywords in set(calls) - {("zeros", 1, ("dtype", "device"))}:
        for library in (cupy, array_api_strict):
            function = getattr(library, name)
            try:
                signature = inspect.signature(function)
            except (ValueError, TypeError):  # compiled: it does not say what it takes
                continue
            signature.bind(*[None] * positional, **dict.fromkeys(keywords))


def test_the_counted_backend_offers_nothing_that_others_lack():
    ours = {*vars(CountedArray)} - {*vars(type("Plain", (), {}))}
    ours -= {"__array__", "__array_ufunc__", "__iter__", "__slotnames__"}
    assert {"shape", "device", "T", "__iadd__", "__matmul__", "__getitem__"} <= ours
    for library, array in (
        (cupy, cupy.ndarray),
        (array_api_strict, type(array_api_strict.asarray(0))),
    ):
        assert not vars(counted).keys() - {*dir(library)}
        assert not ours - {*dir(array)}


def test_backend_py_asks_for_what_cupy_has():
    """Every chain such as cupy.cuda.Device in it exists."""
    asked = set()
    for node in ast.walk(ast.parse((PACKAGE / "backend.py").read_text("utf-8"))):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if text.startswith("cupy.") and text.replace(".", "").isidentifier():
            asked.add(text)
    assert {"cupy.cuda.Device", "cupy.random.default_rng", "cupy.asnumpy"} <= asked
    for text in asked:
        thing = cupy
        for name in text.split(".")[1:]:
            assert hasattr(thing, name), text
            thing = getattr(thing, name)


def test_random_numbers_are_drawn_as_cupys_generator_can():
    """It has `random`, but no `normal` or `permutation`."""
    signature = inspect.signature(cupy.random.Generator.random)
    signature.bind(None, (3, 4), dtype="float32")
    for path in SOURCES:
        on_device = path.stem in ("training", "experiment", "corruptions")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))) if on_device else ():
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "rng":
                assert node.attr == "random", f"{path.name}, line {node.lineno}"


def test_only_backend_py_imports_another_array_library():
    """And the files with formulas do not even import NumPy."""
    formulas = "layers patches convolution losses optim models corruptions"
    for path in SOURCES:
        imported = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
        allowed = {"numpy"} if path.stem not in formulas.split() else set()
        allowed |= {"cupy"} if path.name == "backend.py" else set()
        libraries = {"numpy", "cupy", "torch", "jax", "scipy", "array_api_strict"}
        assert imported & libraries <= allowed, path.name
