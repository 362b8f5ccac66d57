"""Which backend is chosen and why, and what is said where CuPy cannot do the work."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import array_api_strict as strict
import numpy as np
import pytest

from tinyae import Linear
from tinyae import backend as module
from tinyae.backend import (
    INSTALL,
    Backend,
    BackendUnavailable,
    backend_of,
    get_backend,
    namespace,
    register,
    to_numpy,
    zeros,
)

ROOT = Path(__file__).resolve().parent.parent.parent
FUNCTIONS = "sum argsort astype concat permute_dims cumulative_sum float32".split()


@pytest.fixture(autouse=True)
def own_register(monkeypatch):
    """Forget after each test what it registered."""
    monkeypatch.setattr(module, "_backends", {"numpy": module._backends["numpy"]})


class Array(np.ndarray):
    """An array that represents CuPy's."""


def cupy_of_numpy(monkeypatch, broken="", error=None):
    """Put a module in CuPy's place, of which the part called `broken` raises."""

    def part(name, function):
        def call(*arguments, **keywords):
            if name == broken:
                raise error
            return function(*arguments, **keywords)

        return call

    def array(values):
        return np.array(values).view(Array)

    def random(shape, dtype):
        return array(np.ones(shape, dtype))

    def properties(_):
        return {"name": b"Imaginary GPU"}

    def make_zeros(shape, dtype):
        return array(np.zeros(shape, dtype))

    runtime = SimpleNamespace(getDeviceProperties=part("device", properties))
    device = part("driver", lambda: SimpleNamespace(id=0))
    generator = SimpleNamespace(random=part("kernel", random))
    rng = part("generator", lambda seed: generator)
    monkeypatch.setattr(Array, "__matmul__", part("product", np.ndarray.__matmul__))
    cupy = SimpleNamespace(
        __version__="99.0",
        cuda=SimpleNamespace(Device=device, runtime=runtime),
        random=SimpleNamespace(default_rng=rng),
        ndarray=Array,
        array=array,
        asnumpy=np.array,
        zeros=make_zeros,
        **{name: getattr(np, name) for name in FUNCTIONS},
    )
    cupy.argsort = part("sort", np.argsort)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def cupy_that_raises(monkeypatch, error):
    """Make `import cupy` raise `error`, as a broken installation does."""

    def find_spec(name, *_):
        if name == "cupy":
            raise error

    finder = SimpleNamespace(find_spec=find_spec)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])


def caused(message, cause):
    error = ImportError(message)
    error.__cause__ = ImportError(cause)
    return error


CUPY_SAYS = f"\n{'=' * 64}\nFailed to import CuPy.\n\nIf you installed CuPy ...\n"
ABSENT = ModuleNotFoundError("No module named 'cupy'", name="cupy")
IMPORTS = {  # what `import cupy` raises: the words that must be said
    ABSENT: "CuPy is not installed",
    OSError("libcudart.so.12: no such file\nmore"): "libcudart.so.12: no such file",
    RuntimeError("NumPy 1.x is needed"): "NumPy 1.x is needed",
    AttributeError("numpy has no bool8"): "numpy has no bool8",
    ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"): "fastrlock",
    ImportError(CUPY_SAYS): "Failed to import CuPy.",
    caused(CUPY_SAYS, "libnvrtc.so.12: cannot open"): "libnvrtc.so.12: cannot open",
    ImportError(""): "ImportError",
}
BROKEN = {  # the part of CuPy that raises: what
    "driver": RuntimeError("cudaErrorInsufficientDriver: too old\nsecond line"),
    "device": RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected"),
    "generator": ImportError("libcurand.so.10: cannot open shared object file"),
    "kernel": RuntimeError("CuPy failed to load libnvrtc.so.12"),
    "product": ImportError("libcublas.so.12: cannot open shared object file"),
    "sort": OSError("cannot find the CUDA headers"),
}


def assert_falls_back(words):
    """`auto` runs on NumPy and says why; `cupy` ends with what to install."""
    backend, why = get_backend("auto")
    assert backend.xp is np and "cupy" not in module._backends
    with pytest.raises(BackendUnavailable) as caught:
        get_backend("cupy")
    for said in (why, str(caught.value)):
        assert words in said
        assert "\n" not in said and "==" not in said and said.count("(") < 5
        assert said.count("(") == said.count(")")
    assert why.startswith(f"Runs on the CPU, through NumPy {np.__version__} (")
    assert str(caught.value).endswith(INSTALL) and "[ctk]>=14.2" in INSTALL
    with pytest.raises(BackendUnavailable):
        Linear(2, 3).to("cupy")


@pytest.mark.parametrize("error, words", IMPORTS.items(), ids=repr)
def test_a_cupy_that_cannot_be_imported(monkeypatch, error, words):
    cupy_that_raises(monkeypatch, error)
    assert_falls_back(words)


