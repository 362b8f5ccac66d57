"""The gradient check: does backward return the derivative of forward?

A derivative can be measured without calculus: change one number a little, run forward,
and see how much the result changes. That is slow, because every number needs several
runs of forward. But it does not use the formulas in backward, so it can judge them.

    python -m tinyae.gradcheck               all layers of this package
    python -m tinyae.gradcheck my_layer.py   your own layers: the file defines a list
                                             CHECKS = [(layer, input_shape), ...],
                                             with the batch last

To compare whole arrays through one number, we weight forward's result y with an array
dy and sum: L = Σ dy * y. Then dL/dy is dy itself, so backward(dy) must return dL/dx
and store dL/dw. dy is RANDOM. With ones, L would be the plain sum of y, and any error
that does not change this sum would go unseen. Batch norm is the example: the sum of
its y is constant, so dx for dy = 1 is zero, and it is also zero if the variance term
is missing.

The check cannot find a mistake in forward itself, nor one that shows only at a kink.
"""

import argparse
import runpy
import sys
import traceback
from copy import deepcopy
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from . import checks
from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten
from .models import AnelloAutoencoder, Sequential

FLOOR = 1e-3  # errors are relative to at least this, because a gradient may be zero
BENT = 1e-6  # a measurement with a larger uncertainty is left out


def measure(f, x, dy, index, step):
    """Return dL/dx[index] for L = Σ dy * f(), or NaN at a kink.

    f computes an array from `x`; x is changed here and put back. The difference
    quotient D(h) = (f(x+h) - f(x-h)) / 2h has an error of about h², and D(2h) four
    times as much. So in (4 D(h) - D(2h)) / 3 this error cancels, and one of about h⁴
    remains.
    """
    y, old = {}, x[index]
    for k in (-2, -1, 0, 1, 2):
        x[index] = old + k * step
        y[k] = np.array(f())  # a copy: f may return a view of x, as Flatten does
    x[index] = old
    # Where f is smooth, its fourth difference is about h⁴. A kink, such as ReLU's,
    # makes it about h, and the measured slope is then a mix of the slopes on both
    # sides, which no backward could return. This test uses forward only, so a wrong
    # backward cannot switch it off.
    fourth = y[-2] - 4 * y[-1] + 6 * y[0] - 4 * y[1] + y[2]
    bend = np.sum(np.abs(dy * fourth)) / (12 * step)
    slopes = (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step)  # (4 D(h) - D(2h)) / 3
    smooth = bend <= BENT * max(1, np.sum(np.abs(dy * slopes)))
    return np.sum(dy * slopes) if smooth else np.nan


def compare(name, f, x, dy, gradient, step, entries, rng):
    """Return the error of `gradient`, which claims to be dL/dx.

    Raises ValueError, naming `name`, if it does not have the shape of x.
    """
    if np.shape(gradient) != x.shape:
        got = "none" if gradient is None else f"shape {np.shape(gradient)}"
        raise ValueError(f"{name}: got {got}, expected shape {x.shape}")
    step = step * max(1.0, float(np.median(np.abs(x))))  # rounding errors grow with x
    places = rng.permutation(x.size)[:entries]
    indices = [np.unravel_index(place, x.shape) for place in places]
    measured = np.array([measure(f, x, dy, index, step) for index in indices])
    analytic = np.ravel(gradient)[places]
    smooth = ~np.isnan(measured)
    if np.mean(smooth) < 0.5:
        raise ValueError(
            f"{name}: forward is not smooth within {step:g} of most entries; take a "
            "smaller step, or a larger one if its values are large; or is forward "
            "random?"
        )
    errors = np.abs(analytic - measured)[smooth]
    error = np.max(errors) / max(np.max(np.abs(measured[smooth])), FLOOR)
    return float("inf") if np.isnan(error) else float(error)


