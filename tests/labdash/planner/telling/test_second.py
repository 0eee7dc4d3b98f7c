from dataclasses import replace

import pytest

from labdash.planner.lab import Node
from labdash.planner.telling.second import lines_of, second_instance, shared_folder
from tests.planning.labs import card, gpu_node, mac


def node(url: str = "", name: str = "rog:11434") -> Node:
    made = gpu_node("rog", 4, 4)
    return replace(made, instances=(replace(made.instances[0], url=url, name=name),))


def test_it_takes_the_next_port_and_all_that_the_first_has() -> None:
    made = second_instance(node("http://10.0.0.5:11434"), (1,))
    assert (made.name, made.url, made.gpus) == ("rog:11435", "http://10.0.0.5:11435", (1,))
    assert lines_of(node("http://10.0.0.5:11434"), made) == (
        "OLLAMA_HOST=0.0.0.0:11435", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=1",
        "OLLAMA_VULKAN=0", "OLLAMA_NOPRUNE=1",
    )  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_it_listens_where_the_first_one_does(host: str) -> None:
    there = node(f"http://{host}:11500/")
    assert lines_of(there, second_instance(there, (0,)))[0] == f"OLLAMA_HOST={host}:11501"


def test_it_is_named_as_its_siblings_are() -> None:
    assert second_instance(node(name="rog/ollama"), (0,)).name == "rog/11435"


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    there = node()
    both = replace(
        there, instances=(*there.instances, replace(there.instances[0], name="rog:11435"))
    )
    assert second_instance(both, (0,)).name == "rog:11436"


@pytest.mark.parametrize(
    ("vendor", "line"),
    [("amd", "ROCR_VISIBLE_DEVICES=0"), ("intel", "GGML_VK_VISIBLE_DEVICES=0")],
)
def test_other_makers_have_variables_of_their_own(vendor: str, line: str) -> None:
    cards = (card(0, 4, vendor=vendor),)
    there = replace(gpu_node("rog", 4), cards=cards)
    assert lines_of(there, second_instance(there, (0,)))[1:] == (line, "OLLAMA_NOPRUNE=1")


def test_a_mac_and_a_machine_without_a_gpu_need_none() -> None:
    for there in (mac("mini", 16), gpu_node("old")):
        assert len(lines_of(there, second_instance(there, there.instances[0].gpus))) == 2


def test_a_shared_folder_is_tidied_by_the_first_server_alone() -> None:
    (first,) = node().instances
    told = shared_folder(first)
    assert "half downloaded files of another server" in told
    assert "OLLAMA_NOPRUNE=1 keeps the new from that, and rog:11434 goes on tidying up" in told
    assert "restart it only while none downloads" in told
    assert told.endswith("For a folder of its own leave that line out.")


@pytest.mark.parametrize(("value", "tidies"), [("1", False), ("true", False), ("0", True)])
def test_a_first_server_that_keeps_files_already_may_start_at_any_time(
    value: str, *, tidies: bool
) -> None:
    first = replace(node().instances[0], env={"OLLAMA_NOPRUNE": value})
    assert ("tidying up" in shared_folder(first)) is tidies
