from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain import naming
from labdash.domain.errors import LabDashError
from labdash.models import Instance, NameAct, NameJob, NameState
from tests.factories import make_installed, make_instance, make_job, orders, running_job, seen
from workers import wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Instance:
    """Return a server of a node that reports."""
    instance = make_instance()
    seen()
    return instance


def said(job: NameJob, phase: str, **fields: Any) -> wire.NameProgress:
    values = {"node": "rog", "sent_at": timezone.now(), "job_id": job.pk, "act": "delete"}
    return wire.NameProgress.model_validate({**values, "phase": phase, **fields})


def test_an_order_names_what_the_name_stands_for(rog: Instance) -> None:
    row = make_installed(rog)
    naming.copy(installed=row, target="mine", user=None)
    naming.delete(installed=make_installed(rog, "b:1b"), frees_bytes=7, user=None, why="unused")
    told = [(o["task"], o["act"], o["model"], o["target"], o["digest"]) for o in orders()]
    assert told == [
        ("workers.name", "copy", "qwen3:8b", "mine:latest", "d" * 64),
        ("workers.name", "delete", "b:1b", None, "d" * 64),
    ]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("QWEN3:8B", "are the same name"),
        ("taken:1b", "has taken:1b already"),
        ("labdash/mine", "LabDash's own"),
        ("labdash-before/mine", "LabDash's own"),
        ("https://evil.example/x", "Leave out"),
        ("evil.example/a/b:c", "not a known source"),
        ("a b", "is no model name"),
    ],
)
@pytest.mark.parametrize("act", [naming.copy, naming.rename])
def test_a_name_that_cannot_be_had_is_refused(
    rog: Instance, act: Any, target: str, reason: str
) -> None:
    row = make_installed(rog)
    make_installed(rog, "Taken:1b")
    with pytest.raises(LabDashError, match=reason):
        act(installed=row, target=target, user=None)
    assert not NameJob.objects.exists()


def test_two_who_delete_at_once_give_one_order(rog: Instance) -> None:
    row = make_installed(rog)
    first = naming.delete(installed=row, frees_bytes=1, user=None)
    assert naming.delete(installed=row, frees_bytes=1, user=None) == first
    with pytest.raises(LabDashError, match="another order just now"):
        naming.rename(installed=row, target="mine", user=None)
    assert len(orders()) == 1


def test_two_orders_never_meet_in_a_name(rog: Instance) -> None:
    row, other = make_installed(rog), make_installed(rog, "b:1b")
    naming.rename(installed=row, target="mine", user=None)
    with pytest.raises(LabDashError, match="mine:latest has another order just now"):
        naming.copy(installed=other, target="Mine", user=None)
    row.delete()
    with pytest.raises(LabDashError, match="qwen3:8b has another order just now"):
        naming.rename(installed=other, target="qwen3:8b", user=None)
    assert len(orders()) == 1


def test_what_is_being_pulled_is_not_deleted_and_no_remains_of_it(rog: Instance) -> None:
    make_job(rog, model="QWEN3:8b")
    with pytest.raises(LabDashError, match="is being pulled"):
        naming.delete(installed=make_installed(rog), frees_bytes=1, user=None)
    assert naming.clear(instance=rog, user=None).act == NameAct.CLEAR
    running_job(make_instance("tower"))
    seen("tower")
    with pytest.raises(LabDashError, match="is pulling: pause or cancel that first"):
        naming.clear(instance=Instance.objects.get(node__slug="tower"), user=None)


def test_a_node_that_is_silent_or_a_store_that_is_away_is_told(
    dead_store: None,
) -> None:
    with pytest.raises(LabDashError, match="store does not answer"):
        naming.delete(installed=make_installed(make_instance()), frees_bytes=1, user=None)
    assert not NameJob.objects.active().exists()


def test_progress_counts_for_its_own_node_and_never_revives(rog: Instance) -> None:
    job = naming.delete(installed=make_installed(rog), frees_bytes=7, user=None)
    now = timezone.now()
    forged = said(job, "done").model_copy(update={"node": "tower"})
    assert not naming.record_name(forged, arrived_at=now)
    assert naming.record_name(said(job, "working"), arrived_at=now)
    assert naming.record_name(said(job, "failed", reason="why", meaning="in use"), arrived_at=now)
    assert not naming.record_name(said(job, "done"), arrived_at=now)
    job.refresh_from_db()
    assert (job.state, job.meaning, job.frees_bytes) == (NameState.FAILED, "in use", 7)


def test_what_a_clearing_freed_is_kept(rog: Instance) -> None:
    job = naming.clear(instance=rog, user=None)
    assert [order["task"] for order in orders()] == ["workers.clear"]
    values = {"node": "rog", "sent_at": timezone.now(), "job_id": job.pk}
    end = wire.ClearProgress(phase="done", freed_bytes=5, **values)
    naming.record_name(end, arrived_at=timezone.now())
    job.refresh_from_db()
    assert (job.state, job.frees_bytes) == (NameState.DONE, 5)


def test_an_order_of_which_nothing_is_heard_ends_and_cannot_be_carried_out_later(
    rog: Instance,
) -> None:
    job = naming.delete(installed=make_installed(rog), frees_bytes=1, user=None)
    now = timezone.now()
    assert naming.end_lost(now=now + timedelta(seconds=29)) == 0
    assert naming.end_lost(now=now + timedelta(seconds=31)) == 1
    job.refresh_from_db()
    assert (job.state, "did not take it up" in job.meaning) == (NameState.FAILED, True)
    assert live.store().exists(wire.name_cancel_key("rog", job.pk))
