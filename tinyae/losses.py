"""The loss: one number that says how far the output is from what it should be."""

from . import checks
from .backend import namespace


class MSELoss:
    """Mean squared error over all entries, L = 1/K sum (y - target)^2, K = the number of entries of y.

        dL/dy = 2 (y - target) / K
    """

    _kept = None

    def forward(self, y, target):
        """L for y and target of one shape: a 0-d array on their device, not read back."""
        checks.array("y", y)
        checks.array("target", target, dict(enumerate(y.shape)), like=y)
        xp = namespace(y)
        self._kept = difference = y - target
        return xp.asarray(xp.mean(difference * difference))

    def backward(self):
        """dL/dy. Raises ValueError before a forward."""
        if self._kept is None:
            raise ValueError("MSELoss: backward before forward; call forward(y, target) first")
        K = 1
        for length in self._kept.shape:
            K *= length
        return self._kept * (2 / K)
