"""A pytest plugin for benchmarks: what they measured is told after all tests.

Its place is ``-p tests.figures`` in pyproject.toml.

Properties of a test's report reach the terminal from pytest-xdist's workers too; output does not.
"""

from collections.abc import Callable

import pytest

PROPERTY = "figure"
type Tell = Callable[..., None]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Return what notes a figure: ``tell("a poll", "31 ms", goal="50")``."""

    def tell(what: str, figure: str, *, goal: str = "") -> None:
        record_property(PROPERTY, f"{what}: {figure}{f' (goal {goal})' if goal else ''}")

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print all figures."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    figures = [
        str(value)
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == PROPERTY and report.when == "call"
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{figure}\n" for figure in figures))
