"""Seeded generators and random images for the tests of the corruptions."""

# Every generator is seeded, so all numbers in these tests are the same in each run. The
# bounds are five standard deviations of the estimate, or a small p-value. So hardly any
# seed makes a right program fail, and nearly every seed makes a wrong one fail.

import numpy as np

DTYPES = ["float32", "float64"]


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(shape, dtype="float32", seed=1):
    return rng(seed).uniform(-1, 1, shape).astype(dtype)


class Constant:
    """A generator that always draws the same number, to test the rarest draws."""

    def __init__(self, u):
        self.u = u

    def random(self, size, dtype):
        return np.full(size, self.u, dtype)
