"""The array libraries the tests run on, and a counter of read-backs.

A test marked @every_backend runs on each, with its name as the argument `backend`:

- numpy: the host.
- strict: array_api_strict, the standard's reference implementation, on one of its
  simulated devices. There, a function outside the standard does not exist, and turning
  an array into a NumPy array raises; so does mixing arrays of two devices.
- counted: a library made for these tests (counted.py). It represents unknown ones.
- torch, dpnp: where they are installed.
- cupy: where a GPU works; elsewhere it is skipped, with the reason.
"""

from collections import Counter
from contextlib import contextmanager

import array_api_strict as strict
import counted  # noqa: F401 -- registers itself
import numpy as np
import pytest

from tinyae.backend import Backend, BackendUnavailable, get_backend, register

# On a GPU, a result whose size depends on values makes the processor wait.
strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)

HOST, DEVICE = strict.Device("CPU_DEVICE"), strict.Device("device1")
StrictArray = type(strict.asarray(0.0))


def _to_strict(values):
    return strict.asarray(np.array(values), device=DEVICE)


def _from_strict(x):
    return np.array(x.to_device(HOST))


def _torch():
    import torch
    from array_api_compat import torch as xp

    def to_torch(values):
        return torch.tensor(np.array(values))

    def from_torch(x):
        return np.array(x.numpy())

    return Backend("torch", xp, torch.Tensor, "PyTorch", to_torch, from_torch)


def _dpnp():
    import dpnp

    return Backend("dpnp", dpnp, dpnp.ndarray, "dpnp", dpnp.array, dpnp.asnumpy)


register(Backend("strict", strict, StrictArray, "simulated", _to_strict, _from_strict))
OTHERS = ["strict", "counted"]
for make in (_torch, _dpnp):
    try:
        OTHERS.append(register(make()).name)
    except ImportError:
        pass
try:
    _why = get_backend("cupy")[1]
    _marks = [pytest.mark.gpu]
except BackendUnavailable as error:
    _marks = [pytest.mark.gpu, pytest.mark.skip(reason=str(error))]
OTHERS.append(pytest.param("cupy", marks=_marks))
every_backend = pytest.mark.parametrize("backend", ["numpy", *OTHERS])
every_other = pytest.mark.parametrize("backend", OTHERS)

TOLERANCE = {"float64": 1e-12, "float32": 5e-6}  # some hundred roundings


def assert_close(got, want, dtype, what=""):
    """Compare in units of the largest entry, or of 1, the size of the drawn numbers."""
    got = np.asarray(got)
    assert got.shape == want.shape and got.dtype == dtype, what
    error = np.abs(got - want).max() / max(1, np.abs(want).max())
    assert error <= TOLERANCE[dtype], f"{what}: off by {error:.1e}"  # also for NaN


# Python sees a value on the device through these. Strict allows the first five.
_READS = (
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__complex__",
    "__array__",
    "__dlpack__",
    "to_device",
)


@contextmanager
def readbacks():
    """Count how often strict arrays on the device are read, and through what."""
    reads = Counter()

    def watched(name, original):
        def method(self, *arguments, **keywords):
            if self.device != HOST:  # what follows to_device reads the host
                reads[name] += 1
            return original(self, *arguments, **keywords)

        return method

    def iterate(self):
        reads["__iter__"] += 1
        return (self[i] for i in range(self.shape[0]))

    with pytest.MonkeyPatch.context() as patch:
        for name in _READS:
            patch.setattr(StrictArray, name, watched(name, getattr(StrictArray, name)))
        patch.setattr(StrictArray, "__iter__", iterate, raising=False)
        yield reads