def check_layer(layer, x, seed=0, *, step=1e-4, entries=None):
    """Compare backward with measured derivatives.

    Returns {"x": error, name of each trainable parameter: its error}, where error is
    max|analytic - measured| / max(max|measured|, 1e-3). Rounding gives about 1e-12, in
    a deep network up to 1e-5; a mistake rarely gives less than 1e-3.

    layer: a Layer on the host. It is checked in float64, whatever its own dtype. x: an
    input, or the shape of one to draw. seed: for everything drawn. step: how far to
    move, multiplied by the median size of the entries if that is above 1. (1e-3 has the
    smallest rounding error, but a smaller step crosses fewer kinks.) entries: how many
    entries of each tensor to look at; None for all.

    During the check every trainable parameter is moved by up to 0.1, because a backward
    that forgets a gamma of 1 or a bias of 0 would be right by accident. x and dy are
    read-only. Afterwards the parameters are as before. Raises ValueError if backward
    leaves out a gradient or returns one of a wrong shape, if forward is not smooth
    around most entries, or if a parameter is called x.
    """
    rng = checks.generator(seed)
    if isinstance(x, (tuple, list)):
        x = rng.standard_normal(x)
    x = np.array(x, dtype="float64")
    given = x.view()  # the layer may read x but must not write to it
    given.flags.writeable = False
    named = layer.named_parameters()
    if "x" in dict(named):
        raise ValueError("x: got a parameter of this name, expected only the input")
    before = [(p, p.data) for _, p in named]
    tensors = {"x": x}
    try:
        for name, p in named:
            p.data = np.array(p.data, dtype="float64")
            if p.trainable:
                p.data += rng.uniform(-0.1, 0.1, p.data.shape)
                tensors[name] = p.data
        run = partial(layer.forward, given)
        dy = rng.standard_normal(np.shape(run()))
        dy.flags.writeable = False
        gradients = {"x": layer.backward(dy)}
        gradients |= {name: p.grad for name, p in named}
        gradients = deepcopy(gradients)  # run() might overwrite them
        errors = {}
        for name, data in tensors.items():
            where = f"{type(layer).__name__}, the gradient for {name}"
            gradient = gradients[name]
            errors[name] = compare(where, run, data, dy, gradient, step, entries, rng)
        return errors
    finally:
        for p, data in before:
            p.data = data


def configurations():
    """Yield what the command checks: (layer, input shape, bound on the error)."""
    # The slope of a line or parabola is measured exactly; depth adds rounding errors.
    exact, curved, deep = 1e-8, 1e-6, 1e-5
    shape = (3, 4, 5, 6)
    yield Linear(5, 3, seed=1), (5, 4), exact
    for geometry in [(3, 2, 1), ((4, 3), (3, 2), (2, 0))]:
        yield Conv2d(3, 7, *geometry, seed=1), shape, exact
        yield ConvTranspose2d(3, 2, *geometry, (0, 1), seed=1), shape, exact
    yield BatchNorm2d(3), shape, curved
    norm = BatchNorm2d(3)
    norm.forward(np.random.default_rng(1).normal(2, 3, shape).astype("float32"))
    yield norm.eval(), shape, curved  # with running statistics other than 0 and 1
    yield ReLU(), shape, exact
    yield Sigmoid(), shape, curved
    yield Flatten(), shape, exact
    yield Unflatten((2, 3, 4)), (24, 5), exact
    yield Sequential(Conv2d(3, 2, 3, seed=1), BatchNorm2d(2), ReLU()), shape, deep
    yield AnelloAutoencoder(3, seed=1), (3, 1, 28, 28), deep


def sentence(error, file):
    """Return an exception as one line, with the line of `file` it came from, if any."""
    trace = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in trace if frame.filename == file]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} ({file}, line {lines[-1]})" if lines else text


def read_checks(file):
    """Return the rows to check from a file; exit with a sentence if it has none."""
    sys.path.insert(0, str(Path(file).resolve().parent))  # as when Python runs the file
    form = "expected a Python file that defines CHECKS = [(layer, input_shape), ...]"
    try:
        pairs = list(runpy.run_path(file)["CHECKS"])
        if not pairs:
            raise ValueError("CHECKS = []")
        return [(layer, tuple(shape), 1e-6) for layer, shape in pairs]
    except (Exception, SystemExit) as error:
        sys.exit(f"{file}: {form}, got {sentence(error, file)}")


def main():
    """Run the command: print the table, exit with status 1 if a check failed."""
    sys.stdout.reconfigure(errors="replace")  # its encoding may lack a character
    parser = argparse.ArgumentParser(
        prog="python -m tinyae.gradcheck",
        description="Compare every backward with measured derivatives of its forward, "
        "and print the error of the worst tensor.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        help="a Python file with CHECKS = [(layer, input_shape), ...], the batch last; "
        "without it, all layers of tinyae are checked",
    )
    file = parser.parse_args().file
    rows = read_checks(file) if file else configurations()
    failed = False
    print(f"{'layer':42} {'worst tensor':29} {'error':>8} {'bound':>8}")
    for layer, shape, bound in rows:
        passed = False
        try:
            # A network has many kinks, hence the small step; all entries take minutes.
            few = {"step": 3e-6, "entries": 6} if prod(shape) > 1000 else {}
            errors = check_layer(layer, shape, **few)
            worst = max(errors, key=errors.get)
            passed = errors[worst] <= bound
            verdict = "ok" if passed else "FAILED"
            row = f"{worst!s:29} {errors[worst]:8.1e} {bound:8.0e} {verdict}"
        except Exception as error:  # a reader's layer may raise anything
            row = f"FAILED, {sentence(error, file)}"
        mode = "" if getattr(layer, "training", True) else ".eval()"
        name = f"{type(layer).__name__}{mode}, x {shape}"
        print(f"{name:42} {row}", flush=True)
        failed |= not passed
    sys.exit(failed)


if __name__ == "__main__":
    main()
