"""Checks of arguments, one line each where they are used, so that the mathematics beside them stays readable.

Every message names the argument, what was given and what was expected. A wrong kind of thing raises TypeError, a
wrong value or shape ValueError.
"""

from collections.abc import Iterable
from numbers import Integral, Real
from sys import float_info

from .backend import backend_of, dtype_name, host


def expect(holds, error, name, got, expected):
    """Raise `error` unless `holds`."""
    if not holds:
        raise error(f"{name}: got {got}, expected {expected}")


def integer(name, value, at_least):
    """`value` as an int of at least `at_least`."""
    expect(
        isinstance(value, Integral) and not isinstance(value, bool),
        TypeError,
        name,
        repr(value),
        "an integer",
    )
    expect(
        value >= at_least, ValueError, name, value, f"an integer of at least {at_least}"
    )
    return int(value)


def number(name, value, low, high=float("inf"), low_open=False, high_open=False):
    """`value` as a finite float between `low` and `high`, a bound that is "open" itself excluded."""
    expect(
        isinstance(value, Real) and not isinstance(value, bool),
        TypeError,
        name,
        repr(value),
        "a number",
    )
    fits = (low < value if low_open else low <= value) and (
        value < high if high_open else value <= high
    )
    below = f" and {'<' if high_open else '<='} {high}" if high < float("inf") else ""
    expect(
        fits
        and abs(value)
        <= float_info.max,  # NaN fits nowhere: every comparison with it is false
        ValueError,
        name,
        value,
        f"a finite number {'>' if low_open else '>='} {low}{below}",
    )
    return float(value)


def several(name, value, length, form, check, **limits):
    """`value` as a tuple of `length` things, each passed through check(name, thing, ...). form: in words, "(low, high)"."""
    expect(isinstance(value, (tuple, list)), TypeError, name, repr(value), form)
    expect(len(value) == length, ValueError, name, repr(value), form)
    return tuple(check(name, one, **limits) for one in value)


def pair(name, value, at_least):
    """`value`, an int or two of them (height, width), as two ints of at least `at_least`."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    return several(
        name,
        both,
        2,
        "an integer or a pair (height, width)",
        integer,
        at_least=at_least,
    )


def dtype(value):
    """`value` as "float32" or "float64"."""
    expect(
        dtype_name(value) in ("float32", "float64"),
        ValueError,
        "dtype",
        repr(value),
        "'float32' or 'float64'",
    )
    return dtype_name(value)


def generator(seed):
    """A host generator from a seed, or the one that was given; None draws a seed from the operating system."""
    if not (seed is None or isinstance(seed, host.random.Generator)):
        seed = integer("seed", seed, 0)
    return host.random.default_rng(seed)


def state(value, layer):
    """`value`, {name: array}, as NumPy arrays that fit `layer` in names, shapes and kind, in its parameters' dtypes."""
    expect(
        hasattr(value, "items"),
        TypeError,
        "state",
        type(value).__name__,
        "a dict {name: NumPy array}",
    )
    value = {
        name: host.asarray(a)
        for name, a in value.items()
        if not name.endswith("num_batches_tracked")
    }
    named = dict(layer.named_parameters())
    if value.keys() != named.keys():
        raise ValueError(
            f"state: missing {sorted(named.keys() - value.keys())}, not known to this {type(layer).__name__} "
            f"{sorted(value.keys() - named.keys())}; expected the names of its state_dict()"
        )
    for name, p in named.items():
        expect(
            value[name].shape == tuple(p.data.shape) and value[name].dtype.kind == "f",
            ValueError,
            f"state[{name!r}]",
            f"shape {value[name].shape} and dtype {value[name].dtype}",
            f"floats of shape {tuple(p.data.shape)}",
        )
    return {
        name: a.astype(dtype_name(named[name].data.dtype)) for name, a in value.items()
    }


def layers(named, Layer):
    """`named`, {name: layer}: at least one, each a Layer, and none twice."""
    expect(named, ValueError, "layers", "none", "at least one")
    for name, layer in named.items():
        expect(
            isinstance(layer, Layer),
            TypeError,
            "layers",
            f"{layer!r} at {name!r}",
            "a Layer",
        )
    expect(
        len({id(layer) for layer in named.values()}) == len(named),
        ValueError,
        "layers",
        "a layer twice",
        "a new one at each place: it keeps one forward only",
    )
    return named


def parameters(value):
    """`value` as a list of Parameters, all of one dtype and on one backend."""
    value = list(value) if isinstance(value, Iterable) else [value]
    expect(value, ValueError, "parameters", "none", "a layer's parameters()")
    for p in value:
        expect(
            hasattr(p, "grad"),
            TypeError,
            "parameters",
            repr(p),
            "a layer's parameters()",
        )
        array("parameters", p.data, like=value[0].data)
    return value


def array(name, x, dims=None, like=None):
    """Check that `x` is a float array, with axes of the lengths `dims` if given: a tuple, or {axis: length or None}.

    like: an array, or its (backend, dtype): x must come from the same library and have the same dtype.
    """
    backend = backend_of(x, name)
    if like is not None:
        other, dtype = (
            like if isinstance(like, tuple) else (backend_of(like), like.dtype)
        )
        if backend is not other:
            raise TypeError(
                f"{name}: got a {backend.name} array, expected a {other.name} one like the weights': "
                "move the model with model.to(...) or the data with Backend.from_numpy"
            )
        if x.dtype != dtype:
            raise TypeError(
                f"{name}: got dtype {x.dtype}, expected {dtype}, that of the weights or of what it meets"
            )
    elif x.dtype not in (backend.xp.float32, backend.xp.float64):
        raise TypeError(f"{name}: got dtype {x.dtype}, expected float32 or float64")
    expected = (
        x.shape
        if dims is None
        else dims
        if isinstance(dims, tuple)
        else tuple(dims.values())
    )
    if len(x.shape) != len(expected) or any(
        got == 0 or want not in (None, got) for got, want in zip(x.shape, expected)
    ):
        axes = (
            expected
            if dims is None or dims is expected
            else (
                axis if length is None else f"{axis}={length}"
                for axis, length in dims.items()
            )
        )
        raise ValueError(
            f"{name}: got shape {tuple(x.shape)}, expected ({', '.join(map(str, axes))}), no axis empty"
        )
