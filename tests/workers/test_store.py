from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.workers.stores import OwnStore, own_store
from workers import wire
from workers.store import REPORTS_KEPT, Store, StoreDown

KEY = wire.reports_key("rog")


@pytest.fixture
def server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture
def store(server: OwnStore) -> Iterator[Store]:
    store = Store(server.url, slug="rog")
    yield store
    store._client.close()


def progress(job_id: int, phase: wire.PullPhase) -> wire.PullProgress:
    return wire.PullProgress(
        node="rog", sent_at=datetime.now(UTC), job_id=job_id, attempt=1, phase=phase
    )


def sample() -> wire.Sample:
    return wire.Sample(
        node="rog",
        sent_at=datetime.now(UTC),
        worker_version="0",
        driver=wire.DriverReading(state="none"),
        gpus=(),
        host=wire.HostReading(),
        instances=(),
    )


def resume(store: Store) -> None:
    """Skip the pause after a failure."""
    store._paused_until = 0.0


def test_a_report_arrives_as_it_was_sent(server: OwnStore, store: Store) -> None:
    report = progress(1, "starting")

    store.send(report)

    assert server.reports("rog") == [report]


def test_bytes_that_are_no_text_keep_no_report_from_being_sent(
    server: OwnStore, store: Store
) -> None:
    store.send(progress(1, "failed").model_copy(update={"reason": "not in /srv/\udcffü"}))

    (report,) = server.reports("rog")
    assert isinstance(report, wire.PullProgress)
    assert report.reason == "not in /srv/?ü"


def test_the_stream_is_bounded(server: OwnStore, store: Store) -> None:
    for _ in range(REPORTS_KEPT + 500):
        server.client.xadd(KEY, {"report": "{}"})
    store.send(sample())

    # The bound is rounded up to whole blocks of the store, of 100 entries.
    assert server.client.xlen(KEY) <= REPORTS_KEPT + 100


def test_ends_and_inventories_outlast_an_outage_and_samples_do_not(
    server: OwnStore, store: Store
) -> None:
    inventory = wire.Inventory(node="rog", sent_at=datetime.now(UTC), instance="ollama", models=())
    end = progress(1, "installed")
    server.stop()
    for report in (progress(1, "downloading"), sample(), end, inventory):
        store.send(report)
    server.start()
    resume(store)
    store.flush()

    assert server.reports("rog") == [end, inventory]


def test_a_kept_report_never_follows_a_newer_one_of_its_job(server: OwnStore, store: Store) -> None:
    server.stop()
    store.send(progress(1, "downloading"))
    server.start()
    resume(store)
    store.send(progress(1, "installed"))
    store.flush()

    assert [report.phase for report in server.reports("rog") if report.kind == "pull"] == [
        "installed"
    ]


def test_reading_from_a_store_that_is_away_is_an_error(server: OwnStore, store: Store) -> None:
    server.stop()

    with pytest.raises(StoreDown):
        store.read("node:rog:spec")
    with pytest.raises(StoreDown):
        store.is_watched("rog")


def test_a_frozen_store_delays_only_the_first_call(server: OwnStore, store: Store) -> None:
    server.freeze()
    with pytest.raises(StoreDown, match=r"(?i)timeout"):
        store.read("a")
    with pytest.raises(StoreDown, match="a moment ago"):
        store.read("a")
    server.thaw()
    resume(store)

    assert store.read("a") is None


def test_watchers_and_cancellations_are_keys(server: OwnStore, store: Store) -> None:
    server.client.set("node:rog:watched", 1)
    server.client.set("node:rog:cancel:7", 1)

    assert (store.is_watched("rog"), store.is_watched("tower")) == (True, False)
    assert (store.is_cancelled(7), store.is_cancelled(8)) == (True, False)
