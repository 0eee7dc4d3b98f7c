"""A plan in force is one: it replaces the former, ends what has no use, and can be undone."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labdash.domain.applying import (
    KEPT,
    Outdated,
    apply,
    back,
    cancel,
    let_go,
    prune,
    repeat,
    resume,
)
from labdash.domain.carrying import carry_on
from labdash.domain.errors import LabDashError
from labdash.models import (
    Gpu,
    Instance,
    ItemState,
    ItemWish,
    LoadJob,
    LoadState,
    LoadWish,
    Node,
    Plan,
    PlanItem,
    PlanState,
    PullJob,
    PullState,
    Residency,
)
from labdash.planner import lab as wanted
from labdash.planner import plan as planned
from labdash.queries.plan_in_force import in_force, plan_before
from labdash.queries.variants import variants_of
from tests.factories import GIB, WHEN, gpu, loaded, make_installed, make_instance, ollama, seen
from tests.plan_rows import make_item, make_plan
from workers import wire

pytestmark = pytest.mark.django_db

MIB = 2**20
VARIANT = variants_of("qwen3:8b")[0]


def make_lab(instance: Instance, *, installed: tuple[str, ...] = ()) -> wanted.Lab:
    """Describe the lab as the planner was given it."""
    card = wanted.Card(index=0, name="RTX 3090", total_bytes=24 * GIB, vendor="nvidia", sm_count=82)
    server = wanted.Instance(
        name=str(instance), version="0.32.15", build=1, gpus=(0,), installed=installed
    )
    node = wanted.Node(name=instance.node.slug, cards=(card,), instances=(server,))
    return wanted.Lab(nodes=(node,), deployments=())


def place(instance: Instance, name: str = "chat", **fields: Any) -> planned.Placement:
    deployment = wanted.Deployment(
        name=name, model="qwen3:8b", variants=(VARIANT,), ctx_floor=8192, ctx_wish=8192, **fields
    )
    choice = planned.Choice(
        variant=VARIANT,
        node=instance.node.slug,
        instance=str(instance),
        form="gpu",
        ctx=8192,
        parallel=1,
        kv_type="f16",
        flash_attn=True,
        num_batch=512,
        num_gpu=None,
        main_gpu=0,
        layers={"rog/0": 37},
        bytes={"rog/0": 6 * GIB},
        host_bytes=GIB,
        predicted_bytes=7 * GIB,
        margin_bytes=GIB,
        tokens_per_s=80.0,
        download_bytes=0,
    )
    return planned.Placement(
        deployment=deployment, replica=0, choice=choice, load_order=1, reasons=("It fits.",)
    )


def make_answer(*placements: planned.Placement) -> planned.Plan:
    score = planned.Score(served=(1,), cpu_layers=0, value=1.0, moved_bytes=0)
    return planned.Plan(
        status="optimal", score=score, gap=0.0, placements=placements, refusals=(), devices=()
    )


def put(instance: Instance, *placements: planned.Placement, **fields: Any) -> Plan:
    values: dict[str, Any] = {"by": None, "lab": make_lab(instance), **fields}
    return apply(plan=make_answer(*(placements or (place(instance),))), **values)


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    instance.inventory_at = WHEN
    instance.save()
    seen()
    return instance


def test_placement_becomes_an_item_with_all_that_its_steps_need(instance: Instance) -> None:
    user = User.objects.create(username="ann")
    plan = put(instance, by=user, why="first", content={"status": "optimal"})
    assert (plan.state, plan.requested_by, plan.why) == (PlanState.APPLYING, user, "first")
    assert plan.content == {"status": "optimal"}
    item = plan.items.get()
    assert (item.deployment_name, item.model, item.alias) == ("chat", "qwen3:8b", "labdash/chat")
    assert (item.ctx, item.num_batch, item.num_gpu, item.main_gpu) == (8192, 512, None, 0)
    assert (item.bytes, item.layers, item.host_bytes) == ({"rog/0": 6 * GIB}, {"rog/0": 37}, GIB)
    assert (item.predicted_bytes, item.margin_bytes) == (7 * GIB, GIB)
    assert item.overheads == {"rog/0": (45 + 3 * 82 + 22) * MIB}
    assert (item.residency, item.reasons) == (Residency.RESIDENT, ["It fits."])


def test_weights_are_named_as_the_server_has_them(instance: Instance) -> None:
    lab = make_lab(instance, installed=("labdash/old:latest", "qwen3:8b-q4_K_M"))
    name = put(instance, lab=lab).items.get().model
    assert name in {"qwen3:8b-q4_K_M", "qwen3:8b"}
    assert (
        put(instance, place(instance, same_name=True)).items.get(wish=ItemWish.SERVE).served_name
        == VARIANT.name
    )


def test_instance_that_is_gone_is_told(instance: Instance) -> None:
    placement = place(instance)
    lab = make_lab(instance)
    instance.delete()
    with pytest.raises(LabDashError, match="rog/ollama is no longer there: plan anew"):
        apply(plan=make_answer(placement), lab=lab, by=None)
    assert not Plan.objects.exists()


def test_former_plan_is_replaced_and_what_it_had_under_way_stops(instance: Instance) -> None:
    former = put(instance)
    carry_on()
    job = PullJob.objects.get()
    PullJob.objects.update(model="qwen3:8b")
    PlanItem.objects.update(model="gemma3:4b")
    new = put(instance)
    former.refresh_from_db()
    job.refresh_from_db()
    assert (former.state, in_force()) == (PlanState.REPLACED, new)
    assert (job.cancel_requested or job.state == PullState.CANCELLED) is True


def test_of_two_that_replace_the_same_plan_the_second_is_told(instance: Instance) -> None:
    former = put(instance)
    put(instance, replaces=former)
    with pytest.raises(Outdated):
        put(instance, replaces=former)
    assert Plan.objects.count() == 2


def test_download_that_the_new_plan_wants_too_goes_on(instance: Instance) -> None:
    put(instance)
    carry_on()
    put(instance, place(instance, name="other"))
    job = PullJob.objects.get()
    assert (job.is_active, job.cancel_requested) == (True, False)


def endings(plan: Plan) -> set[tuple[str, str]]:
    rows = plan.items.filter(wish=ItemWish.UNLOAD)
    return set(rows.values_list("model", "alias"))


def test_what_was_loaded_to_stay_and_has_no_use_is_ended(instance: Instance) -> None:
    far = timezone.now().replace(year=2300)
    stays = loaded("llama3:8b").model_copy(update={"expires_at": far})
    passing = loaded("gemma3:4b")
    served = loaded("labdash/chat:latest").model_copy(update={"expires_at": far})
    seen(instances=(ollama(loaded=(stays, passing, served)),))
    assert endings(put(instance)) == {("llama3:8b", "")}


def test_same_weights_under_another_name_are_ended_for_the_new_one(instance: Instance) -> None:
    seen(instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    assert endings(put(instance)) == {("qwen3:8b", "")}


def test_names_of_labdash_without_use_go_and_those_of_others_stay(instance: Instance) -> None:
    for name in ("labdash/old:latest", "labdash/chat:latest", "llama3:8b"):
        make_installed(instance, name)
    assert endings(put(instance)) == {("labdash/old", "labdash/old")}


def test_names_on_a_node_that_is_paused_stay_so_that_no_plan_waits_for_it(
    instance: Instance,
) -> None:
    make_installed(instance, "labdash/old:latest")
    Node.objects.update(paused=True)
    other = make_instance("twin")
    seen("twin")
    plan = put(other)
    assert not plan.items.filter(wish=ItemWish.UNLOAD).exists()


def test_name_that_a_plan_made_a_moment_ago_goes_too(instance: Instance) -> None:
    put(instance, place(instance, name="brief"))
    assert endings(put(instance)) == {("labdash/brief", "labdash/brief")}


def test_the_only_name_of_the_weights_stays(instance: Instance) -> None:
    make_installed(instance, "labdash/old:latest")
    plan = put(instance)
    plan.items.all().delete()
    lab = make_lab(instance, installed=())
    item = make_item(plan, instance, model="labdash/old:latest")
    assert item.served_name == "labdash/chat"
    assert endings(back_to(plan, lab)) == set()


def back_to(plan: Plan, _lab: wanted.Lab) -> Plan:
    """Put another plan in force, and go back to this one."""
    Plan.objects.filter(pk=plan.pk).update(state=PlanState.REPLACED)
    return back(by=None)


def test_back_repeats_the_placements_of_the_plan_before(instance: Instance) -> None:
    first = put(instance, content={"n": 1})
    first.items.update(state=ItemState.READY, verdict="as-planned", mended=3)
    second = put(instance, place(instance, name="other"))
    user = User.objects.create(username="ann")
    third = back(by=user)
    assert (third.returns_to, third.requested_by, third.content) == (first, user, {"n": 1})
    item = third.items.get(wish=ItemWish.SERVE)
    assert (item.deployment_name, item.bytes) == ("chat", {"rog/0": 6 * GIB})
    assert (item.state, item.verdict, item.mended) == (ItemState.WAITING, "", 0)
    assert endings(third) == {("labdash/other", "labdash/other")}
    second.refresh_from_db()
    assert second.state == PlanState.REPLACED


def test_plans_that_came_by_themselves_are_no_plans_to_go_back_to(instance: Instance) -> None:
    oldest, user = put(instance), User.objects.create(username="ann")
    own = put(instance)
    shrunk = put(instance, instead_of=own)
    assert plan_before() == own
    repeat(plan=own, by=None, why="rog/0 is free again", replaces=shrunk)
    assert plan_before() == oldest
    back(by=user)
    assert plan_before() == own


def test_before_the_first_plan_there_is_none(instance: Instance) -> None:
    with pytest.raises(LabDashError, match="There is no plan before this one"):
        back(by=None)
    put(instance)
    with pytest.raises(LabDashError, match="There is no plan before this one"):
        back(by=None)


def test_cancel_stops_what_is_under_way_and_keeps_what_is_done(instance: Instance) -> None:
    plan = put(instance)
    done = make_item(plan, instance, "done", state=ItemState.READY)
    load = LoadJob.objects.create(instance=instance, model="x", wish=LoadWish.LOAD, by_plan=True)
    PlanItem.objects.filter(plan=plan).exclude(pk=done.pk).update(
        state=ItemState.LOADING, load_job=load
    )
    cancel(plan=plan)
    load.refresh_from_db()
    states = dict(plan.items.values_list("deployment_name", "state"))
    assert states == {"chat": ItemState.FAILED, "done": ItemState.READY}
    assert (load.cancel_requested, plan.state) == (True, PlanState.CURRENT)
    assert plan.items.get(deployment_name="chat").reason == "Cancelled."
    assert carry_on() == 0


def test_what_cannot_be_stopped_stays_for_a_second_try(
    instance: Instance, dead_store: None
) -> None:
    plan = make_plan()
    load = LoadJob.objects.create(instance=instance, model="x", wish=LoadWish.LOAD, by_plan=True)
    loading = make_item(plan, instance, state=ItemState.LOADING, load_job=load)
    waiting = make_item(plan, instance, "late", load_order=2)
    with pytest.raises(LabDashError, match="The store does not answer"):
        cancel(plan=plan)
    for row in (plan, loading, waiting):
        row.refresh_from_db()
    assert (loading.state, waiting.state) == (ItemState.LOADING, ItemState.FAILED)
    assert plan.state == PlanState.APPLYING
    LoadJob.objects.update(state=LoadState.FAILED)
    cancel(plan=plan)
    loading.refresh_from_db()
    assert (loading.state, plan.state) == (ItemState.FAILED, PlanState.CURRENT)


def test_resume_tries_again_what_failed_or_was_given_up(instance: Instance) -> None:
    plan = put(instance)
    plan.items.update(state=ItemState.FAILED, attempts=2, mended=4, reason="No.")
    resume(plan=plan)
    item = plan.items.get()
    assert (item.state, item.attempts, item.mended, item.reason) == (ItemState.WAITING, 0, 0, "")
    assert plan.resumed_at is not None


def test_plan_that_is_tried_again_can_be_cancelled_again(instance: Instance) -> None:
    plan = put(instance)
    cancel(plan=plan)
    resume(plan=plan)
    assert plan.state == PlanState.APPLYING
    cancel(plan=plan)
    assert plan.state == PlanState.CURRENT


def test_plan_of_which_nothing_failed_stays_as_it_is(instance: Instance) -> None:
    plan = put(instance)
    plan.items.update(state=ItemState.READY)
    Plan.objects.update(state=PlanState.CURRENT)
    resume(plan=plan)
    assert plan.state == PlanState.CURRENT


def test_plan_that_is_let_go_is_kept_up_no_more(instance: Instance) -> None:
    let_go(plan=put(instance))
    assert in_force() is None


def test_old_plans_are_forgotten_but_those_to_which_one_returns(instance: Instance) -> None:
    first = put(instance)
    put(instance)
    put(instance, instead_of=first)
    assert prune() == 0
    Plan.objects.bulk_create(Plan(state=PlanState.REPLACED) for _ in range(KEPT - 1))
    prune()
    assert Plan.objects.count() == KEPT + 1
    assert Plan.objects.filter(pk=first.pk).exists()


def test_plan_remembers_what_was_given_back_and_what_others_held(instance: Instance) -> None:
    row = Gpu.objects.create(node=instance.node, index=1, name="RTX 3090", given_back=True)
    process = wire.GpuProcess(pid=5, name="Xorg", used_bytes=GIB)
    seen(gpus=(gpu(processes=(process,)),))
    plan = make_plan(state=PlanState.REPLACED)
    plan = put(instance)
    assert (plan.without, plan.others) == ([row.pk], {"rog/0": {"Xorg": GIB}})
