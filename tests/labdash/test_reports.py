"""Entries of streams become checked reports."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from labdash.reports import Arrival, BadReport, newest, parse
from tests.factories import inventory, sample
from workers import wire

CLOCK = timedelta(seconds=2)
AT = datetime(2026, 11, 25, 20, 0, 0, 500_000, tzinfo=UTC)
ENTRY_ID = f"{int(AT.timestamp() * 1000)}-3"


def read(text: str, nodes: set[str]) -> Arrival:
    """Parse the text of an entry."""
    return parse(ENTRY_ID, {"report": text}, nodes=nodes, clock=CLOCK)


def test_a_report_is_dated_by_its_arrival_at_the_store_on_the_hubs_clock() -> None:
    report = sample("rog")
    assert read(report.model_dump_json(), {"rog"}) == Arrival(report=report, at=AT + CLOCK)


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
    ],
)
def test_noise_is_told_apart(text: str, kind: str) -> None:
    with pytest.raises(BadReport) as bad:
        read(text, {"rog"})
    assert (bad.value.kind, bad.value.protocol) == (kind, None)


def test_an_entry_without_a_report_is_bad() -> None:
    with pytest.raises(BadReport, match="no report in the entry"):
        parse(ENTRY_ID, {"other": "x"}, nodes={"rog"}, clock=CLOCK)


def test_a_node_cannot_speak_for_another() -> None:
    with pytest.raises(BadReport, match="a node that is not its own: tower"):
        read(sample("tower").model_dump_json(), {"rog"})


@pytest.mark.parametrize("shape", ["known", "unknown"])
def test_another_protocol_is_told_with_its_number(shape: str) -> None:
    fields = {"node": "rog", "protocol": 2}
    if shape == "known":
        fields = json.loads(sample("rog", protocol=2).model_dump_json())
    with pytest.raises(BadReport) as bad:
        read(json.dumps(fields), {"rog"})
    assert (bad.value.kind, bad.value.node, bad.value.protocol) == ("other protocol", "rog", 2)


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

    reports: list[wire.Sample | wire.Inventory | wire.PullProgress] = [
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
