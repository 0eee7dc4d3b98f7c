from dataclasses import replace

import pytest

from labdash.planner.lab import Deployment, Lab
from labdash.planner.loading import Pick, Settled, settle
from labdash.planner.placement import choices
from labdash.planner.plan import Choice, Plan, Refusal, WayOut
from labdash.planner.telling import refusals
from labdash.planner.telling.near import Search
from labdash.planner.telling.refusals import with_refusals
from labdash.planner.telling.stage import Stage
from labdash.planner.what_if import with_env
from tests.planning.choices import packed, placed, plan_of, refused
from tests.planning.labs import GIB, gpu_node, small_lab, want
from tests.planning.refusals import BIG, SMALL, copies, kinds, node, refusal, smaller, way


def test_a_full_card_is_told_with_all_that_holds_it() -> None:
    found = refusal(node("rog", 11, reserve_bytes=GIB), beside=(SMALL,))
    assert found.limit == "gpu"
    assert found.text == (
        "Q5_K_M at 16k needs 7.4 GiB on one GPU; rog/0 has 5.1 free of 11.0"
        " (0.5 others, 1.0 kept for its owner, 4.4 small)."
    )
    assert found.short_bytes is not None
    assert abs(found.short_bytes - int(2.3 * GIB)) < 0.1 * GIB


def test_the_place_that_lacks_least_is_told() -> None:
    found = refusal(node("rog", 10), node("tower", 11), wanted=BIG, beside=(copies(2),))
    assert "tower/0 has" in found.text


def test_less_context_or_a_smaller_quant_is_offered_where_it_fits() -> None:
    found = refusal(node("rog", 8.5), wanted=replace(BIG, variants=BIG.variants[1:]))
    assert way(found, "ctx").text == "Q5_K_M at 12k fits on rog/0."
    assert way(found, "ctx").value == 12288
    assert way(found, "quant").text == "Q4_K_M at 16k fits on rog/0."
    assert kinds(found)[:2] == ["ctx", "quant"]


def test_both_are_offered_where_neither_alone_is_enough() -> None:
    found = refusal(node("rog", 6.3), wanted=replace(BIG, variants=BIG.variants[:1]))
    assert "ctx" not in kinds(found)
    assert way(found, "quant").text == "Q3_K_M at 6k fits on rog/0."


def test_another_cache_type_is_offered_with_its_lines() -> None:
    wanted = replace(BIG, variants=BIG.variants[1:])
    found = refusal(node("rog", 8.5), wanted=wanted)
    assert way(found, "kv_type").text == (
        "With OLLAMA_KV_CACHE_TYPE=q8_0 and OLLAMA_FLASH_ATTENTION=1 on rog:11434 it fits on rog/0."
    )
    forbidden = replace(wanted, kv_types=("f16",))
    assert "kv_type" not in kinds(refusal(node("rog", 8.5), wanted=forbidden))


def test_a_cache_type_that_another_deployment_must_not_have_is_not_offered() -> None:
    strict = want("strict", "llama3.2:1b", ("Q8_0",), (2048, 2048), priority=1, kv_types=("f16",))
    assert "kv_type" in kinds(refusal(node("rog", 9.7), beside=(replace(strict, kv_types=None),)))
    assert "kv_type" not in kinds(refusal(node("rog", 9.7), beside=(strict,)))


def test_layers_on_the_cpu_are_offered_with_their_speed() -> None:
    found = way(refusal(node("rog", 8)), "offload")
    assert isinstance(found.value, int)
    assert found.text.startswith(f"With {found.value} of 33 layers on the CPU it fits on rog/0, at")
    assert found.text.endswith("tokens/s.")


def test_less_speed_is_offered_where_speed_binds() -> None:
    wanted = replace(BIG, min_tokens_per_s=300.0)
    found = refusal(node("rog", 24), wanted=wanted)
    assert found.limit == "speed"
    assert way(found, "speed").text.endswith("where at least 300 tokens/s are asked for.")


