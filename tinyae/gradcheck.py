"""The gradient check: does backward return the derivative of forward?

A derivative can be measured without calculus: change one number a little, run forward,
and see how much the result changes. That is slow, because every number needs several
runs of forward. But it does not use the formulas in backward, so it can judge them.

    python -m tinyae.gradcheck               all layers and losses of this package
    python -m tinyae.gradcheck my_layer.py   those of a file of yours

Both look for a list CHECKS = [(layer or loss, input shape), ...] at the end of each
file that defines some. The shape includes the batch, a layer's last axis and a
model's first.

To compare whole arrays through one number, we weight forward's result y with an array
dy and sum: L = Σ dy * y. Then dL/dy is dy itself, so backward(dy) must return dL/dx
and store dL/dw. dy is RANDOM. With ones, L would be the plain sum of y, and any error
that does not change this sum would go unseen. Batch norm is the example: the sum of
its y is constant, so dx for dy = 1 is zero, and it is also zero if the variance term
is missing.

Each layer is checked in training and in evaluation mode, and with input_grad=False, as
training calls it. The check cannot find a mistake in forward itself, nor one that shows
only at a kink.
"""

import importlib
import runpy
import sys
from copy import deepcopy
from math import inf, prod
from pathlib import Path

import numpy as np

from .layer import Layer

FLOOR = 1e-3  # errors are relative to at least this, because a gradient may be zero
BENT = 1e-6  # the largest error by a kink, relative to the slope, that is accepted


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
    # it estimates the error that the kink makes in them. It uses forward only, so a
    # wrong backward cannot switch this test off.
    fourth = y[-2] - 4 * y[-1] + 6 * y[0] - 4 * y[1] + y[2]
    bend = np.sum(np.abs(dy * fourth)) / (12 * step)
    slopes = (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step)  # (4 D(h) - D(2h)) / 3
    smooth = bend <= BENT * max(1, np.sum(np.abs(dy * slopes)))
    return np.sum(dy * slopes) if smooth else np.nan


def compare(name, f, x, dy, gradient, step, entries, rng):
    """Return the error of `gradient`, which claims to be dL/dx.

    Raises ValueError, naming `name`, if its shape is not that of x, or if forward is
    not smooth around most of the entries.
    """
    if np.shape(gradient) != x.shape:
        got = f"{type(gradient).__name__} of shape {np.shape(gradient)}"
        raise ValueError(f"{name}: got {got}, expected shape {x.shape}")
    step = step * max(1.0, float(np.median(np.abs(x))))  # rounding errors grow with x
    places = rng.permutation(x.size)[:entries]
    indices = [np.unravel_index(place, x.shape) for place in places]
    measured = np.array([measure(f, x, dy, index, step) for index in indices])
    smooth = ~np.isnan(measured)
    if np.mean(smooth) < 0.5:
        raise ValueError(
            f"{name}: forward is not smooth within {step:g} of most entries; take a "
            "smaller step, or a larger one if its values are large; or is forward "
            "random?"
        )
    errors = np.abs(np.ravel(gradient)[places] - measured)[smooth]
    error = np.max(errors) / max(np.max(np.abs(measured[smooth])), FLOOR)
    return inf if np.isnan(error) else float(error)


