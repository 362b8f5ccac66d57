"""Checks of arguments, one line each where they are used.

Every message names the argument, what was given and what was expected. A wrong kind of
thing raises TypeError, a wrong value or shape ValueError.
"""

from collections.abc import Iterable
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
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    expect(is_integer, TypeError, name, repr(value), "an integer")
    expected = f"an integer from {at_least} to {at_most}"
    expect(at_least <= value <= at_most, ValueError, name, value, expected)
    return int(value)


def number(name, value, low, high=inf, low_open=False, high_open=False):
    """Return `value` as a finite float in [low, high].

    low_open, high_open: whether that bound itself is excluded.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    expect(is_number, TypeError, name, repr(value), "a number")
    above = low < value if low_open else low <= value  # False for NaN
    below = value < high if high_open else value <= high
    expected = f"a finite number {'>' if low_open else '>='} {low}"
    if high < inf:
        expected += f" and {'<' if high_open else '<='} {high}"
    finite = abs(value) <= float_info.max  # isfinite fails for an int of 400 digits
    expect(above and below and finite, ValueError, name, value, expected)
    return float(value)


def several(name, value, length, form, check, **limits):
    """Return `value` as a tuple of `length` items, each passed through `check`.

    form: what is expected, in words, such as "(low, high)".
    """
    expect(isinstance(value, (tuple, list)), TypeError, name, repr(value), form)
    expect(len(value) == length, ValueError, name, repr(value), form)
    return tuple(check(name, one, **limits) for one in value)


def fractions(name, value, form):
    """Return `value` as a pair of floats, both in [0, 1)."""
    return several(name, value, 2, form, number, low=0, high=1, high_open=True)


def pair(name, value, at_least):
    """Return `value`, an int or a pair (height, width), as a pair of ints."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    form = "an integer or a pair (height, width)"
    return several(name, both, 2, form, integer, at_least=at_least)


def less(name, values, other, limits):
    """Check that each of `values` is less than the limit at its place."""
    fits = all(value < limit for value, limit in zip(values, limits, strict=True))
    expect(fits, ValueError, name, values, f"less than the {other} {limits}")


def dtype(value):
    """Return `value` as "float32" or "float64"."""
    name = dtype_name(value)
    known = ("float32", "float64")
    expect(name in known, ValueError, "dtype", repr(value), "'float32' or 'float64'")
    return name


def generator(seed):
    """Return a NumPy Generator made from a seed, or the Generator that was given."""
    if seed is not None and not isinstance(seed, np.random.Generator):
        seed = integer("seed", seed, 0, at_most=2**64 - 1)
    return np.random.default_rng(seed)


def volume(name, shape):
    """Check that an array of `shape` could be held in memory: at most 2^33 numbers."""
    expected = "at most 2^33 numbers: use fewer channels or features"
    expect(prod(shape) <= 2**33, ValueError, name, f"shape {shape}", expected)


def state(value, layer):
    """Return `value`, {name: array}, as NumPy arrays that fit `layer`.

    Names and shapes must be those of its state_dict(); dtypes are converted.
    """
    is_dict = hasattr(value, "items")
    expected = "a dict {name: NumPy array}"
    expect(is_dict, TypeError, "state", type(value).__name__, expected)
    wanted = dict(layer.named_parameters())
    arrays = {
        name: np.asarray(a)
        for name, a in value.items()
        if not name.endswith("num_batches_tracked")
    }
    if arrays.keys() != wanted.keys():
        raise ValueError(
            f"state: missing {sorted(wanted.keys() - arrays.keys())}, unknown to this "
            f"{type(layer).__name__} {sorted(arrays.keys() - wanted.keys())}; expected "
            "the names of its state_dict()"
        )
    for name, p in wanted.items():
        shape = tuple(p.data.shape)
        got = arrays[name]
        fits = got.shape == shape and got.dtype.kind == "f"
        given = f"shape {got.shape} and dtype {got.dtype}"
        where = f"state[{name!r}]"
        expect(fits, ValueError, where, given, f"floats of shape {shape}")
        arrays[name] = got.astype(dtype_name(p.data.dtype))
    return arrays


def layers(named, Layer):
    """Return `named`, {name: layer}, with string names: at least one, each a Layer."""
    expect(named, ValueError, "layers", "none", "at least one")
    for name, layer in named.items():
        is_layer = isinstance(layer, Layer)
        expect(is_layer, TypeError, "layers", f"{layer!r} at {name!r}", "a Layer")
    return {str(name): layer for name, layer in named.items()}


def distinct(named):
    """Yield all (name, Layer or Parameter) of `named`; raise if one appears twice."""
    seen = {}
    for name, part in named:
        if id(part) in seen:
            where = f"the same {type(part).__name__} at {seen[id(part)]!r} and {name!r}"
            expected = "a new one at each place: a layer keeps one forward only"
            expect(False, ValueError, "layers", where, expected)
        seen[id(part)] = name
        yield name, part


def parameters(value):
    """Return `value` as a list of Parameters, all of one dtype and on one backend."""
    value = list(value) if isinstance(value, Iterable) else [value]
    expected = "a layer's parameters()"
    expect(value, ValueError, "parameters", "none", expected)
    for p in value:
        expect(hasattr(p, "grad"), TypeError, "parameters", repr(p), expected)
        array("parameters", p.data, like=value[0].data)
    return [p for _, p in distinct(enumerate(value))]


def gradients(parameters):
    """Check that each parameter has a gradient, of its own shape and dtype."""
    for number, p in enumerate(parameters):
        if p.grad is None:
            raise ValueError("Adam: step before backward; a parameter has no gradient")
        name = f"parameters[{number}].grad (parameter of shape {tuple(p.data.shape)})"
        array(name, p.grad, tuple(p.data.shape), like=p.data)


def more_than_one_value(name, x, training):
    """Check that in training each channel of x has more than one value."""
    fits = not training or prod(x.shape[1:]) > 1
    expected = "more than one value per channel in training"
    expect(fits, ValueError, name, f"shape {tuple(x.shape)}", expected)


def array(name, x, dims=None, like=None):
    """Check that `x` is a float array of shape `dims`.

    dims: such as (3, "H", "W", "N"), where a name stands for any length but 0. like: an
    array, or its (backend, dtype); x must come from the same library and have the same
    dtype.
    """
    backend = backend_of(x, name)
    if like is not None:
        other, dtype = (
            like if isinstance(like, tuple) else (backend_of(like), like.dtype)
        )
        if backend is not other:
            raise TypeError(
                f"{name}: got a {backend.name} array, expected a {other.name} array; "
                "move the model with model.to(...) or the data with Backend.from_numpy"
            )
        expect(x.dtype == dtype, TypeError, name, f"dtype {x.dtype}", f"{dtype}")
    elif x.dtype not in (backend.xp.float32, backend.xp.float64):
        raise TypeError(f"{name}: got dtype {x.dtype}, expected float32 or float64")
    shape = tuple(x.shape)
    dims = ("...",) * len(shape) if dims is None else dims
    fits = len(shape) == len(dims) and all(
        got > 0 and (isinstance(want, str) or got == want)
        for got, want in zip(shape, dims, strict=False)
    )
    expected = f"({', '.join(map(str, dims))}), no axis empty"
    expect(fits, ValueError, name, f"shape {shape}", expected)