def test_another_node_is_offered_where_pin_or_nodes_bind() -> None:
    pinned = replace(BIG, pin="rog/0")
    assert way(refusal(node("rog", 6), node("tower", 24), wanted=pinned), "where").text == (
        "It fits on tower/0, which its pin leaves out."
    )
    named = replace(BIG, nodes=frozenset({"rog"}))
    assert way(refusal(node("rog", 6), node("tower", 24), wanted=named), "where").value == "tower"


def test_giving_up_another_deployment_is_offered_unless_it_is_more_important() -> None:
    less = replace(SMALL, name="less", priority=3)
    here = Lab(nodes=(node("rog", 11),), deployments=(less, BIG))
    taken = placed(less, choices(here, less)[0])
    plan = plan_of(taken, refusals=(refused(BIG),))
    (found,) = with_refusals(here, plan).refusals
    assert way(found, "end").text == "Without less it fits on rog/0."
    assert "end" not in kinds(refusal(node("rog", 11), beside=(SMALL,)))


def test_demands_on_the_server_are_told() -> None:
    found = refusal(node("rog", 24), wanted=replace(BIG, kv_types=("q4_0",)))
    assert found.limit == "instance"
    assert way(found, "kv_type").text == (
        "With the settings of rog:11434 it fits on rog/0: cache type f16 and 1 slot."
    )
    slots = refusal(node("rog", 24), wanted=replace(BIG, parallel=4))
    assert way(slots, "instance").value == "rog:11434"


def test_a_second_server_is_offered_where_one_runner_binds() -> None:
    wanted = replace(BIG, name="again", ctx_floor=8192, ctx_wish=8192, variants=BIG.variants[1:])
    first = replace(wanted, name="first", priority=1, ctx_floor=16384, ctx_wish=16384)
    found = refusal(node("rog", 24), wanted=wanted, beside=(first,))
    assert found.limit == "runner"
    assert way(found, "instance").text == "With a second Ollama on rog it fits on rog/0."


def test_a_second_server_is_offered_too_where_another_machine_lacks_memory() -> None:
    small = replace(SMALL, replicas=2, min_tokens_per_s=20.0)
    full = want("full", "qwen3:8b", ("Q8_0",), (8192, 8192), pin="tower/0", priority=1)
    found = refusal(node("rog", 24), node("tower", 12), wanted=small, beside=(full,))
    assert found.limit == "gpu"
    assert way(found, "instance").text == "With a second Ollama on rog it fits on rog/0."


def test_a_model_that_nothing_is_known_of_has_no_way_out() -> None:
    found = refusal(node("rog", 24), wanted=replace(BIG, variants=()))
    assert (found.limit, found.nearest) == ("quant", ())


def test_what_the_search_has_overlooked_is_told_so() -> None:
    here = Lab(nodes=(node("rog", 24),), deployments=(BIG,))
    (found,) = with_refusals(here, plan_of(refusals=(refused(BIG),))).refusals
    assert found.limit == "lost"
    assert found.text.startswith("Q5_K_M at 16k has room on rog/0,")


def test_ram_is_told_with_its_numbers() -> None:
    old = replace(gpu_node("old", ram_gib=12), ram_used_bytes=5 * GIB)
    found = refusal(old, wanted=replace(BIG, offload_allowed=True))
    assert found.limit == "ram"
    assert "of RAM" in found.text


def settles(here: Lab, plan: Plan, wanted: Deployment, choice: Choice, out: str = "") -> bool:
    """Try a choice beside a plan, without the code under test."""
    picks = [
        Pick(deployment=each.deployment, replica=each.replica, choice=each.choice)
        for each in plan.placements
        if each.choice.node == choice.node and out not in (each.deployment.name, each.shares)
    ]
    there = next(each for each in here.nodes if each.name == choice.node)
    return isinstance(
        settle(there, [*picks, Pick(deployment=wanted, replica=9, choice=choice)]), Settled
    )


