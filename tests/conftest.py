"""What every test may use."""

from collections.abc import Iterator

import pytest

from labdash.live import store


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    yield
    store().flushall()
