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


def state(value, layer):
    """Return `value`, {name: array}, as NumPy arrays that fit `layer`.

    Names and shapes must be those of its state_dict(); dtypes are converted.
    """
    if not hasattr(value, "items"):
        raise TypeError(
            f"state: got {type(value).__name__}, expected a dict {{name: NumPy array}}"
        )
    value = {k: a for k, a in value.items() if not k.endswith("num_batches_tracked")}
    wanted = dict(layer.named_parameters())
    if value.keys() != wanted.keys():
        raise ValueError(
            f"state: missing {sorted(wanted.keys() - value.keys())}, unknown to this "
            f"{type(layer).__name__} {sorted(value.keys() - wanted.keys())}; expected "
            "the names of its state_dict()"
        )
    arrays = {}
    for name, p in wanted.items():
        a = np.asarray(value[name])
        shape = tuple(p.data.shape)
        if a.shape != shape or a.dtype.kind != "f":
            raise ValueError(
                f"state[{name!r}]: got shape {a.shape} and dtype {a.dtype}, expected "
                f"floats of shape {shape}"
            )
        arrays[name] = a.astype(dtype_name(p.data.dtype))
    return arrays


def layers(named, Layer):
    """Return `named`, {name: layer}: at least one, each a Layer; names have no dot."""
    if not named:
        raise ValueError("layers: got none, expected at least one")
    for name, layer in named.items():
        plain = isinstance(name, str) and "." not in name
        expect(plain, ValueError, "layers", repr(name), "a string without a dot")
        if not isinstance(layer, Layer):
            raise TypeError(f"layers: got {layer!r} at {name!r}, expected a Layer")
    return dict(named)


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


def parameters(value):
    """Return `value` as a list of Parameters, all of one dtype and on one backend."""
    value = list(value) if isinstance(value, Iterable) else [value]
    if not value:
        raise ValueError("parameters: got none, expected a layer's parameters()")
    for p in value:
        if not hasattr(p, "grad"):
            raise TypeError(f"parameters: got {p!r}, expected a layer's parameters()")
        array("parameters", p.data, like=value[0].data)
    return [p for _, p in distinct(enumerate(value), "parameters")]


def gradients(parameters):
    """Check that each parameter has a gradient, of its own shape and dtype."""
    for number, p in enumerate(parameters):
        if p.grad is None:
            raise ValueError("Adam: step before backward; a parameter has no gradient")
        shape = tuple(p.data.shape)
        name = f"parameters[{number}].grad (parameter of shape {shape})"
        array(name, p.grad, shape, like=p.data)


def more_than_one_value(name, x, training):
    """Check that in training each channel of x has more than one value."""
    if training and prod(x.shape[1:]) == 1:
        raise ValueError(
            f"{name}: got shape {tuple(x.shape)}, expected more than one value per "
            "channel in training"
        )


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
