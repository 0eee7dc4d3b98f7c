"""The newest state of each node, in the store."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from labdash import live
from labdash.intake import Intake
from tests.factories import make_node, sample, send
from workers import wire


def test_a_saved_state_is_read_back() -> None:
    report, now = sample("rog"), timezone.now()
    live.save_state(report, arrived_at=now)
    state = live.NodeState(sample=report, arrived_at=now)
    assert live.read_states(["rog", "tower"]) == {"rog": state}
    assert live.read_live(["rog", "tower"]).states == {"rog": state}


def test_nothing_asked_is_nothing_read() -> None:
    assert live.read_states([]) == {}


def test_an_age_counts_from_the_arrival() -> None:
    now = timezone.now()
    state = live.NodeState(sample=sample("rog"), arrived_at=now - timedelta(seconds=7))
    assert state.age_s(now) == 7


def test_other_protocols_of_other_nodes_are_not_shown() -> None:
    live.note_protocol("rog", 2)
    assert live.read_live(["rog"]).other_protocols == {"rog": 2}
    assert live.read_live(["tower"]).other_protocols == {}
    live.note_protocol("rog", None)
    assert live.read_live(["rog"]).other_protocols == {}


def test_a_database_that_keeps_the_intake_waiting_is_told_before_it_gives_up() -> None:
    live.store().set(live.INTAKE_ALIVE_KEY, 1)
    live.note_recording()
    found = live.read_live([])
    assert (found.intake_alive, found.database_error) == (True, None)
    began = time.time() - live.RECORDING_SLOW_S - 1
    live.store().set(live.RECORDING_KEY, began)
    found = live.read_live([])
    assert (found.intake_alive, found.database_error) == (False, "it does not answer")


def test_watching_ends_by_itself() -> None:
    live.mark_watched(["rog"])
    assert 0 < live.store().ttl(wire.watched_key("rog")) <= live.WATCHED_FOR_S


def test_a_forgotten_node_takes_no_other_with_it() -> None:
    for slug in ("rog", "rog-2"):
        live.save_state(sample(slug), arrived_at=timezone.now())
        live.store().set(wire.spec_key(slug), "x")
    live.forget_node("rog")
    assert live.store().keys("node:*") == [wire.spec_key("rog-2")]
    assert set(live.read_states(["rog", "rog-2"])) == {"rog-2"}


@pytest.mark.django_db
def test_a_node_of_a_forgotten_name_is_read_from_its_beginning() -> None:
    make_node("rog")
    live.store().xadd(wire.reports_key("rog"), {"report": "x"}, id="99999999999999999-0")
    Intake().read_once(block_ms=1)
    live.forget_node("rog")
    send(sample("rog"))
    Intake().read_once(block_ms=1)
    assert set(live.read_states(["rog"])) == {"rog"}


def test_every_call_tells_that_the_store_is_down(dead_store: None) -> None:
    for call in (
        lambda: live.save_state(sample("rog"), arrived_at=timezone.now()),
        lambda: live.read_states(["rog"]),
        lambda: live.read_live(["rog"]),
        lambda: live.mark_watched(["rog"]),
        lambda: live.note_protocol("rog", 2),
        lambda: live.forget_node("rog"),
    ):
        with pytest.raises(live.StoreDown):
            call()
