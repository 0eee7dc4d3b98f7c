"""Entries of streams become checked reports."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import category

import pytest

from labdash.models import Instance, Node, PullJob
from labdash.reports import Arrival, BadReport, arrived_at, newest, parse
from tests.factories import gpu, installed, inventory, loaded, ollama, sample
from tests.strange import VALUES, full_reports, leaves, with_value
from workers import wire
from workers.values import MOST_PROSE

CLOCK = timedelta(seconds=2)
AT = datetime(2026, 11, 25, 20, 0, 0, 500_000, tzinfo=UTC)


def read(text: str | bytes, nodes: set[str]) -> wire.Report:
    """Parse the text of an entry."""
    content = text if isinstance(text, bytes) else text.encode()
    return parse({b"report": content}, nodes=nodes)


def dated(entry_id: str, *, clock: timedelta = CLOCK) -> datetime:
    """Date an entry one hour after ``AT``."""
    return arrived_at(entry_id.encode(), clock=clock, now=AT + timedelta(hours=1))


def test_a_report_is_read() -> None:
    report = sample("rog")
    assert read(report.model_dump_json(), {"rog"}) == report


def test_an_entry_is_dated_by_its_arrival_at_the_store_on_the_hubs_clock() -> None:
    assert dated(f"{int(AT.timestamp() * 1000)}-3") == AT + CLOCK


@pytest.mark.parametrize("clock", [timedelta(0), CLOCK, -CLOCK], ids=str)
@pytest.mark.parametrize(
    "milliseconds", [int(AT.timestamp() * 1000) + 7_200_000, 99999999999999999, 2**64 - 1]
)
def test_no_entry_arrives_in_the_future(milliseconds: int, clock: timedelta) -> None:
    late = AT + timedelta(hours=1) - dated(f"{milliseconds}-{2**64 - 1}", clock=clock)
    assert timedelta(0) <= late < timedelta(milliseconds=1)


def test_an_entry_may_be_as_old_as_its_writer_likes() -> None:
    assert dated("0-1", clock=-CLOCK) == datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no report that is known"),
        ("null", "no report that is known"),
        ('{"kind": "gossip", "node": "rog"}', "no report that is known"),
        ('{"kind": "sample", "node": "rog"}', "no report that is known"),
        ("x" * (8 * 2**20 + 1), "no report in the entry"),
        (b"\xff\xfe", "no JSON"),
        (b'{"kind": "sample", "node": "\xff"}', "no JSON"),
        ('{"kind": "sample", "node": "\\ud800", "protocol": 2}', "no report that is known"),
        ('{"node": [], "protocol": 2}', "no report that is known"),
        ('{"node": {}, "protocol": 2}', "no report that is known"),
        ("1" * 10_000, "no JSON"),
    ],
    ids=str,
)
def test_noise_is_told_apart(text: str | bytes, kind: str) -> None:
    with pytest.raises(BadReport) as bad:
        read(text, {"rog", "tower"})
    assert (bad.value.kind, bad.value.protocol) == (kind, None)


@pytest.mark.parametrize("text", ["\n\x1b[31m" + "x" * 100_000, "first\nsecond\x00"])
def test_what_is_wrong_is_told_in_one_short_printable_line(text: str) -> None:
    report = json.loads(sample("rog").model_dump_json())
    with pytest.raises(BadReport) as bad:
        read(json.dumps({**report, "kind": text}), {"rog"})
    assert str(bad.value).isprintable()
    assert len(str(bad.value)) < 300


def test_an_entry_without_a_report_is_bad() -> None:
    with pytest.raises(BadReport, match="no report in the entry"):
        parse({b"other": b"x"}, nodes={"rog"})


def test_a_node_cannot_speak_for_another() -> None:
    with pytest.raises(BadReport, match="a node that is not its own: tower"):
        read(sample("tower").model_dump_json(), {"rog"})


@pytest.mark.parametrize("shape", ["known", "unknown"])
def test_another_protocol_is_told_with_its_number(shape: str) -> None:
    fields = {"node": "rog", "protocol": 3}
    if shape == "known":
        fields = json.loads(sample("rog", protocol=3).model_dump_json())
    with pytest.raises(BadReport) as bad:
        read(json.dumps(fields), {"rog"})
    assert (bad.value.kind, bad.value.node, bad.value.protocol) == ("other protocol", "rog", 3)


def test_report_of_a_worker_one_version_newer_is_read() -> None:
    newer = json.loads(sample("rog", protocol=2, gpus=(gpu(0),)).model_dump_json())
    newer |= {"invented_later": {"a": 1}, "driver": {"state": "asleep", "also": 2}}
    newer["gpus"][0] |= {"state": "asleep"}
    report = read(json.dumps(newer), {"rog"})
    assert isinstance(report, wire.Sample)
    assert (report.driver.state, report.gpus[0].state) == ("error", "error")


def test_kind_of_report_that_is_newer_is_passed_over() -> None:
    fields = {"kind": "invented later", "node": "rog", "protocol": 2}
    with pytest.raises(BadReport, match="that this version does not know") as bad:
        read(json.dumps(fields), {"rog"})
    assert bad.value.protocol is None


def test_known_kind_of_one_version_newer_that_makes_no_sense_here_is_told() -> None:
    fields = {"kind": "sample", "node": "rog", "protocol": 2, "gpu_list": []}
    with pytest.raises(BadReport) as bad:
        read(json.dumps(fields), {"rog"})
    assert (bad.value.kind, bad.value.protocol) == ("other protocol", 2)


@pytest.mark.parametrize("shape", ["known", "unknown"])
@pytest.mark.parametrize("protocol", [False, True, 0, -1, 2.5, "2", [], None, 10_000, 2**70])
def test_what_is_no_version_is_noise(shape: str, protocol: object) -> None:
    fields = {"node": "rog", "protocol": protocol}
    if shape == "known":
        fields = {**json.loads(sample("rog").model_dump_json()), **fields}
    with pytest.raises(BadReport, match="no report that is known") as bad:
        read(json.dumps(fields), {"rog"})
    assert bad.value.protocol is None


def test_only_the_newest_sample_and_progress_stay_and_all_inventories() -> None:
    def pull(attempt: int, done_bytes: int) -> wire.PullProgress:
        return wire.PullProgress(
            node="rog",
            sent_at=AT,
            job_id=1,
            attempt=attempt,
            phase="downloading",
            done_bytes=done_bytes,
        )

    reports: list[wire.Report] = [
        sample("rog", worker_version="1"),
        inventory(slug="rog"),
        pull(1, 1),
        sample("tower"),
        pull(1, 2),
        pull(2, 3),
        sample("rog", worker_version="2"),
        inventory(slug="rog"),
    ]
    kept = newest(Arrival(report=report, at=AT) for report in reports)
    assert [arrival.report for arrival in kept] == [
        reports[number] for number in (1, 3, 4, 5, 6, 7)
    ]


def _is_sound(value: object) -> bool:
    """Whether every database can store a value, and every page can show it."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return all(map(_is_sound, inner))
    if isinstance(value, str):
        unshown = {"Cc", "Cs", "Zl", "Zp"}
        # Line feeds and tabs are part of what a server said.
        return len(value) <= MOST_PROSE and not unshown & set(
            map(category, set(value) - {"\n", "\t"})
        )
    return value is None or (isinstance(value, int | float) and -300 < value < 2**63)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_read_is_sound_whatever_stands_in_any_place(value: str) -> None:
    job = PullJob(pk=1, attempt=1, instance=Instance(node=Node(slug="rog")))
    for report in full_reports(job):
        for path in leaves(report):
            try:
                found = read(with_value(report, path, value), {"rog"})
            except BadReport:
                continue
            assert _is_sound(found.model_dump(mode="json")), path


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_one_odd_model_costs_no_other(value: str) -> None:
    report = inventory(installed("odd:1b"), installed("fine:1b"))
    for path in leaves(report):
        if path[:2] == ("models", 0) and value != VALUES["half a pair"]:
            found = read(with_value(report, path, value), {"rog"})
            assert isinstance(found, wire.Inventory)
            assert found.models[-1] == report.models[1]


