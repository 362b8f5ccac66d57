"""The array libraries the tests run on, and a counter of read-backs.

A test marked @every_backend runs on each, with its name as the argument `backend`:

- numpy: the host.
- strict: array_api_strict, the standard's reference implementation, on one of its
  simulated devices. There, a function outside the standard does not exist, and turning
  an array into a NumPy array raises; so does mixing arrays of two devices.
- cupy: where a GPU works; elsewhere it is skipped, with the reason.
"""

from collections import Counter
from contextlib import contextmanager

import array_api_strict as strict
import numpy as np
import pytest

from tinyae.backend import (
    Backend,
    BackendUnavailable,
    dtype_name,
    get_backend,
    register,
)

# On a GPU, a result whose size depends on values makes the processor wait.
strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)

HOST, DEVICE = strict.Device("CPU_DEVICE"), strict.Device("device1")
StrictArray = type(strict.asarray(0.0))


def to_strict(values):
    return strict.asarray(np.array(values), device=DEVICE)


def from_strict(x):
    return np.array(x.to_device(HOST))


class StrictGenerator:
    """Draws NumPy's numbers."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def random(self, size, dtype):
        return to_strict(self.rng.random(size, dtype=dtype_name(dtype)))


how = to_strict, from_strict, StrictGenerator
register(Backend("strict", strict, StrictArray, "simulated", *how))
try:
    _why = get_backend("cupy")[1]
    _marks = [pytest.mark.gpu]
except BackendUnavailable as error:
    _marks = [pytest.mark.gpu, pytest.mark.skip(reason=str(error))]
OTHERS = ["strict", pytest.param("cupy", marks=_marks)]
every_backend = pytest.mark.parametrize("backend", ["numpy", *OTHERS])
every_other = pytest.mark.parametrize("backend", OTHERS)


def assert_close(got, want, what=""):
    """Compare in units of the largest entry, or of 1, the size of the drawn numbers."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    rounding = {"float32": 1e-5, "float64": 1e-12}[got.dtype.name]
    atol = rounding * max(1, abs(want).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=what)


# Python sees a value on the device through these.
READS = (
    "__float__ __int__ __bool__ __index__ __complex__ __array__ __dlpack__ to_device"
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

    with pytest.MonkeyPatch.context() as patch:
        for name in READS.split():
            patch.setattr(StrictArray, name, watched(name, getattr(StrictArray, name)))
        yield reads
