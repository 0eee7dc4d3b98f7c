from dataclasses import replace

import pytest

from labdash.planner import what_if
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Instance, Lab
from tests.planning.labs import card, gpu_node, mac, want

CHAT = want("chat", "qwen3:14b", ("Q4_K_M",), (4096, 8192))
OTHER = replace(CHAT, name="other")


def lab() -> Lab:
    return Lab(nodes=(gpu_node("rog", 4), mac("mini", 16)), deployments=(CHAT, OTHER))


def test_a_card_is_added_as_the_last_and_seen_by_those_that_see_all() -> None:
    node = gpu_node("rog", 4, 4, instances=2)
    first, second = node.instances
    node = replace(node, instances=(first, replace(second, gpus=(1,))))
    grown = what_if.with_card(Lab(nodes=(node,), deployments=()), "rog", card(0, 5)).nodes[0]
    assert [each.index for each in grown.cards] == [0, 1, 2]
    assert grown.cards[2].name == "NVIDIA GeForce RTX 4090"
    assert [each.gpus for each in grown.instances] == [(0, 1, 2), (1,)]


def test_a_node_without_a_card_gets_its_first() -> None:
    bare = Lab(nodes=(gpu_node("bare"),), deployments=())
    grown = what_if.with_card(bare, "bare", card(7, 3)).nodes[0]
    assert [each.index for each in grown.cards] == [0]
    assert grown.instances[0].gpus == (0,)


def test_no_card_goes_into_a_machine_of_one_memory() -> None:
    with pytest.raises(PlannerError, match="mini has one memory for CPU and GPU"):
        what_if.with_card(lab(), "mini", card(0, 5))


def test_variables_are_set_and_removed() -> None:
    once = what_if.with_env(lab(), "rog:11434", {"OLLAMA_NUM_PARALLEL": "2", "A": "1"})
    twice = what_if.with_env(once, "rog:11434", {"A": None})
    assert twice.homes["rog:11434"][1].env == {"OLLAMA_NUM_PARALLEL": "2"}
    assert twice.homes["mini:11434"][1].env == {}


def test_an_instance_is_added_under_a_name_of_its_own() -> None:
    second = Instance(name="rog:11435", version=None, build=10573, gpus=(0,))
    grown = what_if.with_instance(lab(), "rog", second)
    assert grown.homes["rog:11435"][0].name == "rog"
    with pytest.raises(PlannerError, match="there is an instance rog:11435 already"):
        what_if.with_instance(grown, "mini", second)


def test_files_are_removed_from_the_servers_of_a_node() -> None:
    (first,) = gpu_node("rog", 4).instances
    server = replace(first, installed=("a", "b"), blobs={"a": "sha256:aa", "b": "sha256:bb"})
    rog = replace(gpu_node("rog", 4), instances=(server,), disk_free_bytes=1)
    here = Lab(nodes=(rog,), deployments=())
    (after,) = what_if.without_files(here, "rog", ["a"], freed_bytes=2).nodes
    assert after.disk_free_bytes == 3
    (left,) = after.instances
    assert (left.installed, left.blobs) == (("b",), {"b": "sha256:bb"})


def test_a_node_sleeps_and_wakes() -> None:
    sleeping = what_if.asleep(lab(), "rog")
    assert [node.away for node in sleeping.nodes] == ["it sleeps", ""]
    assert what_if.awake(sleeping, "rog").nodes[0].away == ""


@pytest.mark.parametrize(
    ("floor", "wish", "found"),
    [
        (None, 32768, (4096, 32768)),
        (16384, None, (16384, 16384)),
        (None, 2048, (2048, 2048)),
        (8192, 16384, (8192, 16384)),
    ],
)
def test_a_context_is_asked_for(
    floor: int | None, wish: int | None, found: tuple[int, int]
) -> None:
    changed = what_if.with_ctx(lab(), "chat", floor=floor, wish=wish).deployments
    assert (changed[0].ctx_floor, changed[0].ctx_wish) == found
    assert changed[1] is OTHER


def test_a_deployment_is_added_under_a_name_of_its_own() -> None:
    more = what_if.with_deployment(replace(lab(), deployments=(OTHER,)), CHAT)
    assert [each.name for each in more.deployments] == ["other", "chat"]
    with pytest.raises(PlannerError, match="there is a deployment chat already"):
        what_if.with_deployment(more, CHAT)


def test_what_is_not_there_cannot_be_changed() -> None:
    with pytest.raises(PlannerError, match="no node is named nowhere"):
        what_if.asleep(lab(), "nowhere")
    with pytest.raises(PlannerError, match="no instance is named nowhere"):
        what_if.with_env(lab(), "nowhere", {})
    with pytest.raises(PlannerError, match="no deployment is named nobody"):
        what_if.with_ctx(lab(), "nobody", wish=1)


def test_the_lab_itself_stays_as_it_is() -> None:
    here = lab()
    what_if.with_card(here, "rog", card(0, 5))
    what_if.with_env(here, "rog:11434", {"A": "1"})
    assert len(here.nodes[0].cards) == 1
    assert here.homes["rog:11434"][1].env == {}
