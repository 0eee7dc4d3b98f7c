"""Reports are read once, in order, whatever happens to the store."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import DataError, OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from labdash import intake as module
from labdash import live
from labdash.domain.library import record_inventory
from labdash.intake import Intake
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
    assert (versions("rog"), Node.objects.get().worker_version) == (["49"], "49")


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


def _sample_with(**fields: object) -> bytes:
    """Return a sample of rog as JSON with fields that ``wire`` would refuse."""
    return json.dumps({**json.loads(sample("rog").model_dump_json()), **fields}).encode()


# Entries as a node may write them: an id, and pairs of bytes.
BAD_ENTRIES: dict[str, tuple[str, dict[bytes, bytes]]] = {
    "no UTF-8": ("*", {b"report": b"\xff\xfe\x80"}),
    "a field's name that is no UTF-8": ("*", {b"\xff": b"x"}),
    "no report": ("*", {b"other": b"x"}),
    "no zone": ("*", {b"report": _sample_with(sent_at="2026-11-25T20:00:00")}),
    "the last year": ("*", {b"report": _sample_with(sent_at="9999-12-31T23:59:59-14:00")}),
    "no slug that can be looked up": ("*", {b"report": b'{"node": [], "protocol": 2}'}),
    "no version": ("*", {b"report": _sample_with(protocol=False)}),
    "no number": ("*", {b"report": _sample_with(gpus=[]).replace(b"[]", b"NaN")}),
    "deep": ("*", {b"report": b'{"node":' + b"[" * 100_000}),
    "an id of the far future": ("99999999999999999-0", {b"report": _sample_with()}),
    "the last id": (f"{2**64 - 1}-{2**64 - 1}", {b"report": _sample_with()}),
    "the first id": ("0-1", {b"report": _sample_with()}),
}


@pytest.mark.parametrize("entry", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_no_entry_of_a_node_keeps_others_from_being_read(
    entry: tuple[str, dict[bytes, bytes]],
) -> None:
    for slug in ("oldie", "rog", "tower"):
        make_node(slug)
    entry_id, fields = entry
    raw: dict[Any, Any] = {**fields}
    live.store().xadd(wire.reports_key("rog"), raw, id=entry_id)
    for slug in ("oldie", "tower"):
        send(sample(slug), by=slug)
    assert [read(), read()] == [3, 0]
    assert versions("oldie", "tower") == ["0.1.0", "0.1.0"]
    assert all(state.arrived_at <= timezone.now() for state in live.read_states(["rog"]).values())


@pytest.mark.parametrize("fault", [DataError, TypeError, UnicodeDecodeError, RecursionError])
def test_what_cannot_be_recorded_is_counted_by_its_kind_and_the_rest_goes_on(
    fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node("rog")
    make_node("tower")

    def refuse(report: wire.Inventory, *, arrived_at: datetime) -> bool:
        if report.node == "tower":
            return record_inventory(report, arrived_at=arrived_at)
        text = f"no {report.version}"
        raise fault(text) if fault is not UnicodeDecodeError else fault("x", b"", 0, 1, text)

    monkeypatch.setattr(module, "record_inventory", refuse)
    for number in range(20):
        send(inventory(version=f"{number}\nof many lines"))
    send(inventory(installed("b:1b"), slug="tower"), by="tower")
    intake = Intake()
    assert [read(intake), read(intake)] == [21, 0]
    assert list(intake.rejected.values()) == [20]
    assert InstalledModel.objects.get().instance.node.slug == "tower"


@pytest.mark.parametrize("command", ["SET", "LPUSH", "SADD", "PFADD"])
def test_what_stands_in_the_place_of_a_stream_is_deleted_and_the_others_are_read(
    command: str,
) -> None:
    make_node("rog")
    make_node("tower")
    intake = Intake()
    send(sample("rog", worker_version="before"))
    read(intake)
    key, store = wire.reports_key("rog"), live.store()
    store.delete(key)
    store.execute_command(command, key, "x")  # type: ignore[no-untyped-call]
    send(sample("tower"), by="tower")
    assert (read(intake), versions("tower")) == (1, ["0.1.0"])
    assert list(intake.rejected) == [(key, "no stream that can be read")]
    send(sample("rog", worker_version="after"))
    assert (read(intake), versions("rog")) == (1, ["after"])


def test_a_stream_that_takes_much_room_is_read_in_small_bites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_node("rog")
    make_node("tower")
    for slug in ("rog", "rog", "rog", "tower"):
        send(sample(slug), by=slug)
    monkeypatch.setattr(module, "LONG_STREAM_BYTES", 100)
    assert [read() for _ in range(4)] == [2, 1, 1, 0]


def _lengths(*slugs: str) -> list[int]:
    return [live.store().xlen(wire.reports_key(slug)) for slug in slugs]


def test_what_was_read_is_deleted_whether_or_not_it_was_of_use() -> None:
    make_node("rog")
    make_node("tower")
    for number in range(3):
        send(sample("rog", worker_version=str(number)))
        send_text("noise", by="tower")
    read()
    assert _lengths("rog", "tower") == [0, 0]
    send(sample("rog", worker_version="next"))
    assert (read(), versions("rog"), _lengths("rog")) == (1, ["next"], [0])


def test_what_was_not_applied_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    make_node("rog")
    send(sample("rog"))

    def locked(*_: object, **__: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(module, "record_sample", locked)
    with pytest.raises(OperationalError):
        read()
    assert _lengths("rog") == [1]


@pytest.mark.parametrize("entry_id", [f"{2**64 - 1}-{2**64 - 1}", f"5-{2**64 - 1}"])
def test_a_stream_that_can_take_no_further_entry_begins_anew(entry_id: str) -> None:
    make_node("rog")
    live.store().xadd(wire.reports_key("rog"), {"report": "x"}, id=entry_id)
    read()
    send(sample("rog"))
    assert (read(), versions("rog")) == (1, ["0.1.0"])


def test_a_stream_that_takes_much_room_is_cut_before_anything_else(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node("rog")
    make_node("tower")
    monkeypatch.setattr(module, "LONG_STREAM_BYTES", 2**20)
    process = start_store(own_store)
    try:
        send(sample("rog"))
        for _ in range(50):
            send_text("x" * 2**16, by="tower")
        store = live.store()
        store.config_set("maxmemory-policy", "noeviction")
        store.config_set("maxmemory", store.info("memory")["used_memory"])
        with pytest.raises(redis.ResponseError):
            send_text("x")
        intake = Intake()
        assert (read(intake), versions("rog")) == (2, ["0.1.0"])
        assert _lengths("tower") == [module.KEPT_OF_A_LONG_STREAM - 1]
    finally:
        process.kill()
        process.wait()


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


@pytest.mark.parametrize("error", ["database or disk is full", "no room.\nDETAIL: much more"])
def test_why_the_database_takes_nothing_is_told_until_it_does(
    monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    make_node("rog")
    send(sample("rog"))

    def full(*_: object, **__: object) -> None:
        raise OperationalError(error)

    with monkeypatch.context() as patched:
        patched.setattr(module, "record_sample", full)
        with pytest.raises(OperationalError):
            read()
    told = live.read_live([]).database_error
    assert told == error.partition("\n")[0].rstrip(".")
    assert 0 < live.store().ttl(live.DATABASE_ERROR_KEY) <= live.DATABASE_ERROR_FOR_S
    read()
    assert live.read_live([]).database_error is None


def test_how_far_was_read_is_kept_in_the_store() -> None:
    make_node("rog")
    entry_id = send(sample("rog"))
    read()
    assert live.store().hgetall(live.READ_TO_KEY) == {wire.reports_key("rog"): entry_id}


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