def changed_by(found: WayOut, wanted: Deployment) -> Deployment:
    """Change what is wanted as a way out says."""
    match found.kind, found.value:
        case "ctx", int(ctx):
            return replace(wanted, ctx_floor=ctx, ctx_wish=ctx)
        case "quant", quant:
            lower = (each for each in smaller(wanted) if each.quant == quant)
            ctx = int(found.text.split(" at ")[1].split("k ")[0]) * 1024
            return replace(wanted, variants=tuple(lower), ctx_floor=ctx, ctx_wish=ctx)
        case "offload", _:
            return replace(wanted, offload_allowed=True)
        case "speed", _:
            return replace(wanted, min_tokens_per_s=None)
        case "where", _:
            return replace(wanted, pin=None, nodes=frozenset())
    met = str(found.value).split(",") if found.kind == "apart" else []
    return replace(wanted, keep_apart=wanted.keep_apart - set(met))


def without_fear(plan: Plan, wanted: Deployment) -> Plan:
    """Let nobody keep apart from one."""
    placements = (
        replace(
            each,
            deployment=replace(
                each.deployment, keep_apart=each.deployment.keep_apart - {wanted.name}
            ),
        )
        for each in plan.placements
    )
    return replace(plan, placements=tuple(placements))


@pytest.mark.parametrize("seed", range(16))
def test_every_way_out_works(seed: int) -> None:
    here = small_lab(seed)
    plan = packed(here)
    for found in with_refusals(here, plan, smaller=smaller).refusals:
        for each in found.nearest:
            if each.kind in ("kv_type", "instance", "disk"):
                continue
            wanted = changed_by(each, found.deployment)
            out = str(each.value) if each.kind == "end" else "nobody"
            beside = without_fear(plan, wanted) if each.kind == "apart" else plan
            options = choices(here, wanted)
            assert any(settles(here, beside, wanted, choice, out) for choice in options), each


def test_a_cache_type_offered_for_a_lone_deployment_works() -> None:
    wanted = replace(BIG, variants=BIG.variants[1:])
    changed = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}
    here = with_env(Lab(nodes=(node("rog", 8.5),), deployments=(wanted,)), "rog:11434", changed)
    assert packed(here).placements


def test_a_context_beyond_the_trained_one_is_answered_with_the_longest_that_fits() -> None:
    wanted = replace(BIG, ctx_floor=200_000, ctx_wish=200_000)
    found = refusal(node("rog", 48), wanted=wanted)
    assert found.limit == "context"
    assert [(each.kind, each.value) for each in found.nearest] == [("ctx", 131_072)]
    assert refusal(node("rog", 4), wanted=wanted).nearest == ()


def test_a_server_that_may_hold_no_more_models_is_what_binds_whatever_its_card_lacks() -> None:
    full = node("rog", 7)
    only = replace(full.instances[0], env={"OLLAMA_MAX_LOADED_MODELS": "1"})
    wanted = replace(BIG, offload_allowed=True)
    found = refusal(replace(full, instances=(only,)), wanted=wanted, beside=(SMALL,))
    assert (found.limit, found.short_bytes) == ("runner", None)
    assert found.text.endswith(" cannot be on rog:11434: rog:11434 holds 1 model at once at most.")


def test_a_server_that_lacks_only_memory_is_nearer_than_one_that_may_hold_no_more() -> None:
    full = node("rog", 24)
    only = replace(full.instances[0], env={"OLLAMA_MAX_LOADED_MODELS": "1"})
    beside = (replace(SMALL, pin="rog/0"), replace(SMALL, name="there", pin="tower/0"))
    found = refusal(replace(full, instances=(only,)), node("tower", 11), beside=beside)
    assert found.limit == "gpu"
    assert "tower/0 has" in found.text


def test_copies_that_lack_the_same_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    class Counted(Search):
        def __init__(self, stage: Stage, refusal: Refusal) -> None:
            looked.append(refusal.replica)
            super().__init__(stage, refusal)

    monkeypatch.setattr(refusals, "Search", Counted)
    here = Lab(nodes=(node("rog", 11), node("tower", 6)), deployments=(replace(BIG, replicas=4),))
    found = with_refusals(here, packed(here)).refusals
    assert [each.replica for each in found] == [1, 2, 3]
    assert len({(each.limit, each.text, each.nearest) for each in found}) == 1
    assert looked == [1]
