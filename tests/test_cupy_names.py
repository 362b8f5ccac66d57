"""Everything the source asks of an array library exists in CuPy and in the array API standard.

CuPy imports without a driver, so this needs no GPU. With the tests on array_api_strict, which show that the formulas
need nothing but these names, it is what can be known about the CuPy path on a machine that cannot run it.
"""

import ast
import inspect
from pathlib import Path

import array_api_strict
import pytest
from counted import CountedArray, counted
from namespace_use import hidden, problems, uses

import tinyae

cupy = pytest.importorskip(
    "cupy",
    reason="CuPy is not installed: pip install cupy-cuda12x (it imports without a GPU)",
)

PACKAGE = Path(tinyae.__file__).parent
SOURCES = [
    *sorted(PACKAGE.glob("*.py")),
    PACKAGE.parent / "data_tools" / "corruptions.py",
]
every_source = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}"
)


@every_source
def test_every_name_exists_in_cupy(path):
    assert not list(problems(path.read_text(), cupy))


@every_source
def test_every_name_is_in_the_standard(path):
    assert not list(problems(path.read_text(), array_api_strict))


@every_source
def test_no_namespace_hides(path):
    """Otherwise the two tests above would not see what is asked of it."""
    assert not list(hidden(path.read_text()))


def test_what_backend_py_asks_of_cupy_itself():
    source = (PACKAGE / "backend.py").read_text()
    assert not list(problems(source, cupy, roots=("cupy",)))
    asked = {".".join(use.path) for use in uses(source, roots=("cupy",))}
    assert {
        "cuda.runtime.getDeviceProperties",
        "ndarray",
        "array",
        "asnumpy",
        "random.default_rng",
    } <= asked


def test_random_numbers_are_drawn_as_cupys_generator_can():
    """Every call of a method `random` fits CuPy's Generator: it has `random`, but no `normal` or `permutation`."""
    signature, found = inspect.signature(cupy.random.Generator.random), 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "random"
            ):
                signature.bind(
                    None,
                    *[None] * len(node.args),
                    **{keyword.arg: None for keyword in node.keywords},
                )
                found += 1
    assert found >= 2  # the corruptions' and the shuffling's


def test_arrays_are_asked_nothing_else():
    """The whole library runs on counted arrays (test_backends.py); all they can do, CuPy's and the standard's can."""
    plain, refusals = (
        vars(type("Plain", (), {})),
        {"__array__", "__array_ufunc__", "__iter__", "__init__"},
    )
    able = vars(CountedArray).keys() - plain.keys() - refusals
    assert {
        "shape",
        "dtype",
        "device",
        "T",
        "__iadd__",
        "__getitem__",
        "__matmul__",
    } <= able
    for array_type in (cupy.ndarray, type(array_api_strict.asarray(0))):
        assert {name for name in able if not hasattr(array_type, name)} == set(), (
            array_type
        )


def test_the_counted_namespace_offers_nothing_beyond_the_standard():
    assert {
        name for name in vars(counted) if not hasattr(array_api_strict, name)
    } == set()


def test_only_backend_py_imports_an_array_library():
    libraries = {
        "numpy",
        "cupy",
        "array_api_strict",
        "array_api_compat",
        "torch",
        "jax",
        "scipy",
    }
    for path in SOURCES:
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and getattr(
                node.func, "id", getattr(node.func, "attr", "")
            ) in ("__import__", "import_module"):
                imported |= libraries  # an import that cannot be read here
        assert imported & libraries == (
            {"numpy", "cupy"} if path.name == "backend.py" else set()
        ), path.name


# -- the reader of sources is tested too --


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("xp.exponential(x)", "there is no cupy.exponential"),
        ("namespace(x).vecdot(x, y)", "there is no cupy.vecdot"),
        ("self.backend.xp.unstack(x)", "there is no cupy.unstack"),
        ("f = xp.made_up", "there is no cupy.made_up"),
        ("xp.sum(x, axes=0)", "unexpected keyword argument 'axes'"),
        ("xp.zeros(shape, device=d)", "unexpected keyword argument 'device'"),
        ("xp.permute_dims(x, (1, 0), None)", "too many positional arguments"),
        ("xp.astype(x)", "missing a required argument"),
        ("xp.stack(*arrays, ax=0)", "unexpected keyword argument 'ax'"),
        (
            "def f(x):\n    return [xp.linalg.made_up(a) for a in x]",
            "line 2: there is no cupy.linalg.made_up",
        ),
    ],
)
def test_a_wrong_name_is_found(line, complaint):
    (problem,) = problems(line, cupy)
    assert complaint in problem


@pytest.mark.parametrize(
    "line",
    [
        "xp.exp(x)",
        "xp.sum(x, axis=(1, 2))",
        "numpy.made_up(x)",
        "x.xp.float32",
        "xp.stack(*a, axis=0)",
    ],
)
def test_a_right_name_is_not(line):
    assert not list(problems(line, cupy))
    assert not list(problems(line, array_api_strict)) or "*a" in line


@pytest.mark.parametrize(
    "line",
    [
        "np = namespace(x)",
        "np, N = namespace(x), 3",
        "getattr(xp, 'made_up')(x)",
        "f = [xp][0].exp",
        "m = backend.xp",
    ],
)
def test_a_hidden_namespace_is_found(line):
    assert list(hidden(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "xp = namespace(x)",
        "xp, N = namespace(x), 3",
        "f(xp, x)",
        "y = namespace(x).exp(x)",
        "xp = self.backend.xp",
    ],
)
def test_a_namespace_in_the_open_is_fine(line):
    assert not list(hidden(line))
