"""What every test may use."""

from collections.abc import Iterator

import pytest

from labdash.live import INTAKE_ALIVE_KEY, store


@pytest.fixture(autouse=True)
def _fresh_store() -> Iterator[None]:
    """Begin as a hub whose worker runs, and leave nothing behind."""
    store().set(INTAKE_ALIVE_KEY, 1)
    yield
    store().flushall()
