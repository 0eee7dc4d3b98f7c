"""Reports are read once, in order, whatever happens to the store."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from labdash import intake as module
from labdash import live
from labdash.intake import IDS_KEY, Intake
from labdash.models import Gpu, GpuSample, InstalledModel, Node, PullState
from tests.bootstrap import start_store
from tests.factories import (
    installed,
    inventory,
    make_node,
    progress,
    running_job,
    sample,
    send,
    send_text,
)
from workers import wire

pytestmark = pytest.mark.django_db


def read(intake: Intake | None = None) -> int:
    """Read what is there, without waiting."""
    return (intake or Intake()).read_once(block_ms=1)


def versions(*slugs: str) -> list[str | None]:
    """Return the worker versions in the newest states."""
    states = live.read_states(slugs)
    return [states[slug].sample.worker_version if slug in states else None for slug in slugs]


def test_a_sample_is_the_newest_state_and_a_row() -> None:
    make_node("rog")
    report = sample("rog")
    send(report)
    assert read() == 1
    state = live.read_states(["rog"])["rog"]
    assert (state.sample, state.age_s(timezone.now()) < 5) == (report, True)
    assert (Gpu.objects.count(), GpuSample.objects.count()) == (1, 1)
    assert Node.objects.get().last_seen_at == state.arrived_at


def test_what_was_read_is_not_read_again_by_the_next_intake() -> None:
    make_node("rog")
    send(sample("rog"))
    assert [read(), read()] == [1, 0]


def test_a_hub_that_was_down_reads_what_came_meanwhile() -> None:
    make_node("rog")
    read()
    for number in range(600):
        send(sample("rog", worker_version=str(number)))
    send(inventory(installed("a:1b")))
    intake = Intake()
    assert [read(intake) for _ in range(5)] == [200, 200, 200, 1, 0]
    assert versions("rog") == ["599"]
    assert InstalledModel.objects.get().name == "a:1b"


def test_only_the_newest_of_old_samples_is_applied() -> None:
    make_node("rog")
    for number in range(50):
        send(sample("rog", worker_version=str(number)))
    read()
    assert (versions("rog"), GpuSample.objects.count()) == (["49"], 1)


def test_inventories_are_applied_in_order() -> None:
    make_node("rog")
    send(inventory(installed("a:1b")))
    send(inventory(installed("b:1b")))
    read()
    assert [row.name for row in InstalledModel.objects.all()] == ["b:1b"]


def test_progress_reaches_its_job() -> None:
    job = running_job()
    send(progress(job, "verifying"))
    read()
    job.refresh_from_db()
    assert job.state == PullState.VERIFYING


def test_rows_are_written_every_five_seconds_and_states_each_time() -> None:
    make_node("rog")
    intake = Intake()
    for number in range(3):
        send(sample("rog", worker_version=str(number)))
        read(intake)
    assert (versions("rog"), Node.objects.get().worker_version) == (["2"], "0")


def test_a_store_that_forgot_everything_is_read_from_its_new_beginning() -> None:
    make_node("rog")
    intake = Intake()
    send(sample("rog", worker_version="before"))
    read(intake)
    live.store().flushall()
    send(sample("rog", worker_version="after"))
    assert (read(intake), versions("rog")) == (1, ["after"])


def test_agentless_nodes_are_heard_on_the_hubs_stream_alone() -> None:
    make_node("attic", agentless=True)
    make_node("rog")
    send(sample("attic", worker_version="theirs"), by="attic")
    send(sample("rog", worker_version="forged"), by=wire.HUB_NODE)
    send(sample("attic", worker_version="ours"), by=wire.HUB_NODE)
    intake = Intake()
    read(intake)
    assert versions("attic", "rog") == ["ours", None]
    assert sum(intake.rejected.values()) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind":"x"}', '{"kind":"sample","node":"tower"}', "\x00"]
)
def test_noise_is_counted_logged_once_and_stops_nothing(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_node("rog")
    intake = Intake()
    with caplog.at_level(logging.WARNING, "labdash.intake"):
        for _ in range(3):
            send_text(text)
            send(sample("rog"))
            read(intake)
    assert list(intake.rejected.values()) == [3]
    assert len(caplog.records) == 1
    assert versions("rog") == ["0.1.0"]


def test_a_report_that_cannot_be_stored_is_dropped_and_the_rest_goes_on() -> None:
    make_node("rog")
    send(inventory(installed("a:1b", size_bytes=2**70)))
    send(inventory(installed("b:1b")))
    intake = Intake()
    read(intake)
    assert [row.name for row in InstalledModel.objects.all()] == ["b:1b"]
    assert [kind for _, kind in intake.rejected] == [next(iter(intake.rejected))[1]]
    assert read(intake) == 0


def test_a_worker_of_another_protocol_is_remembered_until_it_is_updated() -> None:
    make_node("rog")
    intake = Intake()
    send(sample("rog", protocol=99))
    read(intake)
    assert live.read_live(["rog"]).other_protocols == {"rog": 99}
    send(sample("rog"))
    read(intake)
    assert live.read_live(["rog"]).other_protocols == {}


def test_entries_stay_unread_while_the_database_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    make_node("rog")
    send(sample("rog", worker_version="kept"))

    def locked(*_: object, **__: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(module, "record_sample", locked)
        with pytest.raises(OperationalError):
            read()
    assert versions("rog") == ["kept"]
    assert (read(), Node.objects.get().worker_version) == (1, "kept")


def test_reading_says_that_the_intake_lives() -> None:
    live.store().delete(live.INTAKE_ALIVE_KEY)
    assert live.read_live([]).intake_alive is False
    read()
    assert live.read_live([]).intake_alive is True


def test_how_far_was_read_is_kept_in_the_store() -> None:
    make_node("rog")
    entry_id = send(sample("rog"))
    read()
    assert live.store().hgetall(IDS_KEY) == {wire.reports_key("rog"): entry_id}


@pytest.fixture
def own_store(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """Point the hub at a store of its own that a test may stop."""
    settings.REDIS_URL = f"unix://{tmp_path}/store.sock?db=0"
    live.store.cache_clear()
    yield tmp_path
    live.store.cache_clear()


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_a_store_that_is_killed_and_comes_back(own_store: Path) -> None:
    make_node("rog")
    process = start_store(own_store)
    intake = Intake()
    intake.start()
    try:
        send(sample("rog", worker_version="1"))
        assert _comes("1")
        process.kill()
        process.wait()
        process = start_store(own_store)
        send(sample("rog", worker_version="2"))
        assert _comes("2")
    finally:
        intake.stop()
        process.kill()
        process.wait()


def _comes(version: str) -> bool:
    """Wait until the state of ``rog`` shows a version."""
    for _ in range(200):
        if versions("rog") == [version]:
            return True
        time.sleep(0.05)
    return False
