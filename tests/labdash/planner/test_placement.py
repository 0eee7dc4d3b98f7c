"""Where a deployment can go in an empty lab."""

from dataclasses import replace
from typing import Any

import pytest

from labdash.planner.lab import Instance, Node, Running
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.overhead import Overhead
from labdash.planner.placement import choices, profiles
from labdash.planner.plan import Choice
from labdash.planner.score import satisfaction
from labdash.planner.settings import Gpu, Settings
from tests.labdash.planner.small_labs import (
    BUILD,
    GIB,
    MIB,
    card,
    deployment,
    instance,
    lab,
    node,
    variant,
)

Q14 = variant("qwen3:14b")
Q14_LARGE = variant("qwen3:14b", "Q8_0")
LLAMA_70B = variant("llama3.3:70b", "Q3_K_M")
CODER = variant("qwen3:30b")


def found(where: Node, *variants: Any, **wanted: Any) -> tuple[Choice, ...]:
    """Return the choices on one node."""
    return choices(lab(where), deployment(*(variants or (Q14,)), **wanted))


def forms(made: tuple[Choice, ...]) -> set[str]:
    return {each.form for each in made}


def test_bytes_are_those_of_the_memory_model() -> None:
    best = found(node("rog", 24.0))[0]
    gpu = Gpu(None, "nvidia", 82)
    settings = Settings(build=BUILD, ctx=best.ctx, gpus=(gpu,), dry_run=False)
    expected = estimate(Q14.model, settings)
    assert best.bytes == {
        "rog/0": expected.devices[0].total_bytes,
        "rog/cpu": expected.host.total_bytes,
    }
    assert best.layers == {"rog/0": 41}


def test_alike_cards_are_one_profile_with_a_member_each() -> None:
    made = profiles(lab(node("rog", 24.0, 24.0)), deployment(Q14))
    assert [member.gpus for member in made[0].members] == [(0,), (1,)]
    assert [member.main_gpu for member in made[0].members] == [0, 1]


def test_a_profile_gives_the_same_choice_each_time() -> None:
    made = profiles(lab(node("rog", 24.0, 24.0)), deployment(Q14))[0]
    there = made.at(made.members[1])
    assert there is made.at(made.members[1])
    assert (set(there.layers), there.main_gpu) == ({"rog/1"}, 1)
    assert sorted(there.bytes.values()) == sorted(made.choice.bytes.values())


def test_one_gpu_needs_no_pin() -> None:
    made = found(node("rog", 24.0))
    assert {(each.form, each.main_gpu, each.num_gpu) for each in made} == {("gpu", None, None)}


def test_a_pin_counts_as_the_server_does() -> None:
    turned = replace(instance("rog", 2), gpus=(1, 0))
    made = found(node("rog", 24.0, 24.0, instances=(turned,)))
    pins = {next(iter(each.layers)): each.main_gpu for each in made if each.form == "gpu"}
    assert pins == {"rog/1": 0, "rog/0": 1}


def test_the_best_come_first() -> None:
    wanted = deployment(Q14_LARGE, Q14)
    made = choices(lab(node("rog", 24.0)), wanted)
    fastest = max(each.tokens_per_s or 0 for each in made)
    points = [satisfaction(wanted, each, fastest=fastest) for each in made]
    assert points == sorted(points, reverse=True)
    assert (made[0].variant, made[0].ctx) == (Q14_LARGE, 32_768)


def test_contexts_go_from_floor_to_wish_in_round_steps() -> None:
    made = found(node("rog", 24.0), ctx_floor=10_000, ctx_wish=30_000)
    assert sorted(each.ctx for each in made) == [10_000, 12_288, 16_384, 24_576, 30_000]


def test_no_context_is_longer_than_the_trained_one() -> None:
    made = found(node("rog", 24.0), ctx_floor=32_768, ctx_wish=65_536)
    assert sorted(each.ctx for each in made) == [32_768, 40_960]


