"""A plan is carried on step by step, whatever happens around it, and by two at once."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain import applying, loads, steps
from labdash.domain.applying import note_progress
from labdash.domain.carrying import carry_on
from labdash.domain.loads import record_load
from labdash.domain.progress import record_progress
from labdash.models import (
    Instance,
    ItemState,
    LoadJob,
    Plan,
    PlanItem,
    PlanState,
    PullJob,
    PullState,
)
from tests.factories import (
    GIB,
    gpu,
    loaded,
    make_installed,
    make_instance,
    ollama,
    orders,
    progress,
    seen,
)
from tests.plan_rows import ON_DEMAND, make_ending, make_item, make_plan
from workers import wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    seen()
    return instance


@pytest.fixture
def plan(instance: Instance) -> Plan:
    make_installed(instance, "qwen3:8b")
    return make_plan()


def sent() -> list[tuple[str, str]]:
    """Return the orders that were sent, the oldest first."""
    return [(order["task"].removeprefix("workers."), order["model"]) for order in orders()]


def told(item: PlanItem, phase: str = "done", **fields: Any) -> PlanItem:
    """Let the node say what became of a name."""
    values = {"node": "rog", "step": "create", "phase": phase, **fields}
    report = wire.ApplyProgress(sent_at=timezone.now(), job_id=item.pk, **values)
    note_progress(report, arrived_at=timezone.now())
    item.refresh_from_db()
    return item


def ended(phase: str = "loaded", **fields: Any) -> None:
    """Let the node end the only load job that is under way."""
    job = LoadJob.objects.active().get()
    values = {"node": "rog", "job_id": job.pk, "phase": phase, **fields}
    report = wire.LoadProgress(sent_at=timezone.now(), **values)
    record_load(report, arrived_at=timezone.now())


def after(item: PlanItem) -> PlanItem:
    carry_on()
    item.refresh_from_db()
    return item


def test_installed_model_gets_its_name_is_loaded_to_stay_and_the_plan_is_in_force(
    instance: Instance, plan: Plan
) -> None:
    item = make_item(plan, instance, num_gpu=20, main_gpu=1)
    assert after(item).state == ItemState.CREATING
    (order,) = orders()
    assert (order["task"], order["base"], order["model"]) == (
        "workers.create",
        "qwen3:8b",
        "labdash/chat",
    )
    assert order["parameters"] == {
        "num_ctx": 8192,
        "num_batch": 512,
        "num_gpu": 20,
        "main_gpu": 1,
    }
    assert told(item).state == ItemState.LOADING
    assert after(item).load_job is not None
    order = orders()[-1]
    assert (order["wish"], order["model"], order["keep_s"]) == ("load", "labdash/chat", -1)
    assert (order["context"], order["main_gpu"]) == (None, None)
    ended()
    assert after(item).state == ItemState.READY
    plan.refresh_from_db()
    assert (plan.state, plan.applied_at is not None) == (PlanState.CURRENT, True)


def test_missing_model_is_pulled_first(instance: Instance) -> None:
    item = make_item(make_plan(), instance, model="gemma3:4b")
    assert after(item).state == ItemState.PULLING
    job = PullJob.objects.get()
    assert (job.model, item.pull_job) == ("gemma3:4b", job)
    carry_on()
    assert PullJob.objects.count() == 1
    job.refresh_from_db()
    record_progress(progress(job, "installed"), arrived_at=timezone.now())
    assert after(item).state == ItemState.CREATING


def test_pull_under_way_is_joined(instance: Instance) -> None:
    job = PullJob.objects.create(instance=instance, model="gemma3:4b")
    assert after(make_item(make_plan(), instance, model="gemma3:4b")).pull_job == job


def test_failure_of_one_stops_no_other_and_says_why(instance: Instance, plan: Plan) -> None:
    failed = make_item(plan, instance, "bad", model="gemma3:4b", load_order=1)
    good = make_item(plan, instance, "good", load_order=2)
    carry_on()
    reason = "There is no model of that name."
    PullJob.objects.update(state=PullState.FAILED, reason=reason)
    told(good)
    assert after(good).load_job is not None
    failed.refresh_from_db()
    assert (failed.state, failed.reason) == (ItemState.FAILED, reason)


def test_on_demand_model_has_its_name_and_is_not_loaded(instance: Instance, plan: Plan) -> None:
    item = make_item(plan, instance, residency=ON_DEMAND)
    carry_on()
    assert told(item).state == ItemState.READY
    carry_on()
    assert not LoadJob.objects.exists()


def test_second_of_one_runner_has_its_name_alone(instance: Instance, plan: Plan) -> None:
    item = make_item(plan, instance, shares="chat")
    carry_on()
    assert told(item).state == ItemState.READY


def test_models_load_in_order_and_say_for_whom_they_wait(instance: Instance, plan: Plan) -> None:
    second = make_item(plan, instance, "second", load_order=2)
    first = make_item(plan, instance, "first", load_order=1)
    carry_on()
    told(second)
    assert after(second).reason == "Waits for first: models are loaded in order."
    told(first)
    carry_on()
    assert sent()[-1] == ("load", "labdash/first")
    assert after(second).reason == "Waits for first: one at a time on a node."
    ended()
    carry_on()
    assert sent()[-1] == ("load", "labdash/second")


def test_what_the_plan_ends_leaves_before_anything_is_loaded(
    instance: Instance, plan: Plan
) -> None:
    item = make_item(plan, instance)
    other = make_ending(plan, instance, "llama3:8b")
    own = make_ending(plan, instance, "labdash/old", alias="labdash/old")
    seen(instances=(ollama(loaded=(loaded("llama3:8b"), loaded("labdash/old:latest"))),))
    carry_on()
    assert {("load", "llama3:8b"), ("delete", "labdash/old")} <= set(sent())
    assert orders()[0]["wish"] == "unload"
    told(item)
    assert after(item).load_job is None
    ended("unloaded")
    told(own, step="delete")
    carry_on()
    other.refresh_from_db()
    assert (other.state, own.state) == (ItemState.READY, ItemState.READY)
    assert sent()[-1] == ("load", "labdash/chat")


def test_what_runs_otherwise_than_planned_leaves_before_it_is_loaded_anew(
    instance: Instance, plan: Plan
) -> None:
    item = make_item(plan, instance, ctx=16384)
    old = loaded("labdash/chat:latest").model_copy(update={"context_length": 8192})
    seen(instances=(ollama(loaded=(old,)),))
    carry_on()
    told(item)
    assert after(item).state == ItemState.UNLOADING
    ended("unloaded")
    seen()
    assert after(item).state == ItemState.CREATING
    told(item)
    carry_on()
    assert [order["wish"] for order in orders() if order["task"] == "workers.load"] == [
        "unload",
        "load",
    ]


def test_load_that_fails_is_tried_again_later_and_then_given_up_with_the_reason(
    instance: Instance, plan: Plan
) -> None:
    item = make_item(plan, instance)
    carry_on()
    told(item)
    now = timezone.now()
    for attempt in range(3):
        carry_on(now=now)
        ended("failed", reason="out of memory", meaning="The card was too small.")
        carry_on(now=now)
        item.refresh_from_db()
        now += timedelta(minutes=2)
        live.save_state(seen(), arrived_at=now)
        assert item.state == (ItemState.FAILED if attempt == 2 else ItemState.LOADING)
    assert item.reason == "The card was too small."
    assert LoadJob.objects.count() == 3
    assert Plan.objects.get().state == PlanState.CURRENT


def test_name_that_cannot_be_made_says_what_the_server_said(instance: Instance, plan: Plan) -> None:
    item = make_item(plan, instance)
    carry_on()
    told(item, "failed", reason="invalid model name", meaning="Its name is not allowed.")
    assert (item.state, item.reason) == (
        ItemState.CREATING,
        "Its name is not allowed. It is tried again.",
    )
    PlanItem.objects.update(next_at=None, attempts=2)
    carry_on()
    assert told(item, "failed", reason="invalid model name").state == ItemState.FAILED


@pytest.mark.parametrize(
    ("paused", "age_s", "reason"),
    [
        (True, 0.0, "Waits: rog is paused."),
        (False, 60.0, "Waits: rog has not reported for 1 min."),
    ],
)
def test_paused_and_silent_nodes_are_waited_for(paused: bool, age_s: float, reason: str) -> None:
    instance = make_instance(paused=paused)
    seen(age_s=age_s)
    item = make_item(make_plan(), instance)
    assert (after(item).reason, orders()) == (reason, [])
    assert Plan.objects.get().state == PlanState.APPLYING


def test_server_that_does_not_answer_is_waited_for(instance: Instance) -> None:
    seen(instances=(ollama(state="refused", loaded=None),))
    item = make_item(make_plan(), instance)
    assert after(item).reason == "Waits: Ollama (ollama) on rog does not answer."


def test_server_of_which_nobody_knows_what_it_has_is_asked_for_no_download(
    instance: Instance,
) -> None:
    item = make_item(make_plan(), instance)
    Instance.objects.update(inventory_at=None)
    item = after(item)
    assert item.reason == "Waits: rog/ollama has not told its models yet."
    assert not PullJob.objects.exists()


def test_job_by_hand_is_waited_for_and_told(instance: Instance, plan: Plan) -> None:
    item = make_item(plan, instance)
    carry_on()
    told(item)
    loads.load(
        instance=instance, model="labdash/chat", context=4096, keep_s=300, main_gpu=None, user=None
    )
    assert "is being loaded just now" in after(item).reason
    assert item.state == ItemState.LOADING


def test_what_goes_wrong_with_one_node_holds_up_no_other(
    instance: Instance, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_instance("nas")
    make_installed(other, "qwen3:8b")
    seen("nas")
    broken, fine = make_item(plan, instance), make_item(plan, other, "other")
    next_step = steps.next_step

    def failing(place: steps.Place) -> steps.Step | None:
        if place.items[0].id == broken.pk:
            raise ValueError("no such step")
        return next_step(place)

    monkeypatch.setattr(steps, "next_step", failing)
    carry_on()
    broken.refresh_from_db()
    fine.refresh_from_db()
    assert (broken.state, fine.state) == (ItemState.WAITING, ItemState.CREATING)
    assert broken.reason == "A step went wrong and is tried again: see the hub's log."


def test_item_of_which_no_step_can_be_taken_holds_up_no_other(
    instance: Instance, plan: Plan
) -> None:
    stuck = make_item(plan, instance, model="no name")
    fine = make_item(plan, instance, "fine")
    carry_on()
    stuck.refresh_from_db()
    fine.refresh_from_db()
    assert (stuck.state, fine.state) == (ItemState.WAITING, ItemState.CREATING)
    assert "no name" in stuck.reason


def test_load_that_was_sent_while_its_item_was_cancelled_is_given_up(
    instance: Instance, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = make_item(plan, instance, state=ItemState.LOADING)
    for_plan = loads.for_plan

    def late(**wish: Any) -> LoadJob:
        job = for_plan(**wish)
        applying.cancel(plan=plan)
        return job

    monkeypatch.setattr(loads, "for_plan", late)
    carry_on()
    item.refresh_from_db()
    assert (item.state, item.load_job) == (ItemState.FAILED, None)
    assert LoadJob.objects.get().cancel_requested is True


def test_second_look_sends_nothing_twice(instance: Instance, plan: Plan) -> None:
    make_item(plan, instance)
    carry_on()
    assert (carry_on(), len(orders())) == (0, 1)


def test_nothing_is_done_while_nobody_reads_reports(instance: Instance, plan: Plan) -> None:
    make_item(plan, instance)
    live.store().delete(live.INTAKE_ALIVE_KEY)
    assert (carry_on(), orders()) == (0, [])


def test_of_two_plans_the_newest_stands(instance: Instance, plan: Plan) -> None:
    newer = make_plan()
    carry_on()
    plan.refresh_from_db()
    newer.refresh_from_db()
    assert (plan.state, newer.state) == (PlanState.REPLACED, PlanState.CURRENT)


def test_report_of_another_node_or_step_changes_nothing(instance: Instance, plan: Plan) -> None:
    item = make_item(plan, instance)
    carry_on()
    assert told(item, step="delete").state == ItemState.CREATING
    make_instance("beast")
    assert told(item, node="beast").state == ItemState.CREATING


def test_model_on_another_card_than_planned_is_not_as_planned(
    instance: Instance, plan: Plan
) -> None:
    item = make_item(plan, instance, state=ItemState.LOADING)
    name = "labdash/chat:latest"
    process = wire.GpuProcess(pid=7, name="llama-server", used_bytes=6 * GIB, model=name)
    there = loaded(name).model_copy(update={"context_length": 8192})
    seen(gpus=(gpu(), gpu(1, processes=(process,))), instances=(ollama(loaded=(there,)),))
    assert after(item).state == ItemState.UNLOADING
