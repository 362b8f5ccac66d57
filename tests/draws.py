"""Seeded generators and random images for the tests of the corruptions."""

# Every generator is seeded, so every number in these tests is the same in each run; the bounds are five standard
# deviations of the estimate or a small p-value, so that a right program fails for hardly any seed, and a wrong one for
# nearly all.

import numpy

DTYPES = ["float32", "float64"]


def rng(seed=0):
    return numpy.random.default_rng(seed)


def pictures(shape, dtype="float32", seed=1):
    return rng(seed).uniform(-1, 1, shape).astype(dtype)


class Constant:
    """A generator that always draws the same number: the rarest draws, on demand."""

    def __init__(self, u):
        self.u = u

    def random(self, size, dtype):
        return numpy.full(size, self.u, dtype)