def test_no_choice_is_beaten_by_another_of_the_same_devices() -> None:
    wanted = deployment(Q14_LARGE, variant("qwen3:14b", "Q4_K_S"), Q14, offload_allowed=True)
    made = choices(lab(node("rog", 24.0)), wanted)
    fastest = max(each.tokens_per_s or 0 for each in made)

    def costs(each: Choice) -> tuple[int, ...]:
        points = satisfaction(wanted, each, fastest=fastest)
        sizes = (each.bytes[device] for device in sorted(each.bytes))
        return (-points, each.cpu_layers, *sizes, each.predicted_bytes, each.download_bytes)

    for one in made:
        rivals = [costs(other) for other in made if other.devices == one.devices]
        rivals.remove(costs(one))
        assert not any(all(a <= b for a, b in zip(r, costs(one), strict=True)) for r in rivals)


@pytest.mark.parametrize(
    ("wanted", "nodes"),
    [
        ({}, {"rog", "tower"}),
        ({"nodes": frozenset({"rog"})}, {"rog"}),
        ({"nodes": frozenset({"desk"})}, {"tower"}),
        ({"pin": "tower/0"}, {"tower"}),
        ({"kv_types": ("q8_0",)}, {"tower"}),
        ({"kv_types": ("f16", "q8_0")}, {"rog", "tower"}),
        ({"parallel": 2}, {"rog"}),
    ],
)
def test_only_places_that_are_wanted_are_taken(wanted: dict[str, Any], nodes: set[str]) -> None:
    places = lab(
        node("rog", 24.0, env={"OLLAMA_NUM_PARALLEL": "2"}),
        node("tower", 24.0, tags=("desk",), env={"OLLAMA_KV_CACHE_TYPE": "q8_0"}),
        node("away", 24.0, away="asleep"),
    )
    assert {each.node for each in choices(places, deployment(Q14, **wanted))} == nodes


def test_slots_multiply_the_cache() -> None:
    one = found(node("rog", 24.0), ctx_wish=8192)[0]
    two = found(node("rog", 24.0, env={"OLLAMA_NUM_PARALLEL": "2"}), ctx_wish=8192)[0]
    assert (one.parallel, two.parallel, two.ctx) == (1, 2, 8192)
    # 40 layers, 8 KV heads of 128, K and V, two bytes.
    assert two.bytes["rog/0"] - one.bytes["rog/0"] >= 8192 * 40 * 8 * 128 * 2 * 2


# -- the CPU


def test_without_leave_nothing_goes_to_the_cpu() -> None:
    assert forms(found(node("rog", 24.0))) == {"gpu"}
    assert found(node("mini")) == ()


def test_a_machine_without_gpu_serves_where_the_cpu_is_allowed() -> None:
    made = found(node("mini"), offload_allowed=True)
    assert {(each.form, each.num_gpu) for each in made} == {("cpu", 0)}
    assert made[0].layers == {"mini/cpu": 41}


def test_ram_of_unknown_speed_is_taken_as_slow() -> None:
    unknown = found(node("mini"), offload_allowed=True)[0].tokens_per_s
    slow = found(node("mini", ram_gbs=25.0), offload_allowed=True)[0].tokens_per_s
    assert unknown is not None
    assert slow is not None
    # 8.3 GiB a token at 60 % of 25 GB/s, and the layers' own time.
    assert 1.5 < unknown < slow


def test_as_many_layers_as_fit_go_to_the_gpu() -> None:
    made = found(node("rog", 8.0), offload_allowed=True, ctx_wish=8192)
    best = max((each for each in made if each.form == "partial"), key=lambda c: c.num_gpu or 0)
    room = 8 * GIB - best.margin_bytes
    a_layer = best.bytes["rog/0"] // (best.num_gpu or 1)
    assert room - 2 * a_layer < best.bytes["rog/0"] <= room
    assert best.layers == {"rog/0": best.num_gpu, "rog/cpu": 41 - (best.num_gpu or 0)}


def test_a_card_that_others_crowd_can_take_fewer_layers() -> None:
    made = found(node("rog", 24.0), offload_allowed=True, ctx_wish=8192)
    assert {each.num_gpu for each in made if each.form == "partial"} == {40, 30, 20, 10}


def test_experts_stay_on_the_cpu_where_that_is_faster() -> None:
    made = found(node("rog", 12.0), CODER, offload_allowed=True, ctx_wish=8192)
    left = next(each for each in made if each.form == "partial" and each.num_gpu is None)
    counted = next(each for each in made if each.form == "partial" and each.num_gpu)
    assert (left.tokens_per_s or 0) > (counted.tokens_per_s or 0)
    assert left.cpu_layers > 0
    assert sum(left.layers.values()) == 49


