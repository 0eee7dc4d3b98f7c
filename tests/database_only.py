"""A pytest plugin that keeps only what may differ by database (``-p tests.database_only``).

That is how rows are made, changed together and found. What is only drawn from what was found, or
needs no rows, is tested once.
"""

from pathlib import Path

import pytest

from labdash.env import ROOT

FIXTURES = {"db", "transactional_db", "live_server"}
# Here pages and commands show what was found, …
ONCE = (
    *("tests/benchmarks", "tests/deploy", "tests/e2e", "tests/planning", "tests/workers"),
    *("tests/labdash/catalog", "tests/labdash/management", "tests/labdash/planner"),
    *("tests/labdash/runner", "tests/labdash/sources", "tests/labdash/templatetags"),
    *("tests/labdash/views", "tests/labdash/test_checks.py"),
)
# … and these stand for all: a start, every page, accounts, what no column takes, a real worker.
BOTH = {
    "tests/e2e/test_hub_worker.py",
    "tests/labdash/management/test_prepare.py",
    "tests/labdash/views/test_access.py",
    "tests/labdash/views/test_strange_reports.py",
    "tests/labdash/views/test_strangers.py",
}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Read no file whose tests were run on the other database."""
    if not collection_path.is_relative_to(ROOT) or collection_path.is_dir():
        return None
    path = collection_path.relative_to(ROOT)
    within = {str(each) for each in (path, *path.parents)}
    return True if within & set(ONCE) and str(path) not in BOTH else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect every test that asks for no database."""
    kept = [item for item in items if _uses_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _uses_database(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(FIXTURES & fixtures)
