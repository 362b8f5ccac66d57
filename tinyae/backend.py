"""The array backend: the only file that knows NumPy from CuPy.

The rest of the package asks the array in hand which library made it, xp = namespace(x), and uses functions of the Python
array API standard (https://data-apis.org/array-api), slicing and in-place operators only, so the same lines run wherever
the array lives. There is no global switch: data and weights are put on a device, and what is computed from them stays
there. What the standard leaves open, or CuPy does in its own way, stands here: making an array beside another
one, moving arrays between host and device, random numbers. A further library is made known by register (README has an
example).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

host = (
    numpy  # for what always lives in main memory: files, first weights, gradient checks
)


class BackendUnavailable(RuntimeError):
    """The backend asked for cannot be had: args are the reason, and what to install."""

    def __str__(self):
        return ": ".join(self.args)


class HostGenerator:
    """Random numbers for a library without NumPy-style Generators: drawn by NumPy, then moved to the device."""

    def __init__(self, seed, from_numpy):
        self._rng, self._from_numpy = numpy.random.default_rng(seed), from_numpy

    def random(self, size, dtype):
        return self._from_numpy(self._rng.random(size, dtype=dtype_name(dtype)))


@dataclass(frozen=True)
class Backend:
    """One array library on one device. array_type: the class of its arrays. device: in words. from_numpy, to_numpy: copy
    an array there and back. generator: a list of ints -> an object whose random(size, dtype) is uniform in [0, 1); left
    out, NumPy draws. device_keyword: whether functions that create arrays take `device=`, as the standard says.
    """

    name: str
    xp: Any
    array_type: type
    device: str
    from_numpy: Callable[[numpy.ndarray], Any]
    to_numpy: Callable[[Any], numpy.ndarray]
    generator: Callable[[list], Any] | None = None
    device_keyword: bool = True

    def rng(self, seed: int, epoch: int, purpose: str):
        """A fresh generator for (seed, epoch, purpose), so that any epoch can be replayed by itself: the same three give
        the same stream on the same backend. NumPy's and CuPy's streams differ.
        """
        words = [seed, epoch, *purpose.encode()]
        return (
            self.generator(words)
            if self.generator
            else HostGenerator(words, self.from_numpy)
        )


_backends: dict[str, Backend] = {}


def register(backend: Backend) -> Backend:
    """Make `backend` known by its name and its array type; a name already there is replaced."""
    _backends[backend.name] = backend
    return backend


register(
    Backend(
        "numpy",
        numpy,
        numpy.ndarray,
        f"the CPU, through NumPy {numpy.__version__}",
        from_numpy=numpy.array,
        to_numpy=numpy.array,
        generator=numpy.random.default_rng,
    )
)


def _cupy() -> Backend:
    """CuPy on the current CUDA device. Raises BackendUnavailable, saying what is missing."""
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailable(
            "CuPy is not installed",
            "pip install cupy-cuda12x (or cupy-cuda13x, for CUDA 13)",
        ) from error
    try:  # that CuPy imports says nothing: only a kernel that has run proves a device
        device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)[
            "name"
        ].decode()
        cupy.ones(1).sum().item()
    except (
        Exception
    ) as error:  # CuPy raises many kinds here: no driver, no device, no compiler, ...
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} is installed but no CUDA device answers, {reason}",
            "install an NVIDIA driver, or the CuPy wheel made for yours (cupy-cuda12x, cupy-cuda13x)",
        ) from error
    return register(
        Backend(
            "cupy",
            cupy,
            cupy.ndarray,
            f"{device}, through CuPy {cupy.__version__}",
            cupy.array,
            cupy.asnumpy,
            generator=cupy.random.default_rng,
            device_keyword=False,
        )
    )


def choose(name: str = "auto") -> tuple[Backend, str]:
    """The backend called `name`, and a sentence saying which device that is and why. "auto" takes CuPy where a CUDA
    device answers and NumPy elsewhere. Raises BackendUnavailable if "cupy" is asked for and cannot be had, ValueError
    for a name nobody registered.
    """
    if name == "auto":
        try:
            backend, why = choose("cupy")[0], "a CUDA device answers"
        except BackendUnavailable as error:
            backend, why = _backends["numpy"], error.args[0]
    elif name == "cupy" or name in _backends:
        backend, why = _backends.get(name) or _cupy(), f"{name!r} was asked for"
    else:
        known = ", ".join(map(repr, sorted({"auto", "cupy", *_backends})))
        raise ValueError(f"backend: got {name!r}, expected one of {known}")
    return backend, f"Runs on {backend.device} ({why})."


def backend_of(x, name="array") -> Backend:
    """The backend whose array `x` is. Raises TypeError, calling it `name`, for anything else, a list or float too."""
    for backend in _backends.values():
        if isinstance(x, backend.array_type):
            return backend
    if type(x).__module__.split(".")[0] == "cupy":
        return _cupy()
    raise TypeError(
        f"{name}: got {type(x).__name__}, expected an array of one of the backends {', '.join(_backends)}"
    )


def namespace(x):
    """The library that made `x`: the `xp` of every formula in this package."""
    return backend_of(x).xp


def zeros(shape, like):
    """Zeros of `shape`, with the dtype and on the device of the array `like`."""
    backend = backend_of(like, "like")
    return backend.xp.zeros(
        shape,
        dtype=like.dtype,
        **({"device": like.device} if backend.device_keyword else {}),
    )


def dtype_name(dtype) -> str:
    """ "float32" or the like, however the library writes it: numpy.dtype('float32'), torch.float32, ..."""
    return getattr(dtype, "__name__", str(dtype)).rsplit(".", 1)[-1]


def to_numpy(x) -> numpy.ndarray:
    """A copy of `x` in main memory, as a NumPy array."""
    return backend_of(x, "x").to_numpy(x)
