"""The array libraries the tests run on, and a counter of read-backs.

A test marked @every_backend runs on each, with its name as the argument `backend`, to be passed to `choose` or `to`.

- numpy: the host.
- strict: array_api_strict, the standard's own reference implementation, on one of its pretended devices. There, a
  function outside the standard does not exist, turning an array into a NumPy array raises, and so does mixing it with
  one on another device: whatever runs here touches nothing but the standard.
- counted: a library made for these tests (counted.py), which stands for those we do not know.
- cupy: where a GPU answers; skipped elsewhere, with the reason.
"""

from collections import Counter
from contextlib import contextmanager

import array_api_strict as strict
import counted  # noqa: F401 -- registers itself
import numpy
import pytest

from tinyae.backend import Backend, BackendUnavailable, choose, register

# A result whose size depends on its values must be read back before going on: on a GPU the processor would wait.
strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)

HOST, DEVICE = strict.Device("CPU_DEVICE"), strict.Device("device1")
StrictArray = type(strict.asarray(0.0))

register(
    Backend(
        "strict",
        strict,
        StrictArray,
        "a pretended device",
        from_numpy=lambda values: strict.asarray(numpy.array(values), device=DEVICE),
        to_numpy=lambda x: numpy.array(x.to_device(HOST)),
    )
)


def _no_gpu():
    """Why CuPy cannot be used here, or None."""
    try:
        choose("cupy")
    except BackendUnavailable as error:
        return str(error)


_reason = _no_gpu()
OTHERS = [
    "strict",
    "counted",
    pytest.param(
        "cupy",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(_reason is not None, reason=_reason or ""),
        ],
    ),
]
every_backend = pytest.mark.parametrize("backend", ["numpy", *OTHERS])
every_other = pytest.mark.parametrize(
    "backend", OTHERS
)  # where NumPy itself is what to compare with

TOLERANCE = {
    "float64": 1e-12,
    "float32": 5e-6,
}  # some hundred roundings, on every backend


def assert_close(got, want, dtype, what=""):
    """Equal to rounding: in units of the largest entry, or of 1, which is the size of the numbers that were drawn."""
    got = numpy.asarray(got)
    assert got.shape == want.shape and got.dtype == dtype, what
    error = numpy.abs(got - want).max() / max(1, numpy.abs(want).max())
    assert error <= TOLERANCE[dtype], (
        f"{what}: off by {error:.1e}"
    )  # also false for NaN


# Whatever lets Python see a value that is on the device. Strict allows the first five, on every device.
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
    """with readbacks() as reads: ... ; reads counts how often strict arrays on the device were read, by what."""
    reads = Counter()

    def watched(name, original):
        def method(self, *args, **keywords):
            if self.device != HOST:  # what follows to_device is no further reading
                reads[name] += 1
            return original(self, *args, **keywords)

        return method

    def iterate(self):
        reads["__iter__"] += 1
        return (self[i] for i in range(self.shape[0]))

    with pytest.MonkeyPatch.context() as patch:
        for name in _READS:
            patch.setattr(StrictArray, name, watched(name, getattr(StrictArray, name)))
        patch.setattr(StrictArray, "__iter__", iterate, raising=False)
        yield reads