# -- several GPUs


def test_a_model_is_spread_only_where_no_gpu_would_do() -> None:
    assert "gpus" not in forms(found(node("rog", 24.0, 24.0), ctx_wish=8192))
    spread = found(node("rog", 24.0, 24.0, env={"OLLAMA_SCHED_SPREAD": "1"}), ctx_wish=8192)
    assert "gpus" in forms(spread)
    # 80 % of 24 GiB are less than the 20.4 that Ollama takes it for.
    tight = found(node("rog", 24.0, 24.0), Q14_LARGE, ctx_floor=32_768)
    assert forms(tight) == {"gpu", "gpus"}


def test_layers_are_spread_by_free_memory() -> None:
    (made,) = found(node("rog", 24.0, 24.0), LLAMA_70B, ctx_wish=8192)
    assert made.form == "gpus"
    assert made.layers == {"rog/0": 41, "rog/1": 40}
    assert (made.num_gpu, made.main_gpu) == (None, None)


def test_the_engine_divides_otherwise_where_the_usual_shares_break_a_margin() -> None:
    # By free memory the small card would get 14 layers and keep 200 MiB.
    (made,) = found(node("rog", 32.0, 8.0), LLAMA_70B, ctx_wish=8192)
    even = 81 * 8 / 40
    assert made.layers["rog/1"] < even
    assert made.margin_bytes < 1024 * MIB


def test_cards_of_two_makers_are_never_joined() -> None:
    cards = (card(24.0, 0), card(20.0, 1, vendor="amd", sm_count=None), card(24.0, 2))
    where = node("rog", 24.0, 20.0, 24.0, cards=cards)
    made = found(where, LLAMA_70B, ctx_wish=8192)
    assert {tuple(each.gpu_devices) for each in made} == {("rog/0", "rog/2")}
    # Number 0 is the NVIDIA card, which is freer than the AMD card of the same number.
    alone = {each.main_gpu: each.gpu_devices for each in found(where, ctx_wish=8192)}
    assert alone == {0: ("rog/0",), 1: ("rog/2",)}


def test_of_one_card_of_each_maker_the_freer_one_is_taken() -> None:
    cards = (card(16.0, 0), card(24.0, 1, vendor="amd", sm_count=None))
    where = node("rog", 16.0, 24.0, cards=cards)
    assert {(each.form, each.gpu_devices) for each in found(where)} == {("gpu", ("rog/1",))}


# -- old engines


def old(name: str, gpus: int) -> tuple[Instance, ...]:
    return (instance(name, gpus, version="0.20.1", build=6900),)


def test_an_old_engine_takes_the_freest_gpu_and_cannot_be_pinned() -> None:
    where = node("rog", 16.0, 24.0, instances=old("rog", 2))
    made = found(where)
    assert {(each.form, each.main_gpu, *each.gpu_devices) for each in made} == {
        ("gpu", None, "rog/1")
    }
    assert choices(lab(where), deployment(Q14, pin="rog/0")) == ()


def test_an_old_engine_joins_as_few_gpus_as_hold_all() -> None:
    where = node("rog", 24.0, 16.0, 24.0, instances=old("rog", 3))
    made = found(where, LLAMA_70B, ctx_wish=8192)
    assert {each.gpu_devices for each in made} == {("rog/0", "rog/2")}
    assert sum(made[0].layers.values()) == 81


def test_an_old_engine_keeps_less_free() -> None:
    reserve = {"OLLAMA_GPU_OVERHEAD": str(GIB)}
    plain = found(node("rog", 24.0, instances=old("rog", 1)))[0]
    more = instance("rog", 1, reserve, version="0.20.1", build=6900)
    assert plain.margin_bytes == 457 * MIB
    assert found(node("rog", 24.0, instances=(more,)))[0].margin_bytes == 457 * MIB + GIB


# -- margins