@pytest.mark.parametrize("uuid", ["", "x" * 81])
def test_a_gpu_that_cannot_be_told_from_others_is_left_out(uuid: str) -> None:
    text = with_value(sample(gpus=(gpu(0), gpu(1))), ("gpus", 0, "uuid"), json.dumps(uuid))
    found = read(text, {"rog"})
    assert isinstance(found, wire.Sample)
    assert [each.uuid for each in found.gpus] == ["GPU-1"]


@pytest.mark.parametrize(
    ("path", "entry", "most"),
    [
        (("gpus",), gpu(), wire.MOST_GPUS),
        (("instances",), ollama(), wire.MOST_INSTANCES),
        (("models",), installed(), wire.MOST_MODELS),
    ],
)
def test_more_than_any_machine_has_is_noise(
    path: tuple[str], entry: wire.Message, most: int
) -> None:
    report = inventory() if path == ("models",) else sample()
    for count in (most, most + 1):
        entries = f"[{','.join([entry.model_dump_json()] * count)}]"
        with nullcontext() if count == most else pytest.raises(BadReport, match="is known"):
            read(with_value(report, path, entries), {"rog"})


@pytest.mark.parametrize(
    ("path", "entry", "most"),
    [
        (("gpus", 0, "processes"), wire.GpuProcess(pid=1), wire.MOST_PROCESSES),
        (("instances", 0, "loaded"), loaded(), wire.MOST_LOADED),
    ],
)
def test_of_more_than_a_machine_can_run_nothing_is_known(
    path: tuple[str, int, str], entry: wire.Message, most: int
) -> None:
    found: list[Any] = []
    for count in (most, most + 1):
        entries = f"[{','.join([entry.model_dump_json()] * count)}]"
        value: Any = read(with_value(sample(), path, entries), {"rog"}).model_dump()
        for step in path:
            value = value[step]
        found.append(value)
    assert (len(found[0]), found[1]) == (most, None)
