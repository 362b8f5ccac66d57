"""The gradient check: is what backward returns really the derivative of forward?

A derivative can be measured without any calculus: move one number a little, run forward, and see how far the result
moves. That is slow, two runs and more for every number, but it knows nothing of the formulas in backward, and so it
can judge them.

    python -m tinyae.gradcheck                  every layer of this package
    python -m tinyae.gradcheck their_file.py    the layers of yours: the file holds a list
                                                CHECKS = [(layer, input_shape), ...], the batch last

To compare whole arrays by one number, forward's result y is weighted with an array dy and summed, L = sum(dy * y). Then
dL/dy is dy itself, and backward(dy) has to return dL/dx and store dL/dw. dy is RANDOM: were it all ones, L would be
the plain sum of y, and what changes y but not its sum could be wrong without being seen. Batch norm is the example:
its y sums to a constant, so the dx for dy = 1 is zero, and zero comes out even when the variance's term is missing.
"""

import argparse
import runpy
import sys
import traceback

from . import checks
from .backend import host
from .batchnorm import BatchNorm2d
from .convolution import Conv2d, ConvTranspose2d
from .layer import Layer
from .layers import Flatten, Linear, ReLU, Sigmoid, Unflatten
from .losses import MSELoss
from .models import AnelloAutoencoder, Sequential

FLOOR = 1e-3  # errors are measured by at least this: the true gradient may be zero
BENT = 1e-6  # a measurement in doubt by more than this is left out


