"""Whatever the source asks of an array library, CuPy and the standard have.

CuPy imports without a GPU, so its functions can be looked up.
"""

import ast
import inspect
from functools import reduce

import pytest
from conftest import ROOT

SOURCES = [*(ROOT / "tinyae").glob("*.py"), ROOT / "data_tools" / "corruptions.py"]
TREES = {path.stem: ast.parse(path.read_text("utf-8")) for path in SOURCES}
NODES = [(name, node) for name, tree in TREES.items() for node in ast.walk(tree)]


def of(node, *owners):
    """Return whether `node` is an attribute, such as xp.sum, of one of `owners`."""
    return isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(owners)


@pytest.fixture(params=["array_api_strict", "cupy"])
def library(request):
    return pytest.importorskip(request.param, reason="CuPy is not installed")


def test_every_function_exists(library):
    names = {node.attr for _, node in NODES if of(node, "xp", "namespace(x)")}
    assert {"sum", "concat", "float32", "moveaxis", "stack", "where"} <= names
    assert not names - {*dir(library)}


def test_every_call_fits_its_function(library):
    fits = 0
    for _, node in NODES:
        if isinstance(node, ast.Call) and of(node.func, "xp", "namespace(x)"):
            try:
                signature = inspect.signature(getattr(library, node.func.attr))
            except (ValueError, TypeError):  # compiled: it does not say what it takes
                continue
            names = [keyword.arg for keyword in node.keywords if keyword.arg]
            signature.bind(*node.args, **dict.fromkeys(names))
            fits += 1
    assert fits > 10


def test_backend_py_asks_for_what_cupy_has():
    """Every chain such as cupy.cuda.Device in it exists."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    chains = [ast.unparse(node) for _, node in NODES if of(node, "cupy", "cupy.cuda")]
    assert {"cupy.cuda.Device", "cupy.random", "cupy.asnumpy"} <= {*chains}
    for chain in chains:
        reduce(getattr, chain.split(".")[1:], cupy)
    signature = inspect.signature(cupy.random.Generator.random)
    signature.bind(None, (3, 4), dtype="float32")


def test_nothing_but_random_is_asked_of_a_generator():
    """CuPy's has no `normal` or `permutation`."""
    for name, node in NODES:
        if name in ("training", "experiment", "corruptions") and of(node, "rng"):
            assert node.attr in ("random", "rng"), f"{name}, line {node.lineno}"


def test_only_backend_py_imports_another_array_library():
    """And the files with formulas do not even import NumPy."""
    formulas = "layers patches convolution losses corruptions".split()
    for name, node in NODES:
        if isinstance(node, ast.Import):
            imported = {alias.name.split(".")[0] for alias in node.names}
            allowed = set() if name in formulas else {"numpy"}
            allowed |= {"cupy"} if name == "backend" else set()
            libraries = {"numpy", "cupy", "torch", "jax", "scipy", "array_api_strict"}
            assert imported & libraries <= allowed, name
