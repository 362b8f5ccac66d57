"""The mean squared error loss: one number for how far the output is from the target."""

from math import prod

from . import checks
from .backend import namespace


class MSELoss:
    """Mean squared error over all K entries: L = 1/K Σ (y - target)².

    dL/dy = 2 (y - target) / K
    """

    _difference = None

    def forward(self, y, target):
        """Return L, for y and target of the same shape.

        L is a 0-d array on the device of y. Reading it as a float would make Python
        wait for the GPU.
        """
        checks.array("y", y)
        checks.array("target", target, tuple(y.shape), like=y)
        xp = namespace(y)
        self._difference = y - target
        squares = self._difference * self._difference
        return xp.asarray(xp.mean(squares))  # asarray: NumPy's mean is a scalar

    def backward(self):
        """Return dL/dy, of the shape of y. Raises ValueError before a forward."""
        if self._difference is None:
            raise ValueError(
                "MSELoss: backward before forward; call forward(...) first"
            )
        return self._difference * (2 / prod(self._difference.shape))


CHECKS = [(MSELoss(), (3, 4, 5, 2))]
