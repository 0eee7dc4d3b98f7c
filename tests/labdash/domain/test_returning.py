"""A card that its owner wants: the plan does without it within seconds, and comes back."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain import applying, deployments
from labdash.domain.errors import LabDashError
from labdash.domain.gpus import keep_for_owner
from labdash.domain.returning import give_back, take_back, watch
from labdash.domain.tending import tend
from labdash.models import Gpu, Instance, ItemState, ItemWish, Plan, PlanItem, PlanState
from labdash.planner.greedy import quick
from labdash.queries.lab import read_lab
from labdash.queries.plan_in_force import in_force
from labdash.queries.snapshot import snapshot
from tests.factories import GIB, gpu, make_installed, make_instance, sample
from workers import wire

pytestmark = pytest.mark.django_db

CARDS = (0, 1)


@pytest.fixture
def instance() -> Instance:
    """Return the server of a node with two cards of 24 GiB."""
    instance = make_instance()
    for index in CARDS:
        Gpu.objects.create(
            node=instance.node,
            index=index,
            uuid=f"GPU-{index}",
            name="NVIDIA GeForce RTX 3090",
            memory_total_bytes=24 * GIB,
            source="nvml",
        )
    make_installed(instance, "qwen3:8b")
    return instance


def card(index: int) -> Gpu:
    return Gpu.objects.get(index=index)


def game(gib: float, *, on: int = 0) -> dict[str, Any]:
    """Return what a sample shows while a game holds so much of a card."""
    process = wire.GpuProcess(pid=9, name="game.exe", used_bytes=round(gib * GIB))
    return {
        "gpus": tuple(
            gpu(
                index,
                processes=(process,) if index == on and gib else (),
                memory_used_bytes=round((gib if index == on else 0) * GIB) + GIB,
                memory_free_bytes=23 * GIB - round((gib if index == on else 0) * GIB),
            )
            for index in CARDS
        )
    }


def report(now: datetime, gib: float = 0.0) -> None:
    live.save_state(sample(**game(gib)), arrived_at=now)


def tick(now: datetime, gib: float = 0.0) -> None:
    report(now, gib)
    tend(now=now, planner=quick)


def planned(now: datetime, **fields: Any) -> Plan:
    """Put a plan of one deployment on the first card in force."""
    deployments.create(name="chat", model="qwen3:8b", ctx_floor=8192, ctx_wish=8192, **fields)
    report(now)
    lab = snapshot(now=now)
    plan = applying.apply(plan=quick(lab), lab=lab, by=None)
    Plan.objects.filter(pk=plan.pk).update(state=PlanState.CURRENT)
    plan.items.update(state=ItemState.READY, verdict="as-planned")
    return plan


def where() -> set[str]:
    """Return the GPUs of what is served now."""
    items = PlanItem.objects.filter(plan__in=Plan.objects.in_force(), wish=ItemWish.SERVE)
    return {device for item in items for device in item.bytes} - {"rog/cpu"}


def test_game_that_takes_more_than_allowed_for_two_samples_has_the_card(
    instance: Instance,
) -> None:
    start = timezone.now()
    Gpu.objects.filter(index=0).update(game_bytes=4 * GIB)
    for seconds, gib, on in ((0, 6, False), (1, 6, False), (5, 6, True), (10, 6, True)):
        report(start + timedelta(seconds=seconds), gib)
        now = start + timedelta(seconds=seconds)
        watch(read_lab(now=now).nodes, now=now)
        assert card(0).game_on is on, seconds
    for seconds, gib, on in ((20, 1, True), (70, 1, True), (75, 5, True), (80, 1, True)):
        now = start + timedelta(seconds=seconds)
        report(now, gib)
        watch(read_lab(now=now).nodes, now=now)
        assert card(0).game_on is on, seconds
    now = start + timedelta(seconds=141)
    report(now, 1)
    assert watch(read_lab(now=now).nodes, now=now) == 1
    assert card(0).game_on is False


def test_short_peak_and_cards_without_an_amount_stay(instance: Instance) -> None:
    Gpu.objects.filter(index=0).update(game_bytes=4 * GIB)
    start = timezone.now()
    for seconds, gib in ((0, 6), (4, 1), (8, 6), (10, 1)):
        now = start + timedelta(seconds=seconds)
        report(now, gib)
        watch(read_lab(now=now).nodes, now=now)
    assert card(0).game_on is False
    Gpu.objects.update(game_bytes=None, game_on=True)
    watch(read_lab(now=start).nodes, now=start)
    assert card(0).game_on is False


@pytest.mark.parametrize("cleared", ["by the form", "in the admin"])
def test_what_an_amount_began_to_wait_for_ends_with_it(instance: Instance, cleared: str) -> None:
    start = timezone.now()
    Gpu.objects.filter(index=0).update(game_bytes=4 * GIB)
    tick(start, 6)
    assert card(0).game_since
    if cleared == "by the form":
        amounts: dict[str, int | None] = {"reserve_bytes": None, "margin_bytes": None}
        keep_for_owner(gpu=card(0), game_bytes=None, **amounts)
        keep_for_owner(gpu=card(0), game_bytes=4 * GIB, **amounts)
    else:
        Gpu.objects.filter(index=0).update(game_bytes=None)
        tick(start + timedelta(seconds=2), 6)
        Gpu.objects.filter(index=0).update(game_bytes=4 * GIB)
    assert card(0).game_since is None
    tick(start + timedelta(seconds=6), 6)
    assert card(0).game_on is False
    tick(start + timedelta(seconds=11), 6)
    assert card(0).game_on is True


def test_card_does_not_change_hands_where_only_an_amount_is_taken_away(instance: Instance) -> None:
    now = timezone.now()
    Gpu.objects.filter(index=0).update(game_since=now)
    report(now, 6)
    assert watch(read_lab(now=now).nodes, now=now) == 0
    assert card(0).game_since is None


def test_within_20_s_of_a_game_the_plan_is_on_the_other_card_and_returns_a_minute_after(
    instance: Instance,
) -> None:
    Gpu.objects.filter(index=0).update(game_bytes=4 * GIB)
    start = timezone.now()
    plan = planned(start)
    assert where() == {"rog/0"}
    for seconds in range(0, 20, 5):
        tick(start + timedelta(seconds=seconds), 6)
    shrunk = in_force()
    assert shrunk
    assert (where(), shrunk.instead_of) == ({"rog/1"}, plan)
    assert shrunk.why == "rog/0 was given back to its owner; all are served elsewhere."
    for seconds in range(20, 100, 10):
        tick(start + timedelta(seconds=seconds), 0)
    again = in_force()
    assert again
    assert (where(), again.returns_to, again.instead_of) == ({"rog/0"}, plan, None)
    assert again.why == "rog/0 is free again"


def test_what_fits_nowhere_else_is_left_out_and_named(instance: Instance) -> None:
    now = timezone.now()
    planned(now, pin="rog/0")
    give_back(gpu=card(0))
    tick(now)
    shrunk = in_force()
    assert shrunk
    assert (where(), shrunk.why) == (
        set(),
        "rog/0 was given back to its owner; not served meanwhile: chat.",
    )
    assert [item.wish for item in shrunk.items.all()] == [ItemWish.UNLOAD]
    take_back(gpu=card(0))
    tick(now)
    assert where() == {"rog/0"}


def test_card_that_is_given_back_while_a_plan_is_made_is_freed_after_it(
    instance: Instance,
) -> None:
    now = timezone.now()
    planned(now)
    lab = snapshot(now=now)
    give_back(gpu=card(0))
    late = applying.apply(plan=quick(lab), lab=lab, by=None)
    assert where() == {"rog/0"}
    tick(now)
    shrunk = in_force()
    assert shrunk
    assert (where(), shrunk.instead_of) == ({"rog/1"}, late)


def test_card_on_which_nothing_was_planned_changes_no_plan(instance: Instance) -> None:
    now = timezone.now()
    plan = planned(now, pin="rog/1")
    give_back(gpu=card(0))
    tick(now)
    assert in_force() == plan
    take_back(gpu=card(0))
    tick(now)
    assert in_force() == plan


def test_second_card_that_goes_still_returns_to_the_first_plan(instance: Instance) -> None:
    now = timezone.now()
    plan = planned(now)
    for index in CARDS:
        give_back(gpu=card(index))
        tick(now)
    assert where() == set()
    take_back(gpu=card(0))
    tick(now)
    between = in_force()
    assert between
    assert (where(), between.instead_of) == ({"rog/0"}, plan)
    take_back(gpu=card(1))
    tick(now)
    last = in_force()
    assert last
    assert last.returns_to == plan


def test_plan_that_the_user_applies_meanwhile_is_not_undone(instance: Instance) -> None:
    now = timezone.now()
    planned(now)
    give_back(gpu=card(0))
    tick(now)
    own = applying.back(by=None)
    tick(now)
    assert (in_force(), where()) == (own, {"rog/0"})
    take_back(gpu=card(0))
    tick(now)
    assert in_force() == own


def test_card_that_a_game_holds_is_not_taken_from_it(instance: Instance) -> None:
    Gpu.objects.filter(index=0).update(game_bytes=4 * GIB, game_on=True)
    with pytest.raises(
        LabDashError, match=r"hold more than 4.0 GiB of it: it comes back by itself"
    ):
        take_back(gpu=card(0))


def test_what_the_card_does_not_concern_stays_where_it_is(instance: Instance) -> None:
    now = timezone.now()
    make_installed(instance, "gemma3:4b")
    deployments.create(name="small", model="gemma3:4b", ctx_floor=4096, ctx_wish=65536, pin="rog/1")
    planned(now)
    small = PlanItem.objects.get(deployment_name="small")
    give_back(gpu=card(0))
    tick(now)
    after = PlanItem.objects.get(deployment_name="small", plan=in_force())
    assert (after.ctx, after.bytes, after.quant) == (small.ctx, small.bytes, small.quant)
