"""Checks of arguments, one line each where they are used, so that the mathematics beside them stays readable.

Every message names the argument, what was given and what was expected. A wrong kind of thing raises TypeError, a
wrong value or shape ValueError.
"""

from numbers import Integral, Real

from .backend import backend_of, host

FLOATS = ("float32", "float64")


def integer(name, value, at_least):
    """`value` as an int of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: got {value!r}, expected an integer")
    if value < at_least:
        raise ValueError(f"{name}: got {value}, expected an integer of at least {at_least}")
    return int(value)


def pair(name, value, at_least):
    """`value`, an int or two of them (height, width), as two ints of at least `at_least`."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name}: got {value!r}, expected an integer or a pair (height, width)")
    return integer(name, both[0], at_least), integer(name, both[1], at_least)


def number(name, value, low, high=float("inf"), low_open=False, high_open=False):
    """`value` as a finite float between `low` and `high`, a bound that is "open" itself excluded."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: got {value!r}, expected a number")
    fits = (low < value if low_open else low <= value) and (value < high if high_open else value <= high)
    if not fits or value == float("inf"):  # NaN fits nowhere: every comparison with it is false
        bounds = f"{'>' if low_open else '>='} {low}" + ("" if high == float("inf") else f" and {'<' if high_open else '<='} {high}")
        raise ValueError(f"{name}: got {value}, expected a finite number {bounds}")
    return float(value)


def dtype(value):
    """`value` as "float32" or "float64"."""
    name = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    if name not in FLOATS:
        raise ValueError(f"dtype: got {value!r}, expected 'float32' or 'float64'")
    return name


def generator(seed):
    """A host generator from a seed, or the one that was given; None draws a seed from the operating system."""
    if not (seed is None or isinstance(seed, host.random.Generator)):
        seed = integer("seed", seed, 0)
    return host.random.default_rng(seed)


def array(name, x, dims, like=None):
    """Check that `x` is a float array with the named axes `dims` ({axis: its length, or None for any}).

    With `like`, also that it comes from the same library and has the same dtype as that array.
    """
    backend = backend_of(x)
    if like is not None and backend is not backend_of(like):
        raise TypeError(f"{name}: got a {backend.name} array, expected a {backend_of(like).name} one like the "
                        "weights': move the model with model.to(...) or the data with Backend.from_numpy")
    if x.dtype not in (backend.xp.float32, backend.xp.float64):
        raise TypeError(f"{name}: got dtype {x.dtype}, expected float32 or float64")
    if like is not None and x.dtype != like.dtype:
        raise TypeError(f"{name}: got dtype {x.dtype}, expected {like.dtype} as the weights have")
    fits = len(x.shape) == len(dims) and all(
        got > 0 and want in (None, got) for got, want in zip(x.shape, dims.values()))
    if not fits:
        expected = ", ".join(axis if length is None else f"{axis}={length}" for axis, length in dims.items())
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected ({expected}), no axis empty")
