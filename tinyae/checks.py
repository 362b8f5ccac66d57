"""Checks of arguments, one line each where they are used.

Every message names the argument, what was given and what was expected. A wrong kind of
thing raises TypeError, a wrong value or shape ValueError.
"""

from math import inf, prod
from numbers import Integral, Real
from sys import float_info

import numpy as np

from .backend import backend_of, dtype_name

LARGEST = 2**31 - 1  # of any count or size: more could not be held in memory anyway


def expect(holds, error, name, got, expected):
    """Raise `error` unless `holds`."""
    if not holds:
        raise error(f"{name}: got {got}, expected {expected}")


def integer(name, value, at_least, at_most=LARGEST):
    """Return `value` as an int between `at_least` and `at_most`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected an integer")
    if not at_least <= value <= at_most:
        raise ValueError(
            f"{name}: got {value}, expected an integer from {at_least} to {at_most}"
        )
    return int(value)


def number(name, value, low, high=inf, low_open=False, high_open=False):
    """Return `value` as a finite float in [low, high].

    low_open, high_open: whether that bound itself is excluded.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected a number")
    if isinstance(value, np.generic):
        value = value.item()
    above = low < value if low_open else low <= value  # False for NaN
    below = value < high if high_open else value <= high
    finite = abs(value) <= float_info.max  # isfinite fails for an int of 400 digits
    expected = "a finite number"
    if low > -inf:
        expected += f" {'>' if low_open else '>='} {low}"
    if high < inf:
        expected += f" and {'<' if high_open else '<='} {high}"
    expect(above and below and finite, ValueError, name, value, expected)
    return float(value)


def several(name, value, length, form, check, **limits):
    """Return `value` as a tuple of `length` items, each passed through `check`.

    form: what is expected, in words, such as "(low, high)".
    """
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: got {value!r}, expected {form}")
    if len(value) != length:
        raise ValueError(f"{name}: got {value!r}, expected {form}")
    return tuple(check(name, one, **limits) for one in value)


def pair(name, value, at_least):
    """Return `value`, an int or a pair (height, width), as a pair of ints."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    form = "an integer or a pair (height, width)"
    return several(name, both, 2, form, integer, at_least=at_least)


def less(name, values, other, limits):
    """Check that each of `values` is less than the limit at its place."""
    if not np.all(np.less(values, limits)):
        raise ValueError(
            f"{name}: got {values}, expected less than the {other} {limits}"
        )


def dtype(value):
    """Return `value` as "float32" or "float64"."""
    name = dtype_name(value)
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype: got {value!r}, expected 'float32' or 'float64'")
    return name


def generator(seed):
    """Return a NumPy Generator made from a seed, or the Generator that was given."""
    if not isinstance(seed, np.random.Generator | None):
        seed = integer("seed", seed, 0, at_most=2**64 - 1)
    return np.random.default_rng(seed)


def volume(name, shape):
    """Check that an array of `shape` could be held in memory: at most 2^28 numbers."""
    if prod(shape) > 2**28:
        raise ValueError(
            f"{name}: got shape {shape}, expected at most 2^28 numbers: use fewer "
            "channels or features"
        )


def distinct(named, argument="layers"):
    """Yield all (name, Layer or Parameter) of `named`; raise if one appears twice."""
    names = {}
    for name, part in named:
        first = names.setdefault(id(part), name)
        if first != name:
            raise ValueError(
                f"{argument}: got the same {type(part).__name__} at {first!r} and "
                f"{name!r}, expected a new one at each place: a layer remembers "
                "only its latest forward"
            )
        yield name, part


def array(name, x, dims=None, like=None):
    """Check that `x` is a float array of shape `dims`.

    dims: such as (3, "H", "W", "N"), where a name stands for any length but 0. like: an
    array, or its (backend, dtype); x must come from the same library and have the same
    dtype.
    """
    backend = backend_of(x, name)
    if like is None:
        if x.dtype not in (backend.xp.float32, backend.xp.float64):
            raise TypeError(f"{name}: got dtype {x.dtype}, expected float32 or float64")
    else:
        other, dtype = (
            like if isinstance(like, tuple) else (backend_of(like), like.dtype)
        )
        if backend is not other:
            raise TypeError(
                f"{name}: got a {backend.name} array, expected a {other.name} array; "
                "move the model with model.to(...) or the data with Backend.from_numpy"
            )
        if x.dtype != dtype:
            raise TypeError(f"{name}: got dtype {x.dtype}, expected {dtype}")
    shape = tuple(x.shape)
    dims = ("...",) * len(shape) if dims is None else dims
    fits = len(shape) == len(dims) and all(
        got > 0 and (isinstance(want, str) or got == want)
        for got, want in zip(shape, dims, strict=False)
    )
    if not fits:
        form = ", ".join(map(str, dims))
        raise ValueError(f"{name}: got shape {shape}, expected ({form}), no axis empty")
