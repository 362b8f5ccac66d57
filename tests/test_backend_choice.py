"""Which backend is taken, why, and what is said where it cannot be had."""

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
    Backend,
    BackendUnavailable,
    backend_of,
    choose,
    namespace,
    register,
    to_numpy,
    zeros,
)


@pytest.fixture(autouse=True)
def own_register(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(module, "_backends", {"numpy": module._backends["numpy"]})


class FakeArray:
    """Passes for CuPy's array, as far as moving goes."""

    def __init__(self, values):
        self.values = np.array(values)
        self.dtype = self.values.dtype


NO_DRIVER = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient\nsecond line"
)


def fake_cupy(monkeypatch, answers=True, error=NO_DRIVER):
    """Put a module in CuPy's place. `answers`: whether there is a device; "late": there is one, but no kernel runs."""

    def properties(_):
        if not answers:
            raise RuntimeError(error)
        return {"name": b"Imaginary GPU"}

    def ones(shape):
        if answers == "late":
            raise RuntimeError(error)
        return np.ones(shape)

    def zeros_without_device(shape, dtype):
        return FakeArray(np.zeros(shape, dtype))

    runtime = SimpleNamespace(getDeviceProperties=properties)
    cuda = SimpleNamespace(Device=lambda: SimpleNamespace(id=0), runtime=runtime)
    cupy = SimpleNamespace(
        __version__="99.0",
        cuda=cuda,
        ones=ones,
        zeros=zeros_without_device,
        ndarray=FakeArray,
        array=FakeArray,
        asnumpy=lambda x: np.array(x.values),
        random=SimpleNamespace(default_rng=np.random.default_rng),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` an ImportError


def one_sentence(text):
    return "\n" not in text and len(text) < 300


def test_auto_without_cupy_is_numpy(monkeypatch):
    no_cupy(monkeypatch)
    backend, why = choose("auto")
    assert backend is choose("numpy")[0] and backend.xp is np
    assert (
        why
        == f"Runs on the CPU, through NumPy {np.__version__} (CuPy is not installed)."
    )
    assert choose() == (backend, why)


@pytest.mark.parametrize("answers", [False, "late"])
def test_auto_without_a_device_is_numpy(monkeypatch, answers):
    fake_cupy(monkeypatch, answers)
    backend, why = choose("auto")
    assert backend.name == "numpy" and "cupy" not in module._backends
    assert one_sentence(why) and why.count("(") == why.count(")")
    assert "CuPy 99.0 is installed but no CUDA device answers" in why
    assert "CUDA driver version is insufficient" in why and "second line" not in why


def test_auto_takes_a_device_that_answers(monkeypatch):
    cupy = fake_cupy(monkeypatch)
    backend, why = choose("auto")
    assert backend.name == "cupy" and backend.xp is cupy
    assert why == "Runs on Imaginary GPU, through CuPy 99.0 (a CUDA device answers)."
    assert choose("cupy") == (
        backend,
        "Runs on Imaginary GPU, through CuPy 99.0 ('cupy' was asked for).",
    )
    layer = Linear(2, 3).to("cupy")
    assert (
        type(layer.weight.data) is FakeArray
        and type(to_numpy(layer.weight.data)) is np.ndarray
    )
    assert type(zeros((2,), like=layer.weight.data)) is FakeArray
    assert choose("numpy")[0].xp is np, "numpy stays there"


def test_asking_for_cupy_without_cupy(monkeypatch):
    no_cupy(monkeypatch)
    with pytest.raises(BackendUnavailable) as caught:
        choose("cupy")
    assert (
        str(caught.value)
        == "CuPy is not installed: pip install cupy-cuda12x (or cupy-cuda13x, for CUDA 13)"
    )


@pytest.mark.parametrize(
    "error", ["cudaErrorNoDevice: no CUDA-capable device is detected", "", "two\nlines"]
)
def test_asking_for_cupy_without_a_device(monkeypatch, error):
    fake_cupy(monkeypatch, answers=False, error=error)
    with pytest.raises(BackendUnavailable) as caught:
        choose("cupy")
    said = str(caught.value)
    assert one_sentence(said) and said.startswith(
        "CuPy 99.0 is installed but no CUDA device answers"
    )
    assert (
        error.partition("\n")[0] or "RuntimeError"
    ) in said and "install an NVIDIA driver" in said
    with pytest.raises(BackendUnavailable):
        Linear(2, 3).to("cupy")


def test_the_real_cupy_without_a_driver():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip(
            "a CUDA device answers here: what is said without one cannot be tested"
        )
    with pytest.raises(
        BackendUnavailable,
        match=r"^CuPy [\d.]+ is installed but no CUDA device .*: install",
    ) as caught:
        choose("cupy")
    assert one_sentence(str(caught.value))
    assert choose("auto")[0].name == "numpy"


def test_unknown_names():
    with pytest.raises(
        ValueError, match="backend: got 'cuda', expected one of 'auto', 'cupy', 'numpy'"
    ):
        choose("cuda")


@pytest.mark.parametrize(
    "thing",
    [[1.0], 1.0, None, "x", strict.asarray(1.0)],
    ids=lambda x: type(x).__name__,
)
def test_arrays_of_nobody(thing):
    for ask in (backend_of, namespace, to_numpy, lambda x: zeros((2,), like=x)):
        with pytest.raises(
            TypeError,
            match=f"got {type(thing).__name__}, expected an array of .* backends numpy",
        ):
            ask(thing)


def test_a_cupy_array_is_known_without_being_chosen(monkeypatch):
    """Somebody who made the array with CuPy need not tell us."""
    cupy = fake_cupy(monkeypatch)
    cupy.ndarray = type("ndarray", (), {"__module__": "cupy._core.core"})
    assert (
        namespace(cupy.ndarray()) is cupy
        and choose("cupy")[0].array_type is cupy.ndarray
    )


def test_zeros_passes_a_device_only_where_it_may():
    """CuPy's creation functions take no device=; the standard's do, and need it."""
    asked = []

    def make(name, array_type, **how):
        xp = SimpleNamespace(zeros=lambda shape, **keywords: asked.append(keywords))
        return register(Backend(name, xp, array_type, "", None, None, **how))

    one = type("One", (), {"dtype": "float32", "device": "there"})
    two = type("Two", (), {"dtype": "float64", "device": "there"})
    make("one", one)
    make("two", two, device_keyword=False)
    zeros((2,), like=one())
    zeros((2,), like=two())
    assert asked == [{"dtype": "float32", "device": "there"}, {"dtype": "float64"}]


@pytest.mark.parametrize(
    "dtype", [np.float32, np.dtype("float32"), strict.float32, "float32"], ids=str
)
def test_the_host_draws_in_the_dtype_of_any_library(dtype):
    backend = register(
        Backend(
            "any", np, np.ndarray, "", from_numpy=lambda x: ["moved", x], to_numpy=None
        )
    )
    word, values = backend.rng(1, 2, "noise").random((3,), dtype=dtype)
    assert word == "moved" and values.dtype == "float32" and values.shape == (3,)


def test_registering_again_replaces():
    first = register(Backend("mine", np, FakeArray, "a", np.array, np.array))
    second = register(Backend("mine", np, FakeArray, "b", np.array, np.array))
    assert first != second and choose("mine") == (
        second,
        "Runs on b ('mine' was asked for).",
    )


def test_the_example_of_the_documentation():
    """The lines in README that register a further library do so."""
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(
        encoding="utf-8"
    )
    (example,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
        if "register(" in block
    ]
    model = Linear(2, 3)
    exec(example, {"model": model})
    x = choose("strict")[0].from_numpy(np.ones((2, 4), "float32"))
    y = model.forward(x)
    assert (
        y.device == x.device == strict.Device("device1")
        and backend_of(y).name == "strict"
    )
    assert to_numpy(y).shape == (3, 4)
    before = model.state_dict()
    model.state_dict()["weight"][:] = 9
    assert (model.state_dict()["weight"] == before["weight"]).all(), (
        "to_numpy must copy"
    )
