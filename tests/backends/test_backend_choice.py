"""Which backend is chosen and why, and what is said where CuPy cannot do the work."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from tinyae import Linear
from tinyae import backend as module
from tinyae.backend import (
    INSTALL,
    BackendUnavailable,
    backend_of,
    get_backend,
    namespace,
    to_numpy,
    zeros,
)


@pytest.fixture(autouse=True)
def own_register(monkeypatch):
    """Forget after each test what it registered."""
    monkeypatch.setattr(module, "_backends", {"numpy": module._backends["numpy"]})


class Array(np.ndarray):
    """An array that represents CuPy's."""


def array(values):
    return np.array(values).view(Array)


class Generator:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def random(self, shape, dtype):
        return array(self.rng.random(shape, dtype))


def zeros_without_device(shape, dtype):
    return array(np.zeros(shape, dtype))


@pytest.fixture
def cupy(monkeypatch):
    """Put a CuPy made of NumPy in CuPy's place."""
    names = "argsort astype concat cumulative_sum float32 float64".split()
    runtime = SimpleNamespace(getDeviceProperties=[{"name": b"A GPU"}].__getitem__)
    fake = SimpleNamespace(
        __version__="99.0",
        cuda=SimpleNamespace(Device=lambda: SimpleNamespace(id=0), runtime=runtime),
        random=SimpleNamespace(default_rng=Generator),
        ndarray=Array,
        array=array,
        asnumpy=np.array,
        zeros=zeros_without_device,
        **{name: getattr(np, name) for name in names},
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def assert_falls_back(words):
    """`auto` runs on NumPy and says why; `cupy` ends with what to install."""
    backend, why = get_backend("auto")
    assert backend.xp is np and "cupy" not in module._backends
    with pytest.raises(BackendUnavailable) as caught:
        Linear(2, 3, seed=1).to("cupy")
    for said in (why, str(caught.value)):
        assert words in said and "\n" not in said and "==" not in said
    assert why.startswith(f"Runs on the CPU, through NumPy {np.__version__} (")
    assert str(caught.value).endswith(INSTALL) and "[ctk]>=14.2" in INSTALL


BANNER = ImportError(f"\n{'=' * 64}\nFailed to import CuPy.\n\nIf you installed ...\n")
CAUSED = ImportError(str(BANNER))
CAUSED.__cause__ = OSError("libnvrtc.so.12: cannot open\nmore")
ABSENT = {  # what `import cupy` raises: the words that must be said
    ModuleNotFoundError("No module", name="cupy"): "CuPy is not installed",
    CAUSED: "libnvrtc.so.12: cannot open",
    AttributeError(""): "(AttributeError)",
}


@pytest.mark.parametrize("error, words", ABSENT.items(), ids=repr)
def test_a_cupy_that_cannot_be_imported(monkeypatch, error, words):
    def find_spec(name, *_):
        if name == "cupy":
            raise error

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    finder = SimpleNamespace(find_spec=find_spec)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert_falls_back(words)


@pytest.mark.parametrize("part", ["cuda", "random", "astype", "argsort"])
def test_a_cupy_that_cannot_compute(cupy, part):
    """Without a driver, a compiler or a library, or too old for a function."""
    delattr(cupy, part)
    assert_falls_back("CuPy 99.0 is installed but cannot use a CUDA device (")
    assert_falls_back(f"has no attribute '{part}'")


def test_auto_takes_a_device_that_works(cupy):
    backend, why = get_backend("auto")
    assert backend.name == "cupy" and backend.xp is cupy
    assert why == "Runs on A GPU, through CuPy 99.0 (a CUDA device works)."
    why = "Runs on A GPU, through CuPy 99.0 ('cupy' was requested)."
    assert get_backend("cupy") == (backend, why)
    weight = Linear(2, 3, seed=1).to("cupy").weight.data
    assert type(weight) is type(zeros((2,), like=weight)) is Array
    assert type(to_numpy(weight)) is np.ndarray


def test_a_cupy_array_is_known_before_cupy_was_requested(cupy, monkeypatch):
    monkeypatch.setattr(Array, "__module__", "cupy._core.core")
    assert namespace(array(1.0)) is cupy


def test_the_installed_cupy_without_a_device():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip("a CUDA device works here")
    assert_falls_back(f"CuPy {cupy.__version__} is installed but cannot use")


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
