"""The array backend: the only file that distinguishes NumPy from CuPy.

All other files ask an array which library made it, xp = namespace(x). They use only
functions of the Python array API standard (https://data-apis.org/array-api), slicing
and in-place operators, so the same lines run wherever the array lives. There is no
global switch: data and weights are put on a device, and whatever is computed from them
stays there.

This file also handles what the standard leaves open or CuPy does differently: creating
an array on the device of another one, moving arrays between host and device, and random
numbers. register() adds another array library; lessons/README.md has an example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CUPY = "14.2"  # the oldest CuPy that has every function used here
INSTALL = (
    f"pip install 'cupy-cuda12x[ctk]>={CUPY}' "
    f"(for CUDA 13: 'cupy-cuda13x[ctk]>={CUPY}')"
)


class BackendUnavailable(RuntimeError):
    """The requested backend is unavailable; args are the reason and what to do."""

    def __str__(self):
        return ": ".join(self.args)


@dataclass(frozen=True)
class Backend:
    """One array library on one device.

    xp: the library. array_type: the class of its arrays; subclasses do not count,
    because they may compute something else (for np.matrix, * is the matrix product).
    device: a description. from_numpy, to_numpy: copy an array to the device and back.
    generator: a list of ints -> an object whose random(size, dtype) is uniform in [0,
    1). device_keyword: whether functions that create arrays accept device=, as the
    standard says.
    """

    name: str
    xp: Any
    array_type: type
    device: str
    from_numpy: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]
    generator: Callable[[list], Any]
    device_keyword: bool = True

    def __reduce__(self):  # a library cannot be pickled or copied: find it by its name
        return find, (self.name,)

    def rng(self, seed, epoch, purpose):
        """Return a new generator for (seed, epoch, purpose).

        Every epoch makes its own, so an interrupted epoch can be trained again with the
        same numbers. The same three give the same stream on the same backend. (With
        CuPy we could not try it.) NumPy's and CuPy's streams differ.
        """
        return self.generator([seed, epoch, *purpose.encode()])


_backends = {}


def register(backend):
    """Make `backend` known by its name and its array type; return it."""
    _backends[backend.name] = backend
    return backend


register(
    Backend(
        "numpy",
        np,
        np.ndarray,
        f"the CPU, through NumPy {np.__version__}",
        from_numpy=np.array,
        to_numpy=np.array,
        generator=np.random.default_rng,
    )
)


def _reason(error):
    """Return the first line of an error that says something.

    CuPy's own message for a broken installation begins with a line of "=", and the
    useful words are those of the error that caused it.
    """
    text = str(error.__cause__ or error).strip("=\n ") or type(error).__name__
    return text.splitlines()[0]


def _cupy():
    """Return CuPy on the current CUDA device, or raise BackendUnavailable."""
    try:
        import cupy
    except Exception as error:  # a broken installation raises many kinds of errors
        reason = f"CuPy is installed but cannot be imported ({_reason(error)})"
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            reason = "CuPy is not installed"
        raise BackendUnavailable(reason, INSTALL) from error
    try:  # a device counts only if it can do what a training does
        device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        x = cupy.random.default_rng([1, 2]).random((4, 4), dtype=cupy.float32)
        x = cupy.astype(cupy.concat([x @ x]), cupy.float64)  # new in CuPy 14.0
        cupy.argsort(cupy.cumulative_sum(x, axis=0)[0, :])[0].item()  # new in 14.2
    except Exception as error:  # no driver, no device, no compiler, no cuBLAS, ...
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} is installed but cannot use a CUDA device "
            f"({_reason(error)})",
            f"install an NVIDIA driver, or repair CuPy with {INSTALL}",
        ) from error
    return register(
        Backend(
            "cupy",
            cupy,
            cupy.ndarray,
            f"{device['name'].decode()}, through CuPy {cupy.__version__}",
            from_numpy=cupy.array,
            to_numpy=cupy.asnumpy,
            generator=cupy.random.default_rng,
            device_keyword=False,
        )
    )


def find(name):
    """Return the backend called `name`.

    Raises BackendUnavailable for a "cupy" that cannot be used, ValueError for an
    unknown name.
    """
    if name in _backends:
        return _backends[name]
    if name == "cupy":
        return _cupy()
    known = sorted({"auto", "cupy", *_backends})
    raise ValueError(
        f"backend: got {name!r}, expected one of {', '.join(map(repr, known))}"
    )


def get_backend(name="auto"):
    """Return the backend called `name`, and a sentence on which device it is and why.

    "auto" is CuPy where a CUDA device works and NumPy elsewhere. Raises as find does.
    """
    if name == "auto":
        try:
            backend = find("cupy")
            why = "a CUDA device works"
        except BackendUnavailable as error:
            backend = find("numpy")
            why = error.args[0]
    else:
        backend = find(name)
        why = f"{name!r} was requested"
    return backend, f"Runs on {backend.device} ({why})."


def backend_of(x, name="array"):
    """Return the backend of the array `x`.

    Raises TypeError, naming the argument `name`, if x is anything else: a list, a
    float, or a subclass of an array.
    """
    for backend in _backends.values():
        if type(x) is backend.array_type:
            return backend
    if type(x).__module__.startswith("cupy") and "cupy" not in _backends:
        _cupy()
        return backend_of(x, name)
    raise TypeError(
        f"{name}: got {type(x).__name__}, expected a plain array of a backend: "
        f"{', '.join(_backends)}"
    )


def namespace(x):
    """Return the library that made `x`: the `xp` of every formula in this package."""
    return backend_of(x).xp


def zeros(shape, like):
    """Return zeros of `shape`, with the dtype and on the device of the array `like`.

    With CuPy, that is the current device.
    """
    backend = backend_of(like, "like")
    where = {"device": like.device} if backend.device_keyword else {}
    return backend.xp.zeros(shape, dtype=like.dtype, **where)


def dtype_name(dtype):
    """Return "float32" or the like, for np.dtype('float32'), torch.float32, ..."""
    return getattr(dtype, "__name__", str(dtype)).rsplit(".", 1)[-1]


def to_numpy(x):
    """Return a copy of `x` in main memory, as a NumPy array."""
    return backend_of(x, "x").to_numpy(x)