def check_layer(layer, x, seed=0, *, step=1e-4, entries=None):
    """Compare backward with measured derivatives, in training and in evaluation mode.

    Returns {"x": error, name of each trainable parameter: its error}, where error is
    max|analytic - measured| / max(max|measured|, 1e-3). If evaluation mode computes
    something else, there is also "x (evaluation)" and so on. Rounding gives about
    1e-12, in a deep network up to 1e-5; a mistake rarely gives less than 1e-3, and inf
    if backward does not set a gradient, or adds to the one that is there.

    layer: a Layer on the host. It is checked in float64, whatever its own dtype. x: an
    input, or the shape of one to draw. seed: for everything drawn. step: how far to
    move, multiplied by the median size of the entries if that is above 1. (1e-3 has the
    smallest error, but a smaller step crosses fewer kinks.) entries: how many
    entries of each tensor to look at; None for all.

    During the check every trainable parameter is moved by up to 0.1, because a backward
    that forgets a gamma of 1 or a bias of 0 would be right by accident. The others,
    such as running statistics, have the same values before each forward. x and dy are
    read-only. All this happens to a copy of the layer. Raises ValueError if a gradient
    has a wrong shape, if backward with input_grad=False, as training calls it, stores
    other gradients, or if forward is not smooth around most entries.
    """
    rng = np.random.default_rng(seed)
    if isinstance(x, (tuple, list)):
        x = rng.standard_normal(x)
    x = np.array(x, dtype="float64")
    given = x.view()  # the layer may read x but must not write to it
    given.flags.writeable = False
    layer = deepcopy(layer)
    named = layer.named_parameters()
    tensors = {"x": x}
    for name, p in named:
        p.data = np.array(p.data, dtype="float64")
        if p.trainable:
            p.data += rng.uniform(-0.1, 0.1, p.data.shape)
            tensors[name] = p.data
    stored = [(p, np.array(p.data)) for _, p in named if not p.trainable]

    def run():
        for p, data in stored:
            p.data = np.array(data)
        return layer.forward(given)

    def backward(**options):
        for _, p in named:
            p.grad = np.full_like(p.data, np.nan)  # to be replaced, not added to
        run()
        dx = layer.backward(dy, **options)
        return deepcopy({name: p.grad for name, p in named if p.trainable} | {"x": dx})

    dy = rng.standard_normal(np.shape(run()))
    dy.flags.writeable = False
    errors, seen = {}, None
    for mode, suffix in {True: "", False: " (evaluation)"}.items():
        layer.train(mode)
        found = [np.array(run()), backward()]
        gradients = found[1]
        if not _equal(gradients, backward(input_grad=False) | {"x": gradients["x"]}):
            raise ValueError(
                f"{type(layer).__name__}: backward with input_grad=False stores other "
                f"gradients{suffix}, expected the same"
            )
        if _equal(seen, found):
            break  # both modes compute the same
        seen = found
        for name, data in tensors.items():
            where = f"{type(layer).__name__}, the gradient for {name}{suffix}"
            errors[name + suffix] = compare(
                where, run, data, dy, gradients[name], step, entries, rng
            )
        stored = [(p, np.array(p.data)) for p, _ in stored]  # training mode moved some
    return errors


def _equal(a, b):
    try:
        np.testing.assert_equal(a, b)  # also for None and NaN
    except AssertionError:
        return False
    return True


class _LossLayer(Layer):
    """A loss as a layer: y -> L, for a fixed target."""

    def __init__(self, loss, target):
        self.loss = loss
        self.target = target

    def forward(self, y):
        return self.loss.forward(y, self.target)

    def backward(self, dy, input_grad=True):
        return dy * self.loss.backward()


def check_loss(loss, shape, seed=0, **options):
    """Compare a loss's backward with measured derivatives; return {"y": error}.

    loss: has forward(y, target) -> L and backward() -> dL/dy. y and target of `shape`
    are drawn between 0.1 and 0.9, as for the output of a sigmoid. The rest is as in
    check_layer.
    """
    y, target = np.random.default_rng(seed).uniform(0.1, 0.9, (2, *shape))
    return {"y": check_layer(_LossLayer(loss, target), y, seed, **options)["x"]}


def collect():
    """Return the CHECKS of all files of this package, one after the other."""
    found = []
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"{__package__}.{file.stem}")
        found += getattr(module, "CHECKS", [])
    return found


def read_checks(file):
    """Return CHECKS of a file, also inside a package; exit with a sentence if none."""
    found, folder, name = {}, Path(file).resolve().parent, Path(file).stem
    while (folder / "__init__.py").exists():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))  # as when Python runs the file
    if Path(file).is_file():
        inside = "." in name
        found = vars(importlib.import_module(name)) if inside else runpy.run_path(file)
    if not found.get("CHECKS"):
        sys.exit(
            f"{file}: got no CHECKS, expected a Python file that defines CHECKS = "
            "[(layer or loss, input shape), ...]"
        )
    return found["CHECKS"]


def main():
    """Run the command: print the table, exit with status 1 if a check failed."""
    rows = read_checks(sys.argv[1]) if len(sys.argv) > 1 else collect()
    failed = False
    print(f"{'layer or loss':42} {'worst tensor':29} {'error':>8} {'bound':>8}")
    for part, shape in rows:
        # A network has many kinks, hence the small step, and more rounding errors; to
        # check all its entries would take minutes.
        large = prod(shape) > 1000
        bound = 1e-5 if large else 1e-6
        few = {"step": 3e-6, "entries": 6} if large else {}
        check = check_layer if isinstance(part, Layer) else check_loss
        try:
            errors = check(part, shape, **few)
        except Exception as error:  # a reader's layer may raise anything
            errors = {f"{type(error).__name__}: {error}": inf}
        worst = max(errors, key=errors.get)
        wrong = errors[worst] > bound
        failed |= wrong
        name = f"{type(part).__name__}, x {shape}"
        verdict = "FAILED" if wrong else "ok"
        print(f"{name:42} {worst:29} {errors[worst]:8.1e} {bound:8.0e} {verdict}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
