"""Checks of arguments, one line each where they are used.

A message names the argument, what was given and what was expected. Usually a wrong
kind of thing raises TypeError, and a wrong value or shape ValueError.
"""

from collections.abc import Iterable
from math import inf, isfinite
from numbers import Integral, Real

import numpy as np

from .backend import backend_of, dtype_name

LARGEST = 2**31 - 1  # of any integer: more is surely a mistake


def expect(holds, error, name, got, expected):
    """Raise `error` unless `holds`."""
    if not holds:
        raise error(f"{name}: got {got}, expected {expected}")


def integer(name, value, at_least=1):
    """Return `value` as an int between `at_least` and LARGEST."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected an integer")
    if not at_least <= value <= LARGEST:
        raise ValueError(
            f"{name}: got {value}, expected an integer from {at_least} to {LARGEST}"
        )
    return int(value)


def number(name, value, low=-inf, high=inf, low_open=False, high_open=False):
    """Return `value` as a finite float in [low, high].

    low_open, high_open: whether that bound itself is excluded.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected a number")
    above = low < value if low_open else low <= value  # False for NaN
    below = value < high if high_open else value <= high
    try:
        finite = isfinite(value)
    except OverflowError:  # an int of 400 digits
        finite = False
    if not (above and below and finite):
        interval = f"{'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"
        raise ValueError(f"{name}: got {value}, expected a finite number in {interval}")
    return float(value)


def fraction(name, value):
    """Return `value` as a float in [0, 1)."""
    return number(name, value, 0, 1, high_open=True)


def several(name, value, length, form, check, **limits):
    """Return `value` as a tuple of `length` items, each passed through `check`.

    form: what is expected, in words, such as "(low, high)".
    """
    if not isinstance(value, (tuple, list)) or len(value) != length:
        raise ValueError(f"{name}: got {value!r}, expected {form}")
    return tuple(check(name, one, **limits) for one in value)


def pair(name, value, at_least=1):
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


def state(given, named):
    """Return `given`, {name: array}, as NumPy arrays that fit {name: Parameter}.

    Names and shapes must be the same; dtypes are converted. PyTorch's
    num_batches_tracked is left out.
    """
    if not hasattr(given, "items"):
        raise TypeError(f"state: got {given!r}, expected a dict {{name: NumPy array}}")
    arrays = {
        name: np.asarray(values)
        for name, values in given.items()
        if not str(name).endswith("num_batches_tracked")
    }
    if arrays.keys() != named.keys():
        raise ValueError(
            f"state: missing {[n for n in named if n not in arrays]}, unknown "
            f"{[n for n in arrays if n not in named]}; expected the names of "
            "state_dict()"
        )
    for name, p in named.items():
        shape = tuple(p.data.shape)
        if arrays[name].shape != shape or arrays[name].dtype.kind != "f":
            raise ValueError(
                f"state[{name!r}]: got shape {arrays[name].shape} and dtype "
                f"{arrays[name].dtype}, expected floats of shape {shape}"
            )
        arrays[name] = arrays[name].astype(dtype_name(p.data.dtype))
    return arrays


def gradients(parameters):
    """Check that each parameter has a gradient, of its own shape and dtype."""
    for number, p in enumerate(parameters):
        if p.grad is None:
            raise ValueError("step before backward: a parameter has no gradient")
        shape = tuple(p.data.shape)
        array(f"parameters[{number}].grad", p.grad, shape, like=p.data)


def layers(named, Layer):
    """Return `named`, {name: layer}: at least one, each a Layer; names have no dot."""
    if not named:
        raise ValueError("layers: got none, expected at least one")
    for name, layer in named.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"layers: got {layer!r} at {name!r}, expected a Layer")
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(
                f"layers: got the name {name!r}, expected a string without a dot"
            )
    return named


def no_hidden(attributes, kinds):
    """Check that none of {name: value} is a list, tuple or dict of `kinds`."""
    for name, value in attributes.items():
        items = value.values() if isinstance(value, dict) else value
        listed = isinstance(value, (list, tuple, dict))
        if listed and any(isinstance(item, kinds) for item in items):
            raise TypeError(
                f"{name}: got layers or Parameters in a {type(value).__name__}, where "
                "they are not found; put layers in a Sequential"
            )


def parameters(value):
    """Return `value` as a list of Parameters, all of one dtype and on one backend."""
    found = list(value) if isinstance(value, Iterable) else []
    if not found or not all(hasattr(p, "grad") for p in found):
        raise TypeError(f"parameters: got {value!r}, expected a layer's parameters()")
    for p in found:
        array("parameters", p.data, like=found[0].data)
    return [p for _, p in distinct(enumerate(found), "parameters")]


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
        wanted = like if isinstance(like, tuple) else (backend_of(like), like.dtype)
        if (backend, x.dtype) != wanted:
            raise TypeError(
                f"{name}: got {x.dtype} on {backend.name}, expected {wanted[1]} on "
                f"{wanted[0].name}; move the model with model.to(...) or the data with "
                "Backend.from_numpy"
            )
    shape = tuple(x.shape)
    dims = shape if dims is None else dims
    fits = len(shape) == len(dims) and all(
        got > 0 and (isinstance(want, str) or got == want)
        for got, want in zip(shape, dims, strict=False)
    )
    if not fits:
        form = ", ".join(map(str, dims))
        raise ValueError(f"{name}: got shape {shape}, expected ({form}), no axis empty")
