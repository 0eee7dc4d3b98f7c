"""Jobs that join and go while a pull runs, with a real store."""

from collections.abc import Callable, Iterator

import pytest

from tests.workers.stores import OwnStore, own_store
from workers.engines.reporter import Reporter
from workers.engines.tally import Tally
from workers.store import Store
from workers.wire import PullOrder, PullProgress, cancel_key


class AskedStore(Store):
    """A store that does ``meanwhile`` while it is asked about a job."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def is_cancelled(self, job_id: int) -> bool:
        is_cancelled = super().is_cancelled(job_id)
        self.meanwhile()
        return is_cancelled


@pytest.fixture
def server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture
def store(server: OwnStore) -> Iterator[AskedStore]:
    store = AskedStore(server.url, slug="rog")
    yield store
    store._client.close()


def order(job_id: int) -> PullOrder:
    return PullOrder(
        node="rog",
        job_id=job_id,
        attempt=1,
        instance="ollama",
        instance_url="http://127.0.0.1:11434",
        model="qwen3:8b",
        deadline_s=60,
    )


def said(server: OwnStore) -> list[tuple[int, str]]:
    reports = server.reports("rog")
    return [(r.job_id, r.phase) for r in reports if isinstance(r, PullProgress)]


def test_who_joins_while_others_are_asked_about_is_kept(
    server: OwnStore, store: AskedStore
) -> None:
    server.client.set(cancel_key("rog", 1), 1)
    reporter = Reporter(order(1), store=store, tally=Tally(now=0))
    store.meanwhile = lambda: reporter.join(order(2))

    assert reporter.drop_cancelled() is True

    store.meanwhile = lambda: None
    reporter.finish("installed")
    assert said(server) == [(1, "cancelled"), (2, "installed")]


def test_none_joins_a_pull_that_nobody_wants_any_more(server: OwnStore, store: AskedStore) -> None:
    server.client.set(cancel_key("rog", 1), 1)
    reporter = Reporter(order(1), store=store, tally=Tally(now=0))

    assert reporter.drop_cancelled() is False
    assert reporter.join(order(2)) is False

    reporter.finish("cancelled")
    assert said(server) == [(1, "cancelled")]


@pytest.mark.parametrize("end", [lambda r: r.finish("installed"), lambda r: r.leave()])
def test_none_joins_a_pull_that_has_ended(
    store: AskedStore, end: Callable[[Reporter], object]
) -> None:
    reporter = Reporter(order(1), store=store, tally=Tally(now=0))

    end(reporter)

    assert reporter.join(order(2)) is False
