"""What all tests share: the package on the path, the two hypothesis profiles, and the table that ends a test run."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "lessons"),
]  # so the tests run from a clone, nothing installed

# "ci" draws the same cases every time. "thorough" draws new ones, thousands: pytest --hypothesis-profile=thorough
settings.register_profile(
    "ci", max_examples=60, derandomize=True, deadline=None, database=None
)
settings.register_profile(
    "thorough", max_examples=2000, deadline=None, database=None, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_tried = []  # (layer, error, bound) of the test that is running


@pytest.fixture(scope="session")
def within():
    """within(layer, errors, bound): assert that every error is at most the bound, and enter the worst in the table."""

    def check(layer, errors, bound):
        worst = max(errors, key=errors.get)
        _tried.append((layer, errors[worst], bound))
        assert errors[worst] <= bound, (
            f"{layer}: the gradient for {worst} is off by {errors[worst]:.1e}"
        )

    return check


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    """Hand what the test entered to its report, which reaches the summary even from another process (pytest-xdist)."""
    if call.when == "call":
        item.user_properties.append(("gradients", _tried.copy()))
        _tried.clear()


def pytest_terminal_summary(terminalreporter):
    table = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, entries in getattr(report, "user_properties", ()):
                if name == "gradients" and getattr(report, "when", "") == "call":
                    for layer, error, bound in entries:
                        count, worst, _ = table.get(layer, (0, 0.0, bound))
                        table[layer] = count + 1, max(worst, error), bound
    if table:
        terminalreporter.section("gradient checks")
        terminalreporter.write_line(
            f"{'layer':24} {'configurations':>14} {'worst error':>12} {'bound':>8}"
        )
        for layer, (count, worst, bound) in table.items():
            terminalreporter.write_line(
                f"{layer:24} {count:14} {worst:12.1e} {bound:8.0e}"
            )
