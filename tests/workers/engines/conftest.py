from collections.abc import Iterator

import pytest

from tests.workers.engines.bench import Bench, running_bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    with running_bench() as bench:
        yield bench
