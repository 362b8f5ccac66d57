"""A small array library that counts what it does: it stands for any unknown library.

Its arrays wrap NumPy arrays but refuse to become one. It has the functions of the array
API standard that tinyae uses and nothing else, so anything beyond the standard raises
an AttributeError. One call of `register`, at the end, makes it known to tinyae.

A launch is the start of one program (kernel) on a GPU; it takes a few microseconds,
however little the program computes. These count as launches: arithmetic, functions,
matrix products, reductions, filling and copying. These do not: views (slicing,
permute_dims, a reshape without a copy), and the assignment at the end of `x[s] += y`,
which stores a view into itself. A call for random numbers counts as one launch.

Operands that a library must copy first count too, one launch each: the operands of a
product of stacked matrices that are not contiguous, those of a single product that are
contiguous neither by rows nor by columns, and what concat flattens. This follows CuPy,
whose other calls may need a few kernels more (a scan needs two). So the number is a
lower bound for a GPU.
"""

from collections import Counter
from contextlib import contextmanager
from numbers import Real
from types import SimpleNamespace

import numpy

from tinyae.backend import Backend, register

DEVICE = "the counted device"
launches = Counter()  # {what was called: how often}, since the start


class CountedArray:
    """An array on the counted device, with the standard's attributes and operators."""

    __array_ufunc__ = None  # so that NumPy's operators raise TypeError
    __iter__ = None  # so that Python does not iterate through __getitem__
    __hash__ = None

    def __init__(self, values):
        self._values = values

    shape = property(lambda self: self._values.shape)
    size = property(lambda self: self._values.size)
    ndim = property(lambda self: self._values.ndim)
    dtype = property(lambda self: self._values.dtype)
    device = property(lambda self: DEVICE)
    T = property(lambda self: CountedArray(self._values.T))
    mT = property(lambda self: CountedArray(self._values.mT))

    def __array__(self, *_, **__):
        raise TypeError(
            "an array on the counted device does not turn into a NumPy array by itself"
        )

    def __bool__(self):
        launches["read back"] += 1
        return bool(self._values)

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if not all(
            part is None or part is ... or isinstance(part, (int, slice))
            for part in parts
        ):
            raise TypeError(
                f"only slices, integers, None and ... are indices here, got {key!r}"
            )
        return CountedArray(
            self._values[key] if ... in parts else self._values[(*parts, ...)]
        )  # a view, even of 0-d

    def __setitem__(self, key, value):
        place, value = self[key]._values, _inside(value)
        itself = (
            isinstance(value, numpy.ndarray)
            and value.__array_interface__ == place.__array_interface__
        )
        if not itself:
            launches["setitem"] += 1
            place[...] = value


def _number(x):
    """Return whether `x` is a Python number; NumPy's are arrays on the host."""
    return isinstance(x, Real) and not isinstance(x, numpy.generic)


def _inside(x):
    """Return the NumPy array in a CountedArray, or a Python number; refuse the rest."""
    if isinstance(x, CountedArray):
        return x._values
    if _number(x):
        return x
    raise TypeError(
        f"expected a counted array or a Python number, got {type(x).__name__}"
    )


def _counted(name, function):
    """Return NumPy's `function` as one launch on counted arrays."""

    def launch(*args, **keywords):
        launches[name] += 1
        return CountedArray(numpy.asarray(function(*map(_inside, args), **keywords)))

    return launch


def _count_copies(name, *operands):
    """Count the operands that must be copied before a product or a concat."""
    for x in operands:
        by_columns = name == "__matmul__" and max(a.ndim for a in operands) <= 2
        contiguous = (
            x._values.flags.forc if by_columns else x._values.flags.c_contiguous
        )
        launches["copy of an operand"] += not contiguous


def _add_operators():
    """Give CountedArray the operators: x + y, 2 + x, x += y, -x, x < y, ..."""

    def binary(name):
        def operator(self, other):
            if not isinstance(other, CountedArray) and not _number(other):
                return NotImplemented
            if name == "__matmul__":
                _count_copies(name, self, other)
            return _counted(name, getattr(numpy.ndarray, name))(self, other)

        return operator

    def in_place(name):
        def operator(self, other):
            launches[name] += 1
            getattr(self._values, name)(_inside(other))
            return self

        return operator

    for word in ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or"):
        setattr(CountedArray, f"__{word}__", binary(f"__{word}__"))
        setattr(CountedArray, f"__r{word}__", binary(f"__r{word}__"))
    for word in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(CountedArray, f"__{word}__", binary(f"__{word}__"))
    for word in ("add", "sub", "mul", "truediv"):
        setattr(CountedArray, f"__i{word}__", in_place(f"__i{word}__"))
    for word in ("neg", "invert", "abs"):
        setattr(
            CountedArray,
            f"__{word}__",
            _counted(f"__{word}__", getattr(numpy.ndarray, f"__{word}__")),
        )


_add_operators()


# The namespace


def _on_device(device):
    if device not in (None, DEVICE):
        raise ValueError(f"device: got {device!r}, expected {DEVICE!r}")


def zeros(shape, *, dtype=None, device=None):
    _on_device(device)
    launches["zeros"] += 1
    return CountedArray(numpy.zeros(shape, dtype))


def asarray(x, /, *, dtype=None, device=None):
    _on_device(device)
    if isinstance(x, CountedArray) and dtype in (None, x.dtype):
        return x
    return _counted("asarray", numpy.asarray)(x, dtype=dtype)


def reshape(x, /, shape):
    """Return a view where possible, otherwise a copy, which is a launch."""
    values = numpy.reshape(_inside(x), shape)
    launches["reshape (copy)"] += not numpy.shares_memory(values, _inside(x))
    return CountedArray(values)


def permute_dims(x, /, axes):
    return CountedArray(numpy.permute_dims(_inside(x), axes))


def concat(arrays, /, *, axis=0):
    launches["concat"] += 1
    if axis is None:
        _count_copies("concat", *arrays)
    return CountedArray(numpy.concat([_inside(x) for x in arrays], axis=axis))


def stack(arrays, /, *, axis=0):
    launches["stack"] += 1
    return CountedArray(numpy.stack([_inside(x) for x in arrays], axis=axis))


def astype(x, dtype, /, *, copy=True):
    return _counted("astype", numpy.ndarray.astype)(x, dtype=dtype, copy=copy)


_FUNCTIONS = (
    "exp log sqrt cos sin floor round clip minimum maximum where isfinite sum mean all "
    "any take argsort cumulative_sum zeros_like"
).split()
counted = SimpleNamespace(
    zeros=zeros,
    asarray=asarray,
    reshape=reshape,
    permute_dims=permute_dims,
    concat=concat,
    stack=stack,
    astype=astype,
    **{name: _counted(name, getattr(numpy, name)) for name in _FUNCTIONS},
    float32=numpy.float32,
    float64=numpy.float64,
    int32=numpy.int32,
    int64=numpy.int64,
    uint8=numpy.uint8,
    bool=numpy.bool,
    finfo=lambda dtype: SimpleNamespace(eps=float(numpy.finfo(dtype).eps)),
)


# This is all it takes to join tinyae


def _from_numpy(values):
    launches["from NumPy"] += 1
    return CountedArray(numpy.array(values))


def _to_numpy(x):
    launches["read back"] += 1
    return x._values.copy()


COUNTED = register(
    Backend(
        "counted",
        counted,
        CountedArray,
        DEVICE,
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
    )
)


@contextmanager
def counting():
    """Count launches: after `with counting() as calls: ...`, calls is a Counter."""
    before, calls = launches.copy(), Counter()
    yield calls
    calls.update(launches - before)
