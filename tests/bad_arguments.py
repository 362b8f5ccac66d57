"""What the tables of wrong arguments share: arrays to be wrong about, and the check of one row."""

# A row is: what is called, the exception, the argument's name, a piece of what came, a piece of what was expected.
# The message must read "name: got ..., expected ...".

import backends  # noqa: F401 -- registers "strict" and "counted"
import numpy as np
import pytest

from tinyae.backend import choose

NAN, INF = float("nan"), float("inf")


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def strict(*shape):
    return choose("strict")[0].from_numpy(ones(*shape))


def every_row(table):
    """The test it decorates runs once for each row, with the row as its arguments."""
    return pytest.mark.parametrize(
        "call, error, argument, came, expected",
        table,
        ids=[f"{row[2]}-{row[3]}-{number}" for number, row in enumerate(table)],
    )


def check(call, error, argument, came, expected):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert caught.type is error, caught.value
    before, asked, after = str(caught.value).partition("expected")
    assert asked, f"does not say what was expected: {caught.value}"
    assert (
        before.startswith(f"{argument}: ") and came in before and expected in after
    ), caught.value