def measure(f, x, dy, index, step):
    """dL/dx[index] for L = sum(dy * f()), where f computes an array from `x`; NaN if f has a kink within two steps.

    D(h) = (f(x+h) - f(x-h)) / 2h, for a step h, is wrong by about h^2, and D(2h) by four times as much. So in
    (4 D(h) - D(2h)) / 3 that error is gone, and one of about h^4 is left. x is changed and put back.
    """
    y, old = {}, x[index]
    for k in (-2, -1, 0, 1, 2):
        x[index] = old + k * step
        y[k] = host.array(f())  # a copy: f may well return a view of x, as Flatten does
    x[index] = old
    # Where f is smooth its fourth difference is about h^4. A kink, such as a ReLU's, makes it about h, and the measured
    # slope an average of the two sides' slopes, with which no backward could agree. This looks at forward only.
    bend = host.sum(host.abs(dy * (y[-2] - 4 * y[-1] + 6 * y[0] - 4 * y[1] + y[2]))) / (
        12 * step
    )
    slopes = (8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (
        12 * step
    )  # (4 D(h) - D(2h)) / 3, over one denominator
    return (
        host.nan
        if bend > BENT * max(1, host.sum(host.abs(dy * slopes)))
        else host.sum(dy * slopes)
    )


def compare(f, x, dy, gradient, step, entries, rng):
    """The error of `gradient`, which claims to be dL/dx. Raises ValueError if it has not x's shape."""
    if host.shape(gradient) != x.shape:
        raise ValueError(
            f"got {'none' if gradient is None else f'shape {gradient.shape}'}, expected shape {x.shape}"
        )
    pairs = []
    for tried, flat in enumerate(rng.permutation(x.size), 1):
        index = host.unravel_index(flat, x.shape)
        slope = measure(f, x, dy, index, step)
        if not host.isnan(slope):
            pairs.append((gradient[index], slope))
        if len(pairs) == entries:
            break
    if len(pairs) < tried / 2:
        raise ValueError(
            f"forward is not smooth within {step} of most entries: take a smaller step, or does it draw?"
        )
    analytic, measured = host.array(pairs).T
    error = host.max(host.abs(analytic - measured)) / max(
        host.max(host.abs(measured)), FLOOR
    )
    return float("inf") if host.isnan(error) else float(error)


def check_layer(layer, x, seed=0, *, step=1e-4, entries=None):
    """Compare backward with measured derivatives: {"x": error, and the name of each trainable parameter: its error}.

    layer: a Layer, or anything with forward(x), backward(dy) -> dx and parameters() (objects with .data and .grad), on
    the host; it is checked in float64, whatever its own dtype. x: an input, or the shape of one to draw. seed: of all
    that is drawn. step: how far to move. entries: how many entries of each tensor to compare, drawn; None for all.
    The error is max|analytic - measured| / max(max|measured|, 1e-3): 1e-10 is rounding, 1e-3 is a mistake.

    While it runs every trainable parameter is moved by up to 0.1 (a backward that has forgotten a gamma of 1 or a
    bias of 0 would be right by chance), and x and dy are read-only; afterwards the parameters are as they were. Raises ValueError if
    backward leaves out a gradient or returns one of a wrong shape, or if forward is not smooth around most entries.
    """
    rng = checks.generator(seed)
    x = (
        rng.standard_normal(x)
        if isinstance(x, (tuple, list))
        else host.array(x, dtype="float64")
    )
    given = (
        x.view()
    )  # the layer may read x; that it must not write there is part of the check
    given.flags.writeable = False
    named = dict(
        layer.named_parameters()
        if isinstance(layer, Layer)
        else enumerate(layer.parameters())
    )
    learnt = {name: p for name, p in named.items() if getattr(p, "trainable", True)}
    before = [(p, p.data) for p in named.values()]
    try:
        for p, data in before:
            p.data = host.array(data, dtype="float64")
        for p in learnt.values():
            p.data += rng.uniform(-0.1, 0.1, p.data.shape)
        dy = rng.standard_normal(host.shape(layer.forward(given)))
        dy.flags.writeable = False
        tensors = {"x": (x, layer.backward(dy))} | {
            name: (p.data, p.grad) for name, p in learnt.items()
        }
        tensors = {
            name: (data, None if grad is None else host.array(grad))
            for name, (data, grad) in tensors.items()
        }
        errors = {}
        for name, (data, gradient) in tensors.items():
            try:
                errors[name] = compare(
                    lambda: layer.forward(given), data, dy, gradient, step, entries, rng
                )
            except ValueError as error:
                raise ValueError(
                    f"{type(layer).__name__}, the gradient for {name}: {error}"
                ) from error
        return errors
    finally:
        for p, data in before:
            p.data = data


class LossLayer(Layer):
    """A loss, against a target drawn once, as a layer whose output is one number."""

    def __init__(self, loss, shape, seed):
        self.loss, self.target = loss, checks.generator(seed).standard_normal(shape)

    def forward(self, x):
        return self.loss.forward(x, self.target)

    def backward(self, dy, input_grad=True):
        return dy * self.loss.backward()


def configurations():
    """What the command checks: (name, layer, input shape, bound on the error, other arguments of check_layer)."""
    exact, curved, deep = (
        1e-8,
        1e-6,
        1e-5,
    )  # a line's or a parabola's slope is measured exactly; depth adds up rounding
    yield "Linear(5, 3)", Linear(5, 3, seed=1), (5, 4), exact, {}
    for arguments, size in [
        ((2, 3, 1), (3, 4)),
        ((2, 3, 3, 1, 1), (5, 4)),
        ((3, 2, 3, 2, 1), (7, 6)),
        ((2, 4, (2, 5), (1, 3), (0, 2)), (4, 7)),
        ((4, 1, (4, 3), (3, 2), (2, 0)), (6, 5)),
    ]:
        yield (
            f"Conv2d{arguments}",
            Conv2d(*arguments, seed=1),
            (arguments[0], *size, 5),
            exact,
            {},
        )
        arguments += (
            ((0, 1),) if arguments[3:] and arguments[3] != 1 else ()
        )  # output_padding needs a stride
        yield (
            f"ConvTranspose2d{arguments}",
            ConvTranspose2d(*arguments, seed=1),
            (arguments[0], *size, 5),
            exact,
            {},
        )
    yield "BatchNorm2d(3)", BatchNorm2d(3), (3, 4, 5, 6), curved, {}
    seen = BatchNorm2d(3)
    seen.forward(
        host.random.default_rng(1).normal(2, 3, (3, 4, 5, 6)).astype("float32")
    )
    yield (
        "BatchNorm2d(3).eval()",
        seen.eval(),
        (3, 4, 5, 6),
        curved,
        {},
    )  # its statistics no longer 0 and 1
    yield "ReLU()", ReLU(), (3, 4, 5, 6), exact, {}
    yield "Sigmoid()", Sigmoid(), (4, 6), curved, {}
    yield "Flatten()", Flatten(), (2, 3, 4, 5), exact, {}
    yield "Unflatten((2, 3, 4))", Unflatten((2, 3, 4)), (24, 5), exact, {}
    yield "MSELoss()", LossLayer(MSELoss(), (4, 5), seed=1), (4, 5), exact, {}
    yield (
        "Sequential(Conv2d, BatchNorm2d, ReLU, ...)",
        Sequential(
            Conv2d(2, 3, 3, 2, 1, seed=1),
            BatchNorm2d(3),
            ReLU(),
            Flatten(),
            Linear(27, 4, seed=2),
            Sigmoid(),
            Unflatten((1, 2, 2)),
            ConvTranspose2d(1, 2, 3, 2, seed=3),
        ),
        (2, 5, 6, 4),
        deep,
        {},
    )
    yield (
        "AnelloAutoencoder(3)",
        AnelloAutoencoder(3, seed=1),
        (3, 1, 28, 28),
        deep,
        {"step": 3e-6, "entries": 6},
    )


def sentence(error, file):
    """An exception in one line, with the number of the line in `file` that it came from, if it did."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    return " ".join(f"{type(error).__name__}: {error}".split()) + (
        f" ({file}, line {lines[-1]})" if lines else ""
    )


def main():
    """The command: check, print the table, exit with status 1 if anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tinyae.gradcheck",
        description="Compare every backward with "
        "measured derivatives of its forward, and print the error of the worst tensor.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        help="a Python file with CHECKS = [(layer, input_shape), ...], the batch "
        "last; without it, tinyae's own layers are checked",
    )
    file = parser.parse_args().file
    rows = configurations()
    if file:
        try:
            rows = [
                (
                    f"{type(layer).__name__}, x {tuple(shape)}",
                    layer,
                    tuple(shape),
                    1e-6,
                    {},
                )
                for layer, shape in runpy.run_path(file)["CHECKS"]
            ]
            if not rows:
                raise ValueError("CHECKS = []")
        except (Exception, SystemExit) as error:
            sys.exit(
                f"{file}: expected a Python file that defines CHECKS = [(layer, input_shape), ...], got "
                + sentence(error, file)
            )
    all_held = True
    print(f"{'layer':54} {'worst tensor':26} {'error':>8} {'bound':>8}")
    for name, layer, shape, bound, options in rows:
        try:
            errors = check_layer(layer, shape, **options)
            worst = max(errors, key=errors.get)
            held = errors[worst] <= bound
            row = f"{worst!s:26} {errors[worst]:8.1e} {bound:8.0e} {'ok' if held else 'FAILED'}"
        except Exception as error:  # a reader's layer may raise anything: its row says what, and the others still run
            held, row = False, f"FAILED, {sentence(error, file)}"
        print(f"{name:54} {row}", flush=True)
        all_held = all_held and held
    sys.exit(0 if all_held else 1)


if __name__ == "__main__":
    main()
