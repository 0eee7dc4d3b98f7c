"""One step at a time: names and downloads side by side, loads in order, unloads before them."""

from typing import Any

import pytest

from labdash.domain.steps import (
    MOST_TRIES,
    QUIET_AFTER_S,
    Again,
    Create,
    Delete,
    Explain,
    Item,
    Load,
    Move,
    Place,
    Pull,
    Step,
    Unload,
    next_step,
)
from labdash.models import ItemState, ItemWish

ROG = frozenset({"rog/0"})


def item(number: int = 1, **fields: Any) -> Item:
    values: dict[str, Any] = {
        "name": f"m{number}",
        "model": f"m{number}:1b",
        "instance": "ollama",
        "load_order": number,
        "devices": ROG,
        **fields,
    }
    return Item(id=number, **values)


def loading(number: int = 1, **fields: Any) -> Item:
    return item(number, **{"state": ItemState.LOADING, **fields})


def ending(number: int = 9, **fields: Any) -> Item:
    return item(number, **{"wish": ItemWish.UNLOAD, "is_alias": False, **fields})


def step(*items: Item, **fields: Any) -> Step | None:
    return next_step(Place(items=items, **fields))


def test_what_is_missing_is_pulled_before_it_gets_its_name() -> None:
    missing = item(is_installed=False)
    assert step(missing) == Pull(item=missing)
    pulling = item(is_installed=False, state=ItemState.PULLING, pull="active")
    assert step(pulling) is None
    pulled = item(is_installed=False, state=ItemState.PULLING, pull="done")
    assert step(pulled) == Move(item=pulled, state=ItemState.CREATING)


def test_download_that_failed_ends_its_own_item_with_the_reason() -> None:
    failed = item(state=ItemState.PULLING, pull="failed", why="No such model.")
    assert step(failed) == Move(item=failed, state=ItemState.FAILED, reason="No such model.")
    assert isinstance(step(item(1, state=ItemState.FAILED), loading(2)), Load)


def test_name_is_made_once_and_asked_for_again_when_nobody_answers() -> None:
    new = item(state=ItemState.CREATING)
    assert step(new) == Create(item=new)
    assert step(item(state=ItemState.CREATING, sent_age_s=5.0)) is None
    quiet = item(state=ItemState.CREATING, sent_age_s=QUIET_AFTER_S + 1)
    assert isinstance(step(quiet), Again)
    last = item(state=ItemState.CREATING, sent_age_s=QUIET_AFTER_S + 1, attempts=MOST_TRIES - 1)
    assert isinstance(step(last), Move)


def test_models_are_loaded_one_at_a_time_in_their_order() -> None:
    first, second = loading(1), loading(2)
    assert step(second, first) == Load(item=first)
    busy = loading(1, load="active")
    assert step(busy, second) == Explain(
        item=second, reason="Waits for m1: one at a time on a node."
    )
    late = item(1, state=ItemState.CREATING, sent_age_s=1.0)
    assert step(late, second) == Explain(
        item=second, reason="Waits for m1: models are loaded in order."
    )


def test_order_holds_where_memory_is_shared_alone() -> None:
    slow = item(1, state=ItemState.PULLING, pull="active")
    elsewhere = loading(2, devices=frozenset({"rog/1"}))
    other_server = loading(3, instance="ollama-2")
    assert step(slow, elsewhere) == Load(item=elsewhere)
    assert step(slow, other_server) == Load(item=other_server)


def test_what_the_plan_ends_leaves_first() -> None:
    gone = ending(in_memory=True)
    assert step(loading(1), gone) == Unload(item=gone)
    leaving = ending(state=ItemState.UNLOADING, load="active")
    waits = step(loading(1), leaving)
    assert isinstance(waits, Explain)
    left = ending(state=ItemState.UNLOADING, load="done")
    assert step(left) == Move(item=left, state=ItemState.READY)


