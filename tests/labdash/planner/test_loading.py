"""What comes of several loads on one node."""

from dataclasses import replace

import pytest

from labdash.planner.lab import Deployment, Node
from labdash.planner.loading import Conflict, Pick, Settled, settle
from labdash.planner.placement import choices
from labdash.planner.plan import Choice
from tests.labdash.planner.small_labs import (
    GIB,
    MIB,
    card,
    deployment,
    instance,
    lab,
    node,
    variant,
)

Q8 = variant("qwen3:8b")
Q14 = variant("qwen3:14b")
SMALL = variant("llama3.2:3b")


def first(
    where: Node, wanted: Deployment, *, form: str = "gpu", device: str | None = None
) -> Choice:
    """Return the best choice of a form, on a device where one is named."""
    return next(
        each
        for each in choices(lab(where), wanted)
        if each.form == form and (device is None or device in each.bytes)
    )


def pick(where: Node, wanted: Deployment, **how: str) -> Pick:
    """Pick the best choice of a deployment on a node."""
    return Pick(deployment=wanted, replica=0, choice=first(where, wanted, **how))


def settled(where: Node, *picks: Pick) -> Settled:
    found = settle(where, picks)
    assert isinstance(found, Settled), found
    return found


def conflict(where: Node, *picks: Pick) -> Conflict:
    found = settle(where, picks)
    assert isinstance(found, Conflict), found
    return found


def chat(name: str, *variants: object, **facts: object) -> Deployment:
    known = {"ctx_floor": 8192, "ctx_wish": 8192, **facts}
    return deployment(*variants, name=name, **known)  # type: ignore[arg-type]


def test_residents_add_up_on_their_gpu() -> None:
    where = node("rog", 24.0)
    picks = [pick(where, chat("a", Q8)), pick(where, chat("b", SMALL))]
    found = settled(where, *picks)
    assert found.devices["rog/0"] == sum(each.choice.bytes["rog/0"] for each in picks)


def test_residents_that_do_not_fit_together_are_at_odds() -> None:
    where = node("rog", 16.0)
    found = conflict(where, pick(where, chat("a", Q8)), pick(where, chat("b", Q14)))
    assert (found.limit, found.device, found.between) == ("gpu", "rog/0", ("a", "b"))
    assert found.short_bytes is not None
    assert found.short_bytes > 0


def test_the_order_of_picks_does_not_matter() -> None:
    where = node("rog", 24.0)
    picks = [pick(where, chat(name, each)) for name, each in (("a", Q8), ("b", SMALL))]
    assert settle(where, picks) is settle(where, picks[::-1])


def test_what_bears_little_before_it_is_loaded_first() -> None:
    # Ollama takes the 8b for 6 GiB, so that it wants 7.4 GiB free; the 3b wants 2.7 free.
    where = node("rog", 10.5)
    found = settled(where, pick(where, chat("a", SMALL)), pick(where, chat("b", Q8)))
    assert [(each.pick.deployment.name, each.load_order) for each in found.loads] == [
        ("b", 1),
        ("a", 2),
    ]


# A cache of 4 bits, of which Ollama's own reckoning knows nothing: it takes the 3b at 96k for 12.4
# GiB, so wants 15.5 free, though 5.6 are enough, and wants 12.0 for the 14b, of 8.8 GiB.
SMALL_CACHE = {"OLLAMA_KV_CACHE_TYPE": "q4_0"}
LONG = {"ctx_floor": 98_304, "ctx_wish": 98_304}


def test_nothing_is_loaded_that_would_drive_out_a_resident() -> None:
    where = node("rog", 17.5, env=SMALL_CACHE)
    found = conflict(where, pick(where, chat("long", SMALL, **LONG)), pick(where, chat("a", Q14)))
    assert (found.limit, found.device) == ("eviction", "rog/0")
    assert "unload" in found.text


