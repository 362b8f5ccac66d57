"""The gradient check: does backward return the derivative of forward?

A derivative can be measured without calculus: change one number a little, run forward,
and see how much the result changes. That is slow, because every number needs several
runs of forward. But it does not use the formulas in backward, so it can judge them.

    python -m tinyae.gradcheck               all layers and losses of this package
    python -m tinyae.gradcheck my_layer.py   those of a file of yours

Both look for a list CHECKS = [(layer or loss, input shape), ...], which stands at the
end of each file that defines some. The batch is the last axis of a layer's input.

To compare whole arrays through one number, we weight forward's result y with an array
dy and sum: L = Σ dy * y. Then dL/dy is dy itself, so backward(dy) must return dL/dx
and store dL/dw. dy is RANDOM. With ones, L would be the plain sum of y, and any error
that does not change this sum would go unseen. Batch norm is the example: the sum of
its y is constant, so dx for dy = 1 is zero, and it is also zero if the variance term
is missing.

The check cannot find a mistake in forward itself, nor one that shows only at a kink.
"""

import argparse
import importlib
import pkgutil
import runpy
import sys
import traceback
from copy import deepcopy
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from . import checks
from .layer import Layer

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
    # sides, which no backward could return. Divided by 12 h, as the slopes are below,
    # it says how wrong the measured slope may be. It uses forward only, so a wrong
    # backward cannot switch this test off.
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
    """Compare backward with measured derivatives, in training and in evaluation mode.

    Returns {"x": error, name of each trainable parameter: its error}, where error is
    max|analytic - measured| / max(max|measured|, 1e-3). If evaluation mode computes
    something else, there is also "x (evaluation)" and so on. Rounding gives about
    1e-12, in a deep network up to 1e-5; a mistake rarely gives less than 1e-3.

    layer: a Layer on the host. It is checked in float64, whatever its own dtype. x: an
    input, or the shape of one to draw. seed: for everything drawn. step: how far to
    move, multiplied by the median size of the entries if that is above 1. (1e-3 has the
    smallest rounding error, but a smaller step crosses fewer kinks.) entries: how many
    entries of each tensor to look at; None for all.

    During the check every trainable parameter is moved by up to 0.1, because a backward
    that forgets a gamma of 1 or a bias of 0 would be right by accident. The others,
    such as running statistics, have the same values before each forward. x and dy are
    read-only. Afterwards the layer is as before. Raises ValueError if backward leaves
    out a gradient or returns one of a wrong shape, if a second backward or one with
    input_grad=False stores other gradients, if forward is not smooth around most
    entries, or if a parameter is called x.
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
    modes = [(one, one.training) for _, one in [("", layer), *layer.named_layers()]]
    tensors = {"x": x}
    try:
        for name, p in named:
            p.data = np.array(p.data, dtype="float64")
            if p.trainable:
                p.data += rng.uniform(-0.1, 0.1, p.data.shape)
                tensors[name] = p.data
        errors, seen = {}, None
        for mode, suffix in {True: "", False: " (evaluation)"}.items():
            layer.train(mode)
            run = _repeatable(layer, named, given)
            y = np.array(run())
            dy = checks.generator(seed).standard_normal(y.shape)
            dy.flags.writeable = False
            gradients = _gradients(layer, named, run, dy)
            if seen and _equal(seen, gradients | {"y": y}):
                break  # it computes the same in both modes
            seen = gradients | {"y": y}
            for name, data in tensors.items():
                where = f"{type(layer).__name__}, the gradient for {name}{suffix}"
                found = compare(
                    where, run, data, dy, gradients[name], step, entries, rng
                )
                errors[name + suffix] = found
        return errors
    finally:
        for p, data in before:
            p.data = data
        for one, mode in modes:
            one.training = mode


def _repeatable(layer, named, x):
    """Return a function that runs forward(x) from the same stored values each time."""
    stored = [(p, np.array(p.data)) for _, p in named if not p.trainable]

    def run():
        for p, data in stored:
            p.data = np.array(data)
        return layer.forward(x)

    return run


def _gradients(layer, named, run, dy):
    """Return {"x": dx, name: gradient}; raise if another backward stores others."""

    def backward(**options):
        run()
        dx = layer.backward(dy, **options)
        return deepcopy({"x": dx} | {name: p.grad for name, p in named if p.trainable})

    def forget():
        for _, p in named:
            p.grad = None

    forget()
    first = backward()
    where = f"{type(layer).__name__}, backward"
    if not _equal(first, backward()):
        raise ValueError(
            f"{where}: got other gradients the second time, expected the same; grad "
            "must be set, not added to"
        )
    forget()
    without = backward(input_grad=False) | {"x": first["x"]}  # dx is not used then
    if not _equal(first, without):
        raise ValueError(
            f"{where}: got other gradients for the parameters with input_grad=False, "
            "expected the same"
        )
    return first


def _equal(a, b):
    return all(_same(a[name], b[name]) for name in a)


def _same(a, b):
    if a is None or b is None:
        return a is b
    return np.shape(a) == np.shape(b) and np.allclose(a, b, 1e-9, 0, equal_nan=True)


def check_loss(loss, shape, seed=0, *, step=1e-4, entries=None):
    """Compare a loss's backward with measured derivatives; return {"y": error}.

    loss: has forward(y, target) -> L and backward() -> dL/dy. y and target of `shape`
    are drawn between 0.1 and 0.9, as for the output of a sigmoid. The rest is as in
    check_layer.
    """
    rng = checks.generator(seed)
    y, target = rng.uniform(0.1, 0.9, (2, *shape))
    given = y.view()
    given.flags.writeable = target.flags.writeable = False
    run = partial(loss.forward, given, target)
    run()
    gradient = np.array(loss.backward())
    where = f"{type(loss).__name__}, the gradient for y"
    one = np.ones(())  # L is a single number, with weight 1
    return {"y": compare(where, run, y, one, gradient, step, entries, rng)}


def check(part, shape, **options):
    """Return the errors of a layer or a loss, as check_layer and check_loss do."""
    function = check_layer if isinstance(part, Layer) else check_loss
    return function(part, shape, **options)


def collect():
    """Return the CHECKS of all files of this package, one after the other."""
    found = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"{__package__}.{module.name}")
        found += getattr(module, "CHECKS", [])
    return found


def one_line(error, file):
    """Return an exception as one line, with the line of `file` it came from, if any."""
    trace = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in trace if frame.filename == file]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} ({file}, line {lines[-1]})" if lines else text


def run_file(file):
    """Return {name: value} of a Python file, which may be part of a package."""
    folder, name = Path(file).resolve().parent, Path(file).stem
    package = folder
    while (package / "__init__.py").exists():
        name = f"{package.name}.{name}"
        package = package.parent
    sys.path.insert(0, str(package))  # as when Python runs the file
    return (
        runpy.run_path(file)
        if package == folder
        else vars(importlib.import_module(name))
    )


def read_checks(file):
    """Return CHECKS from a file; exit with a sentence if it has none."""
    form = (
        "expected a Python file that defines CHECKS = [(layer or loss, input shape), "
        "...]"
    )
    try:
        rows = [(part, tuple(shape)) for part, shape in run_file(file)["CHECKS"]]
        if not rows:
            raise ValueError("CHECKS = []")
        return rows
    except (Exception, SystemExit) as error:
        sys.exit(f"{file}: {form}, got {one_line(error, file)}")


def main():
    """Run the command: print the table, exit with status 1 if a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tinyae.gradcheck",
        description="Compare every backward with measured derivatives of its forward, "
        "and print the error of the worst tensor.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        help="a Python file with CHECKS = [(layer or loss, input shape), ...]; without "
        "it, all layers and losses of tinyae are checked",
    )
    file = parser.parse_args().file
    failed = False
    print(f"{'layer or loss':42} {'worst tensor':29} {'error':>8} {'bound':>8}")
    for part, shape in read_checks(file) if file else collect():
        passed = False
        try:
            # A network has many kinks, hence the small step, and more rounding errors;
            # to check all its entries would take minutes.
            large = prod(shape) > 1000
            bound = 1e-5 if large else 1e-6
            few = {"step": 3e-6, "entries": 6} if large else {}
            errors = check(part, shape, **few)
            worst = max(errors, key=errors.get)
            passed = errors[worst] <= bound
            verdict = "ok" if passed else "FAILED"
            row = f"{worst!s:29} {errors[worst]:8.1e} {bound:8.0e} {verdict}"
        except Exception as error:  # a reader's layer may raise anything
            row = f"FAILED, {one_line(error, file)}"
        print(f"{f'{type(part).__name__}, x {shape}':42} {row}", flush=True)
        failed |= not passed
    sys.exit(failed)


if __name__ == "__main__":
    main()