def test_name_of_labdash_goes_with_what_was_loaded_by_it() -> None:
    own = ending(is_alias=True, is_listed=True, in_memory=True)
    assert step(own) == Delete(item=own)
    assert step(ending(is_alias=True, is_listed=True, sent_age_s=1.0)) is None
    nothing = ending(is_alias=True)
    assert step(nothing) == Move(item=nothing, state=ItemState.READY)


def test_what_lies_otherwise_than_planned_makes_room_first() -> None:
    first = loading(1)
    wrong = loading(2, in_memory=True, is_other=True, memory=ROG)
    assert step(first, wrong) == Unload(item=wrong)
    far = loading(2, in_memory=True, is_other=True, memory=frozenset({"rog/1"}))
    assert step(first, far) == Load(item=first)
    unknown = loading(2, in_memory=True, is_other=True, memory=None)
    assert step(first, unknown) == Unload(item=unknown)
    cleared = loading(1, in_memory=True, is_other=True, cleared=True)
    assert step(cleared) == Load(item=cleared)


def test_unloading_of_a_planned_model_ends_in_its_loading() -> None:
    done = item(state=ItemState.UNLOADING, load="done")
    assert step(done) == Move(item=done, state=ItemState.WAITING, cleared=True)
    failed = item(state=ItemState.UNLOADING, load="failed", why="404")
    assert step(failed) == Move(item=failed, state=ItemState.WAITING, cleared=True)


def test_what_is_not_loaded_is_ready_with_its_name() -> None:
    on_demand = loading(is_loaded=False)
    assert step(on_demand) == Move(item=on_demand, state=ItemState.READY)


def test_on_demand_model_that_lies_elsewhere_leaves_so_that_it_is_loaded_as_planned() -> None:
    elsewhere = item(is_loaded=False, in_memory=True, is_other=True)
    assert step(elsewhere) == Unload(item=elsewhere)
    cleared = item(is_loaded=False, in_memory=True, is_other=True, cleared=True)
    assert step(cleared) == Move(item=cleared, state=ItemState.CREATING)


def test_load_that_fails_is_tried_again_a_few_times_with_pauses() -> None:
    pauses = []
    for attempts in range(MOST_TRIES - 1):
        again = step(loading(load="failed", why="Out of memory.", attempts=attempts))
        assert isinstance(again, Again)
        assert again.reason == "Out of memory. It is tried again."
        pauses.append(again.pause_s)
    assert pauses == [15.0, 60.0]
    last = loading(load="failed", why="Out of memory.", attempts=MOST_TRIES - 1)
    assert step(last) == Move(item=last, state=ItemState.FAILED, reason="Out of memory.")
    assert step(loading(wait_s=3.0)) is None


def test_load_that_somebody_cancelled_is_not_repeated() -> None:
    cancelled = loading(load="cancelled")
    assert step(cancelled) == Move(
        item=cancelled, state=ItemState.FAILED, reason="The load was cancelled."
    )


@pytest.mark.parametrize("state", [ItemState.WAITING, ItemState.CREATING, ItemState.LOADING])
def test_nothing_begins_on_a_node_that_cannot(state: ItemState) -> None:
    waiting = item(state=state)
    reason = "Waits: rog is paused."
    assert step(waiting, waits=reason) == Explain(item=waiting, reason=reason)
    assert step(item(state=state, reason=reason), waits=reason) is None


def test_server_that_is_down_holds_up_nobody_else() -> None:
    down = (("ollama", "Waits: Ollama (ollama) on rog does not answer."),)
    stuck, other = ending(1, in_memory=True), loading(2, instance="ollama-2")
    assert step(stuck, other, down=down) == Explain(item=stuck, reason=down[0][1])
    told = ending(1, in_memory=True, reason=down[0][1])
    assert step(told, other, down=down) == Load(item=other)


def test_nothing_is_left_to_do_where_all_is_over() -> None:
    assert step(item(1, state=ItemState.READY), item(2, state=ItemState.FAILED)) is None