def test_an_owners_smaller_margin_switches_the_engines_off() -> None:
    tight = card(10.4, margin_bytes=256 * MIB)
    assert found(node("rog", 10.4), ctx_wish=8192) == ()
    (made,) = found(node("rog", 10.4, cards=(tight,)), ctx_wish=8192)
    assert (made.num_gpu, made.margin_bytes) == (41, 256 * MIB)


def test_an_owners_larger_margin_is_kept() -> None:
    wide = card(12.0, margin_bytes=3 * GIB)
    assert found(node("rog", 12.0), ctx_wish=8192)
    assert found(node("rog", 12.0, cards=(wide,)), ctx_wish=8192) == ()


def test_what_was_learned_of_a_card_counts() -> None:
    learned = card(24.0, learned=Overhead(500 * MIB, 100 * MIB, "learned"))
    plain = found(node("rog", 24.0))[0].bytes["rog/0"]
    more = found(node("rog", 24.0, cards=(learned,)))[0].bytes["rog/0"]
    assert more - plain == 600 * MIB - (45 + 3 * 82 + 22) * MIB


def test_a_projector_lies_on_the_gpu_with_its_margin() -> None:
    sees = variant("gemma3:12b", projector_bytes=800 * MIB, vision=True)
    blind = variant("gemma3:12b")
    with_it, without = (found(node("rog", 24.0), each)[0] for each in (sees, blind))
    assert with_it.bytes["rog/0"] - without.bytes["rog/0"] == (800 + 512) * MIB
    assert with_it.margin_bytes == GIB
    some = found(node("rog", 8.0), sees, offload_allowed=True, ctx_wish=8192)
    partial = next(each for each in some if each.form == "partial")
    assert partial.host_bytes > 1300 * MIB


# -- disk and what runs now


def test_what_is_installed_is_not_downloaded() -> None:
    has = instance("rog", 1, installed=("QWEN3:14B-q4_k_m",))
    assert found(node("rog", 24.0, instances=(has,)))[0].download_bytes == 0
    assert found(node("rog", 24.0))[0].download_bytes == Q14.file_bytes


def test_a_file_is_known_by_its_digest_too() -> None:
    known = variant("qwen3:14b", digest="sha256:abc")
    has = instance("rog", 1, installed=("mine:latest",), blobs={"mine:latest": "abc"})
    assert found(node("rog", 24.0, instances=(has,)), known)[0].download_bytes == 0


def test_what_no_disk_takes_is_left_out() -> None:
    where = node("rog", 24.0, disk_free_bytes=10 * GIB)
    assert {each.variant for each in found(where, Q14_LARGE, Q14)} == {Q14}


def test_weights_that_run_elsewhere_are_moved() -> None:
    runs = instance(
        "rog", 2, running=(Running(name="qwen3:14b-q4_k_m", ctx=8192, gpu_bytes={1: 9}),)
    )
    made = found(node("rog", 24.0, 24.0, instances=(runs,)))
    moved = {each.gpu_devices: each.moved_bytes for each in made}
    assert moved == {("rog/0",): Q14.model.weight_bytes, ("rog/1",): 0}


def test_shared_memory_holds_gpu_and_host_together() -> None:
    facts: dict[str, Any] = {"vendor": "apple", "sm_count": None, "speed_class": "apple"}
    where = node("mac", cards=(card(12.0, **facts),), instances=(instance("mac", 1),), unified=True)
    assert found(where, ctx_wish=8192)
    small = node(
        "mac", cards=where.cards, instances=where.instances, unified=True, ram_bytes=9 * GIB
    )
    assert found(small, ctx_wish=8192) == ()


def test_a_speed_that_is_not_known_is_no_speed_that_is_enough() -> None:
    blind = node("rog", cards=(card(24.0, bandwidth_gbs=None),), instances=(instance("rog", 1),))
    assert found(blind)[0].tokens_per_s is None
    assert found(blind, min_tokens_per_s=1.0) == ()


def test_embedding_models_take_a_text_in_one_batch() -> None:
    embeds = variant("qwen3-embedding:0.6b", "Q8_0", embedding=True)
    made = found(node("rog", 24.0), embeds, ctx_floor=1024, ctx_wish=8192)
    assert {each.ctx: each.num_batch for each in made}[8192] == 2048
    assert {each.ctx: each.num_batch for each in made}[1024] == 1024
