"""The lab as it is known now."""

from datetime import timedelta

import pytest
from django.utils import timezone

from labdash import live
from labdash.models import Node
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import make_node, sample, seen

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("age_s", "liveness"), [(0, "live"), (7, "live"), (9, "late"), (12, "late"), (14, "silent")]
)
def test_liveness_follows_the_age_of_the_newest_sample(age_s: float, liveness: str) -> None:
    make_node("rog")
    seen("rog", age_s=age_s)
    (view,) = read_lab(now=timezone.now()).nodes
    assert view.liveness == liveness
    assert view.age_s is not None
    assert abs(view.age_s - age_s) < 1


def test_a_node_that_never_reported_has_no_age() -> None:
    make_node("rog")
    (view,) = read_lab(now=timezone.now()).nodes
    assert (view.liveness, view.age_s, view.sample) == ("never", None, None)


def test_without_the_store_the_database_tells_the_last_known_state(dead_store: None) -> None:
    report, now = sample("rog"), timezone.now()
    kept = report.model_dump(mode="json")
    make_node("rog", last_sample=kept, last_seen_at=now - timedelta(hours=1))
    lab = read_lab(now=now)
    assert (lab.store_ok, lab.nodes[0].sample, lab.nodes[0].age_s) == (False, report, 3600)


@pytest.mark.parametrize(("database_age_s", "shown"), [(5, "database"), (60, "store")])
def test_the_newer_of_store_and_database_is_shown(database_age_s: float, shown: str) -> None:
    now = timezone.now()
    make_node(
        "rog",
        last_sample=sample("rog", worker_version="database").model_dump(mode="json"),
        last_seen_at=now - timedelta(seconds=database_age_s),
    )
    seen("rog", age_s=30, worker_version="store")
    (view,) = read_lab(now=now).nodes
    assert view.sample is not None
    assert view.sample.worker_version == shown


GARBAGE = [
    "",
    "x",
    "null",
    "[]",
    "7",
    "{}",
    "[" * 100_000,
    '{"arrived_at": 7, "sample": {}}',
    '{"arrived_at": "2026-11-25T20:00:00+00:00", "sample": {"old": "shape"}}',
    '{"arrived_at": "0001-01-01T00:00:00+14:00", "sample": {}}',
]


@pytest.mark.parametrize("entry", GARBAGE, ids=lambda entry: entry[:40])
def test_what_the_store_holds_and_cannot_be_read_is_told_by_the_database(entry: str) -> None:
    now = timezone.now()
    kept = sample("rog").model_dump(mode="json")
    make_node("rog", last_sample=kept, last_seen_at=now - timedelta(seconds=30))
    live.store().set(live.state_key("rog"), entry)
    live.store().hset(live.OTHER_PROTOCOLS_KEY, "rog", entry)
    assert live.read_states(["rog"]) == {}
    (view,) = read_lab(now=now).nodes
    assert (view.sample is not None, view.age_s) == (True, 30)


@pytest.mark.parametrize("kept", [None, {"old": "shape"}, [], "x"])
def test_of_a_sample_that_an_earlier_version_kept_only_the_age_is_known(kept: object) -> None:
    now = timezone.now()
    make_node("rog", last_sample=kept, last_seen_at=now - timedelta(hours=1))
    (view,) = read_lab(now=now).nodes
    assert (view.sample, view.liveness, view.age_s) == (None, "silent", 3600)
    assert "node_silent" in {problem.code for problem in find_problems(read_lab(now=now))}


def test_a_sample_that_the_store_holds_is_shown_where_the_newer_one_cannot_be_read() -> None:
    make_node("rog", last_sample={"old": "shape"}, last_seen_at=timezone.now())
    seen("rog", age_s=30)
    assert read_lab(now=timezone.now()).nodes[0].sample


def test_an_age_is_never_negative() -> None:
    make_node("rog")
    seen("rog", age_s=-30)
    assert read_lab(now=timezone.now()).nodes[0].age_s == 0


def test_nodes_come_by_name() -> None:
    make_node("tower")
    make_node("rog")
    assert [view.node.slug for view in read_lab(now=timezone.now()).nodes] == ["rog", "tower"]
    assert Node.objects.count() == 2