def test_the_load_that_is_not_compared_is_the_one_that_could_not_pass() -> None:
    where = node("rog", 18.0, env=SMALL_CACHE)
    found = settled(where, pick(where, chat("a", Q14)), pick(where, chat("long", SMALL, **LONG)))
    assert [each.pick.deployment.name for each in found.loads] == ["long", "a"]


def test_old_engines_reckon_with_what_really_fits() -> None:
    old = instance("rog", 1, SMALL_CACHE, version="0.20.1", build=6900)
    where = node("rog", 17.5, instances=(old,))
    assert settled(where, pick(where, chat("long", SMALL, **LONG)), pick(where, chat("a", Q14)))


def test_the_first_load_of_a_server_is_not_compared() -> None:
    where = node("rog", 8.0)
    wanted = chat("a", SMALL, ctx_floor=32_768, ctx_wish=32_768)
    assert first(where, wanted).predicted_bytes > 0.8 * 7 * GIB * 0.7
    assert settled(where, pick(where, wanted)).loads[0].load_order == 1


def test_on_demand_ones_take_turns_and_the_largest_counts() -> None:
    where = node("rog", 16.0)
    picks = [
        pick(where, chat(name, each, residency="on-demand"))
        for name, each in (("a", Q8), ("b", Q14))
    ]
    found = settled(where, *picks)
    assert found.devices["rog/0"] == max(each.choice.bytes["rog/0"] for each in picks)


def test_on_demand_ones_of_two_servers_may_meet() -> None:
    servers = (instance("rog", 1), instance("rog", 1, name="rog:11435"))
    where = node("rog", 16.0, instances=servers)
    one, other = chat("a", Q8, residency="on-demand"), chat("b", Q14, residency="on-demand")
    second = next(c for c in choices(lab(where), other) if c.instance == "rog:11435")
    picks = [pick(where, one), Pick(deployment=other, replica=0, choice=second)]
    assert conflict(where, *picks).limit == "gpu"


def test_a_guest_must_not_drive_out_a_resident() -> None:
    where = node("rog", 16.0, env=SMALL_CACHE)
    guest = chat("guest", SMALL, residency="on-demand", **LONG)
    found = conflict(where, pick(where, chat("stays", Q8)), pick(where, guest))
    assert (found.limit, found.between) == ("eviction", ("guest", "stays"))


@pytest.mark.parametrize(("room_gib", "num_gpu"), [(8.6, None), (8.1, 17)])
def test_a_guest_beside_another_is_not_divided_for_the_margin(
    room_gib: float, num_gpu: int | None
) -> None:
    # Beside the 8b, of 5.9 GiB, Ollama lets the 1b in, of 1.4: it wants 1.2 to be free.
    where = node("rog", room_gib)
    tiny = chat("tiny", variant("llama3.2:1b"), residency="on-demand")
    found = settled(where, pick(where, chat("big", Q8, residency="on-demand")), pick(where, tiny))
    loads = {each.pick.deployment.name: each.choice.num_gpu for each in found.loads}
    assert loads == {"big": None, "tiny": num_gpu}


def test_a_guest_that_ollama_takes_for_too_small_is_at_odds_with_another() -> None:
    where = node("rog", 7.18)
    tiny = chat("tiny", variant("llama3.2:1b"), residency="on-demand")
    found = conflict(where, pick(where, chat("big", Q8, residency="on-demand")), pick(where, tiny))
    assert (found.limit, found.between) == ("eviction", ("big", "tiny"))


def test_guests_never_meet_where_a_server_holds_one_model_at_once() -> None:
    where = node("rog", 7.18, env={"OLLAMA_MAX_LOADED_MODELS": "1"})
    tiny = chat("tiny", variant("llama3.2:1b"), residency="on-demand")
    found = settled(where, pick(where, chat("big", Q8, residency="on-demand")), pick(where, tiny))
    assert {each.choice.num_gpu for each in found.loads} == {None}


