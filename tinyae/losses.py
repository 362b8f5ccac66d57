"""The loss: one number that says how far the output is from what it should be."""

from math import prod

from . import checks
from .backend import namespace


class MSELoss:
    """Mean squared error over all K entries: L = 1/K sum (y - target)^2, so dL/dy = 2 (y - target) / K."""

    _difference = None

    def forward(self, y, target):
        """L for y and target of one shape: a 0-d array, left on their device: to read it would make a GPU wait."""
        checks.array("y", y)
        checks.array("target", target, tuple(y.shape), like=y)
        self._difference = y - target
        return namespace(y).asarray(
            namespace(y).mean(self._difference * self._difference)
        )  # NumPy's mean is a scalar

    def backward(self):
        """dL/dy, of y's shape. Raises ValueError before a forward."""
        if self._difference is None:
            raise ValueError(
                "MSELoss: backward before forward; call forward(y, target) first"
            )
        return self._difference * (2 / prod(self._difference.shape))