@pytest.mark.parametrize("part, error", BROKEN.items(), ids=str)
def test_a_cupy_that_cannot_compute(monkeypatch, part, error):
    cupy_of_numpy(monkeypatch, part, error)
    assert_falls_back(str(error).splitlines()[0])
    assert_falls_back("CuPy 99.0 is installed but cannot use a CUDA device")


@pytest.mark.parametrize("missing", FUNCTIONS[2:6])
def test_a_cupy_that_is_too_old(monkeypatch, missing):
    cupy = cupy_of_numpy(monkeypatch)
    delattr(cupy, missing)
    cupy.__version__ = "13.6.0"
    words = f"CuPy 13.6.0 is too old, it lacks {missing}; 14.2 or newer is needed"
    assert_falls_back(words)


def test_the_installed_cupy_without_a_device():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip("a CUDA device works here")
    assert_falls_back(f"CuPy {cupy.__version__} is installed but cannot use")


def test_auto_takes_a_device_that_works(monkeypatch):
    cupy = cupy_of_numpy(monkeypatch)
    backend, why = get_backend("auto")
    assert backend.name == "cupy" and backend.xp is cupy
    assert why == "Runs on Imaginary GPU, through CuPy 99.0 (a CUDA device works)."
    why = "Runs on Imaginary GPU, through CuPy 99.0 ('cupy' was requested)."
    assert get_backend("cupy") == (backend, why)
    weight = Linear(2, 3).to("cupy").weight.data
    assert type(weight) is type(zeros((2,), like=weight)) is Array
    assert type(to_numpy(weight)) is np.ndarray
    assert get_backend("numpy")[0].xp is np, "numpy remains available"


def test_a_cupy_array_is_known_before_cupy_was_requested(monkeypatch):
    cupy = cupy_of_numpy(monkeypatch)
    monkeypatch.setattr(Array, "__module__", "cupy._core.core")
    assert namespace(cupy.array(1.0)) is cupy


def test_unknown_names():
    expected = "backend: got 'cuda', expected one of 'auto', 'cupy', 'numpy'"
    with pytest.raises(ValueError, match=expected):
        get_backend("cuda")


WRONG = [[1.0], 1.0, None, "x", strict.asarray(1.0), np.ma.ones(2)]
WRONG.append(np.ones((1, 1)).view(np.matrix))


@pytest.mark.parametrize("thing", WRONG, ids=lambda x: type(x).__name__)
def test_arrays_of_no_backend(thing):
    for ask in (backend_of, namespace, to_numpy, lambda x: zeros((2,), like=x)):
        expected = f"got {type(thing).__name__}, expected a plain array of .*: numpy"
        with pytest.raises(TypeError, match=expected):
            ask(thing)


def test_zeros_passes_a_device_only_where_it_may():
    """CuPy's creation functions take no device=; the standard's do, and need it."""
    asked = []

    def make(name, array_type, device_keyword):
        xp = SimpleNamespace(zeros=lambda shape, **keywords: asked.append(keywords))
        how = {"device_keyword": device_keyword}
        register(Backend(name, xp, array_type, "", None, None, **how))

    one = type("One", (), {"dtype": "float32", "device": "there"})
    two = type("Two", (), {"dtype": "float64", "device": "there"})
    make("one", one, True)
    make("two", two, False)
    zeros((2,), like=one())
    zeros((2,), like=two())
    assert asked == [{"dtype": "float32", "device": "there"}, {"dtype": "float64"}]


DTYPES = [np.float32, np.dtype("float32"), strict.float32, "float32"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_host_draws_in_the_dtype_of_any_library(dtype):
    backend = Backend("any", np, Array, "", lambda x: ["moved", x], None)
    word, values = backend.rng(1, 2, "noise").random((3,), dtype=dtype)
    assert word == "moved" and values.dtype == "float32" and values.shape == (3,)


def test_registering_again_replaces():
    first = register(Backend("mine", np, Array, "a", np.array, np.array))
    second = register(Backend("mine", np, Array, "b", np.array, np.array))
    assert first != second
    assert get_backend("mine") == (second, "Runs on b ('mine' was requested).")


def test_the_example_of_the_manual():
    """The lines in the manual that register another library do so."""
    manual = (ROOT / "lessons" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", manual, flags=re.DOTALL)
    (example,) = [block for block in blocks if "register(" in block]
    names = {}
    exec(example, names)
    images = names["backend"].from_numpy(np.ones((2, 1, 28, 28), "float32"))
    rebuilt = names["model"].forward(images)
    assert backend_of(rebuilt).name == "strict" and rebuilt.device == images.device
    before = names["model"].state_dict()
    weights = to_numpy(names["model"].parameters()[0].data)
    weights[:] = 9
    for name, values in names["model"].state_dict().items():
        assert (values == before[name]).all(), "to_numpy copies"