def test_one_runner_serves_two_deployments_of_the_same_choice() -> None:
    where = node("rog", 12.0)
    one, other = chat("a", Q8), chat("b", Q8)
    choice = first(where, one)
    found = settled(where, pick(where, one), Pick(deployment=other, replica=0, choice=choice))
    assert [each.shares for each in found.loads] == [None, "a"]
    assert found.devices["rog/0"] == choice.bytes["rog/0"]


def test_one_runner_has_one_context() -> None:
    where = node("rog", 24.0)
    longer = chat("b", Q8, ctx_floor=16_384, ctx_wish=16_384)
    assert conflict(where, pick(where, chat("a", Q8)), pick(where, longer)).limit == "runner"


def test_replicas_need_servers_of_their_own() -> None:
    where = node("rog", 24.0, 24.0)
    wanted = chat("a", Q8, replicas=2)
    picks = [
        Pick(deployment=wanted, replica=n, choice=first(where, wanted, device=f"rog/{n}"))
        for n in range(2)
    ]
    assert conflict(where, *picks).limit == "runner"


def test_a_server_holds_no_more_than_it_may() -> None:
    where = node("rog", 24.0, env={"OLLAMA_MAX_LOADED_MODELS": "1"})
    assert conflict(where, pick(where, chat("a", Q8)), pick(where, chat("b", SMALL))).limit == (
        "runner"
    )


def test_the_disk_takes_each_file_once() -> None:
    size = Q8.file_bytes or 0
    where = node("rog", 24.0, 24.0, disk_free_bytes=size + MIB)
    picks = [pick(where, chat("a", Q8)), pick(where, chat("b", Q8))]
    assert isinstance(settle(where, picks), Settled)
    assert conflict(where, picks[0], pick(where, chat("c", SMALL))).limit == "disk"


def test_those_kept_apart_share_no_device() -> None:
    where = node("rog", 24.0, 24.0)
    wary = chat("a", Q8, keep_apart=frozenset({"b"}))
    one, other = pick(where, wary, device="rog/0"), chat("b", SMALL)
    assert conflict(where, one, pick(where, other, device="rog/0")).limit == "apart"
    assert settled(where, one, pick(where, other, device="rog/1"))


def test_shared_memory_counts_for_gpu_and_ram_together() -> None:
    where = node(
        "mac",
        cards=(card(24.0, vendor="apple", sm_count=None, speed_class="apple"),),
        instances=(instance("mac", 1),),
        ram_bytes=9 * GIB,
        unified=True,
    )
    one, other = pick(where, chat("a", Q8)), pick(where, chat("b", SMALL))
    assert settled(where, one).devices["mac/cpu"] < GIB
    roomy = replace(where, ram_bytes=32 * GIB)
    assert settled(roomy, pick(roomy, chat("a", Q8)), pick(roomy, chat("b", SMALL)))
    assert conflict(where, one, other).limit == "ram"


def test_a_division_follows_what_is_free_at_the_load() -> None:
    where = node("rog", 24.0, 24.0)
    big = deployment(variant("llama3.3:70b", "Q3_K_M"), name="big", ctx_wish=8192)
    alone = first(where, big, form="gpus")
    found = conflict(where, pick(where, big, form="gpus"), pick(where, chat("a", Q14)))
    assert found.limit in ("gpu", "eviction")
    beside = settled(where, pick(where, big, form="gpus"), pick(where, chat("a", SMALL)))
    assert beside.loads[0].choice.layers == alone.layers


@pytest.mark.parametrize("reserve", [0.0, 7.5])
def test_an_owners_reserve_is_left_alone(reserve: float) -> None:
    kept = (card(16.0, reserve_bytes=int(reserve * GIB)),)
    where = node("rog", 16.0, cards=kept)
    found = settle(where, [pick(where, chat("a", Q8)), pick(where, chat("b", SMALL))])
    assert isinstance(found, Conflict if reserve else Settled)
