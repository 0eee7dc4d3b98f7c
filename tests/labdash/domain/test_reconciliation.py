"""Steps are carried out once, whatever happens around them."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from labdash import live
from labdash.domain.cancelling import raise_cancel_flag
from labdash.domain.reconciliation import carry_on
from labdash.models import Node, PullJob, PullSettings, PullState
from labdash.queries import resting
from tests.factories import (
    GIB,
    make_installed,
    make_instance,
    make_job,
    make_node,
    ollama,
    orders,
    running_job,
    seen,
)
from workers import wire

pytestmark = pytest.mark.django_db


def test_one_job_of_an_instance_is_sent_and_the_others_say_why_they_wait() -> None:
    first = make_job(model="a:1b")
    second = make_job(first.instance, model="b:1b")
    seen("rog")
    assert carry_on() == 2
    second.refresh_from_db()
    assert second.reason == "Waits for a:1b: one at a time on rog/ollama."
    assert [order["model"] for order in orders()] == ["a:1b"]


def test_instances_of_one_node_pull_side_by_side() -> None:
    node = make_node(urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    for instance in node.instances.all():
        make_job(instance)
    seen("rog")
    carry_on()
    assert {order["instance"] for order in orders()} == {"ollama", "ollama-2"}


def test_a_second_look_sends_nothing_twice() -> None:
    make_job()
    seen("rog")
    carry_on()
    assert (carry_on(), len(orders())) == (0, 1)


def test_the_database_refuses_a_second_running_pull_on_an_instance() -> None:
    first = running_job(model="a:1b")
    second = make_job(first.instance, model="b:1b")
    with pytest.raises(IntegrityError):
        PullJob.objects.filter(pk=second.pk).update(sent_at=timezone.now())


def test_a_lost_job_is_sent_again_as_the_next_attempt() -> None:
    past = timezone.now() - timedelta(seconds=40)
    job = running_job(sent_at=past, heartbeat_at=past, attempt=2)
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.attempt, job.fruitless) == (3, 1)
    assert [order["attempt"] for order in orders()] == [3]


def test_a_job_without_any_answer_fails_in_the_end_with_a_reason() -> None:
    job = make_job()
    now = timezone.now()
    for minutes in range(30):
        at = now + timedelta(minutes=minutes)
        live.save_state(seen("rog"), arrived_at=at)
        carry_on(now=at)
    job.refresh_from_db()
    assert (job.state, job.attempt, len(orders())) == (PullState.FAILED, 5, 5)
    assert job.reason == "rog was sent this 5 times and nothing arrived."


def test_a_job_of_a_silent_node_is_queued_again_and_goes_on_when_it_is_back() -> None:
    job = running_job(done_bytes=7, fruitless=0)
    seen("rog", age_s=60)
    carry_on()
    job.refresh_from_db()
    assert (job.state, job.sent_at, job.done_bytes) == (PullState.QUEUED, None, 7)
    assert job.reason == "Waits: rog has not reported for 1 min."
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert (job.attempt, job.reason, len(orders())) == (2, "", 1)


def test_nothing_is_decided_while_the_store_is_down(dead_store: None) -> None:
    job = running_job()
    assert carry_on() == 0
    job.refresh_from_db()
    assert job.state == PullState.DOWNLOADING


def test_nothing_is_decided_while_nobody_reads_reports() -> None:
    running_job()
    live.store().delete(live.INTAKE_ALIVE_KEY)
    assert carry_on() == 0


def test_a_node_that_only_the_database_remembers_is_not_silent() -> None:
    make_job()
    seen("rog", age_s=60)
    Node.objects.update(last_seen_at=timezone.now())
    carry_on()
    assert len(orders()) == 1


def test_the_flag_of_a_cancelled_job_is_raised_again_for_a_store_that_forgot_it() -> None:
    job = running_job(cancel_requested=True)
    seen("rog")
    carry_on()
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1


def test_a_cancelled_job_of_a_silent_node_ends() -> None:
    job = running_job(cancel_requested=True)
    seen("rog", age_s=60)
    carry_on()
    job.refresh_from_db()
    assert job.state == PullState.CANCELLED


@pytest.mark.parametrize("where", ["rog", "tower"])
def test_the_size_of_a_name_that_is_installed_somewhere_refuses_no_pull(where: str) -> None:
    job = make_job()
    other = job.instance if where == "rog" else make_instance("tower")
    make_installed(other, size_bytes=5 * GIB)
    disk = wire.DiskReading(path="/", total_bytes=9 * GIB, free_bytes=2 * GIB)
    seen("rog", instances=(ollama(disk=disk),))
    carry_on()
    assert len(orders()) == 1


def test_every_job_that_the_hub_ends_leaves_a_flag_for_the_orders_of_it() -> None:
    past = timezone.now() - timedelta(seconds=300)
    at = {"sent_at": past, "heartbeat_at": past}
    node = make_node(urls=[f"http://127.0.0.1:{port}" for port in (1, 2, 3)])
    first, second, third = node.instances.all()
    jobs = [
        running_job(first, attempt=5, fruitless=5, **at),
        running_job(second, cancel_requested=True, **at),
        make_job(third, attempt=1, cancel_requested=True),
    ]
    seen("rog")
    carry_on()
    assert not PullJob.objects.active().exists()
    assert set(live.store().keys("*cancel*")) == {wire.cancel_key("rog", job.pk) for job in jobs}


def test_a_job_whose_flag_cannot_be_raised_has_not_ended() -> None:
    past = timezone.now() - timedelta(seconds=300)
    job = running_job(attempt=5, fruitless=5, sent_at=past, heartbeat_at=past)
    seen("rog")
    live.store().config_set("maxmemory", 1)
    try:
        assert carry_on() == 0
    finally:
        live.store().config_set("maxmemory", 0)
    assert PullJob.objects.active().get() == job
    carry_on()
    job.refresh_from_db()
    assert job.state == PullState.FAILED


def test_a_flag_that_an_earlier_database_left_stops_no_job_of_the_same_number() -> None:
    job = make_job()
    raise_cancel_flag(job_id=job.pk, node=job.instance.node)
    seen("rog")
    carry_on()
    assert len(orders()) == 1
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 0


def test_one_instance_alone_can_be_carried_on() -> None:
    here, there = make_job(), make_job(make_instance("tower"))
    seen("rog")
    seen("tower")
    carry_on(instance=here.instance)
    assert (len(orders("rog")), len(orders("tower"))) == (1, 0)
    assert PullJob.objects.get(pk=there.pk).attempt == 0


def test_a_paused_node_begins_nothing_until_it_is_resumed() -> None:
    job = make_job()
    seen("rog")
    Node.objects.update(paused=True)
    carry_on()
    job.refresh_from_db()
    assert (job.reason, orders()) == ("Waits: rog is paused.", [])
    Node.objects.update(paused=False)
    carry_on()
    assert len(orders()) == 1


def test_a_pull_that_was_faster_than_its_share_rests_and_then_goes_on() -> None:
    PullSettings.objects.create(pk=1, bytes_per_s=2_000_000)
    now = timezone.now()
    job = running_job(turn_at=now - timedelta(seconds=100), arrived_bytes=800_000_000)
    running_job(make_instance("tower"))
    make_job(job.instance, model="phi4:14b")
    seen("rog")
    seen("tower")
    carry_on(now=now)
    job.refresh_from_db()
    # Half of the limit, as two share it: 800 s for these bytes, of which 100 s are over.
    assert job.rest_until_at == now + timedelta(seconds=700)
    assert (job.pause_requested, job.reason) == (True, resting.PACED)
    PullJob.objects.filter(pk=job.pk).update(state=PullState.PAUSED, sent_at=None)
    carry_on(now=now)
    assert orders() == []
    later = now + timedelta(seconds=701)
    live.save_state(seen("rog"), arrived_at=later)
    carry_on(now=later)
    job.refresh_from_db()
    assert (job.turn_at, job.turn_bytes, len(orders())) == (later, 0, 1)


def test_what_came_in_an_earlier_turn_makes_no_pull_rest_in_this_one() -> None:
    PullSettings.objects.create(pk=1, bytes_per_s=1_000_000)
    now = timezone.now()
    began, heard = now - timedelta(seconds=25), now - timedelta(seconds=28)
    job = running_job(turn_at=began, arrived_bytes=60_000_000_000, heartbeat_at=heard)
    seen("rog")
    carry_on(now=now)
    job.refresh_from_db()
    assert (job.rest_until_at, job.pause_requested) == (None, False)


def test_a_limit_of_nothing_stops_what_runs_and_begins_nothing() -> None:
    PullSettings.objects.create(pk=1, bytes_per_s=0)
    job, other = running_job(), make_job(make_instance("tower"))
    seen("rog")
    seen("tower")
    carry_on()
    job.refresh_from_db()
    other.refresh_from_db()
    assert (job.pause_requested, other.reason) == (True, resting.CLOSED)
    assert orders("tower") == []


def test_a_job_goes_before_those_that_matter_less_and_then_by_its_rank() -> None:
    last, first = make_job(rank=1), None
    for model, fields in (("b:1b", {"rank": 0}), ("c:1b", {"priority": 1, "rank": 9})):
        first = make_job(last.instance, model=model, **fields)
    seen("rog")
    carry_on()
    assert [order["job_id"] for order in orders()] == [first and first.pk]
