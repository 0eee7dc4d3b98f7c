from dataclasses import replace

from labdash.planner.lab import Instance, Lab, Running
from labdash.planner.plan import Move, Placement
from labdash.planner.telling.moves import moves
from tests.planning.choices import choice, gpu_bytes, placed, plan_of
from tests.planning.labs import GIB, gpu_node, variant, want

Q4 = variant("qwen3:14b", "Q4_K_M")
Q6 = variant("qwen3:14b", "Q6_K")
CHAT = want("chat", "qwen3:14b", ("Q4_K_M",), (4096, 8192))


def lab(*running: Running, installed: tuple[str, ...] = (Q4.name,), **changes: object) -> Lab:
    node = gpu_node("rog", 4, 4)
    only = replace(node.instances[0], running=running, installed=installed)
    only = replace(only, **changes)  # type: ignore[arg-type]
    return Lab(nodes=(replace(node, instances=(only,)),), deployments=(CHAT,))


def found(here: Lab, *placements: Placement) -> list[tuple[str, str, int]]:
    return [(each.kind, each.model, each.bytes) for each in moves(here, plan_of(*placements))]


def only_move(here: Lab, *placements: Placement) -> Move:
    (move,) = moves(here, plan_of(*placements))
    return move


def test_a_missing_file_is_pulled_and_then_loaded() -> None:
    missing = choice(Q4, download_bytes=9 * GIB)
    listed = moves(lab(installed=()), plan_of(placed(CHAT, missing)))
    assert [each.text for each in listed] == [
        "rog:11434 downloads qwen3:14b-q4_k_m, 9.0 GiB.",
        "rog:11434 loads labdash/chat: Q4_K_M at 8k, 10.0 GiB on rog/0.",
    ]
    assert listed[0].bytes == 9 * GIB


def test_a_missing_file_of_unknown_size_is_pulled_too() -> None:
    assert found(lab(installed=()), placed(CHAT, choice(Q4)))[0] == ("pull", Q4.name, 0)


def test_a_file_for_two_deployments_of_a_node_is_pulled_once() -> None:
    missing = choice(Q4, download_bytes=GIB)
    other = replace(CHAT, name="other")
    shared = replace(placed(other, missing), shares="chat")
    kinds = [kind for kind, _, _ in found(lab(installed=()), placed(CHAT, missing), shared)]
    assert kinds == ["pull", "load"]


def test_what_runs_as_planned_needs_no_move() -> None:
    running = Running(name="labdash/chat:latest", ctx=8192, gpu_bytes=gpu_bytes(9.8))
    here = lab(running, blobs={"labdash/chat:latest": Q4.digest})
    assert found(here, placed(CHAT, choice(Q4))) == []


def test_the_base_model_in_memory_is_loaded_anew_by_its_alias() -> None:
    move = only_move(lab(Running(name=Q4.name, ctx=8192)), placed(CHAT, choice(Q4)))
    assert (move.kind, move.bytes) == ("change", 10 * GIB + GIB // 2)
    assert move.text == (
        "qwen3:14b-q4_k_m runs on rog:11434 as planned; it is loaded anew as labdash/chat, the"
        " name that keeps its options."
    )


def test_another_context_and_another_gpu_load_it_anew() -> None:
    running = Running(name=Q4.name, ctx=4096, gpu_bytes={1: GIB})
    move = only_move(lab(running), placed(CHAT, choice(Q4)))
    assert (move.kind, move.deployment, move.bytes) == ("change", "chat", 10 * GIB + GIB // 2)
    assert move.text == (
        "rog:11434 loads qwen3:14b-q4_k_m anew: 8k instead of 4k and rog/0 instead of rog/1."
    )


def test_an_alias_of_other_weights_goes_before_the_new_one_is_loaded() -> None:
    name = "labdash/chat:latest"
    running = Running(name=name, ctx=8192, gpu_bytes=gpu_bytes(9.5))
    here = lab(running, installed=(Q4.name, Q6.name, name), blobs={name: Q6.digest})
    assert found(here, placed(CHAT, choice(Q4))) == [
        ("unload", name, int(9.5 * GIB)),
        ("load", "labdash/chat", 10 * GIB + GIB // 2),
    ]


def test_a_resident_that_nothing_planned_uses_is_unloaded() -> None:
    running = Running(name="old:7b", ctx=4096, gpu_bytes={0: GIB, 1: 2 * GIB})
    move = only_move(lab(running))
    assert (move.kind, move.deployment, move.bytes) == ("unload", None, 3 * GIB)
    assert move.text == (
        "old:7b leaves the memory of rog:11434 and leaves 3.0 GiB free on rog/0 and rog/1: the plan"
        " does not use it there."
    )


def test_a_model_that_goes_by_itself_is_left_alone() -> None:
    assert found(lab(Running(name="old:7b", ctx=4096, stays=False))) == []


def test_a_node_that_is_away_is_left_alone() -> None:
    here = lab(Running(name="old:7b", ctx=4096))
    away = replace(here.nodes[0], away="it sleeps")
    assert found(replace(here, nodes=(away,))) == []


def test_a_deployment_that_is_placed_elsewhere_is_named_with_its_unload() -> None:
    running = Running(name="labdash/chat:latest", ctx=8192)
    here = lab(running)
    tower = gpu_node("tower", 5)
    both = replace(here, nodes=(*here.nodes, tower))
    elsewhere = placed(CHAT, choice(Q4, "tower/0", download_bytes=GIB))
    listed = moves(both, plan_of(elsewhere))
    assert [(each.kind, each.deployment, each.instance) for each in listed] == [
        ("pull", "chat", "tower:11434"),
        ("unload", "chat", "rog:11434"),
        ("load", "chat", "tower:11434"),
    ]


def test_on_demand_ones_are_neither_loaded_nor_unloaded() -> None:
    lazy = replace(CHAT, residency="on-demand")
    assert found(lab(), placed(lazy, choice(Q4))) == []
    assert found(lab(Running(name=Q4.name, ctx=4096)), placed(lazy, choice(Q4))) == []


def test_loads_come_in_their_order() -> None:
    second = replace(CHAT, name="second")
    late = placed(CHAT, choice(Q4), order=2)
    early = placed(second, choice(Q6, "rog/1"), order=1)
    here = lab(installed=(Q4.name, Q6.name))
    assert [name for _, name, _ in found(here, late, early)] == ["labdash/second", "labdash/chat"]


def test_a_model_on_the_cpu_is_loaded_to_the_cpu() -> None:
    on_cpu = choice(Q4, form="cpu", num_gpu=0, bytes={}, layers={"rog/cpu": 41})
    assert only_move(lab(), placed(CHAT, on_cpu)).text == (
        "rog:11434 loads labdash/chat: Q4_K_M at 8k, 0.5 GiB on the CPU of rog."
    )


def test_an_instance_without_digests_is_told_by_names() -> None:
    running = Running(name="labdash/chat", ctx=8192)
    only = Instance(name="rog:11434", version=None, build=10573, gpus=(0,), running=(running,))
    node = replace(gpu_node("rog", 4), instances=(only,))
    here = Lab(nodes=(node,), deployments=(CHAT,))
    assert [kind for kind, _, _ in found(here, placed(CHAT, choice(Q4)))] == ["pull"]
