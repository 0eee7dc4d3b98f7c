from dataclasses import replace

import pytest

from labdash.planner.lab import Card, Lab, Node
from labdash.planner.telling.parting import parted_lines, partings
from tests.planning.labs import card, gpu_node, mac


def node(*cards: Card, env: dict[str, str] | None = None) -> Node:
    made = gpu_node("rog", *([4] * len(cards)))
    server = replace(made.instances[0], env=env or {}, url="http://rog:11434")
    return replace(made, cards=cards, instances=(server,))


def alike(count: int, **facts: object) -> tuple[Card, ...]:
    return tuple(card(index, 4, **facts) for index in range(count))


def parts(on: Node) -> list[list[tuple[int, ...]]]:
    here = Lab(nodes=(on,), deployments=())
    return [[each.gpus for each in one.servers] for one in partings(here, on, on.instances[0])]


def lines(on: Node) -> tuple[str, ...]:
    here = Lab(nodes=(on,), deployments=())
    parting = next(partings(here, on, on.instances[0]))
    return parted_lines(parting, on.instances[0])


def test_two_gpus_are_parted_once() -> None:
    assert parts(node(*alike(2))) == [[(0,), (1,)]]


def test_one_gpu_is_not_parted() -> None:
    assert parts(node(*alike(1))) == []
    assert parts(mac("mini", 16)) == []


def test_alike_cards_stay_together_too() -> None:
    assert parts(node(card(0, 4), card(1, 1), card(2, 1))) == [
        [(0,), (1,), (2,)],
        [(0,), (1, 2)],
    ]


def test_four_alike_are_halved_too() -> None:
    assert parts(node(*alike(4))) == [
        [(0,), (1,), (2,), (3,)],
        [(0, 1), (2, 3)],
        [(0,), (1, 2, 3)],
    ]


def test_more_than_a_home_has_are_left_alone() -> None:
    assert parts(node(*alike(9))) == []


def test_cards_of_two_makers_are_left_alone_since_one_hides_the_other() -> None:
    assert parts(node(card(0, 4), card(1, 4, vendor="amd"))) == []


def test_a_split_that_is_set_by_hand_is_left_alone() -> None:
    assert parts(node(*alike(2), env={"LLAMA_ARG_TENSOR_SPLIT": "3,1"})) == []


def test_the_lab_has_the_new_servers_with_files_and_settings_of_the_old() -> None:
    on = node(*alike(2), env={"OLLAMA_NUM_PARALLEL": "2"})
    on = replace(on, instances=(replace(on.instances[0], installed=("qwen3:8b",)),))
    (found,) = partings(Lab(nodes=(on,), deployments=()), on, on.instances[0])
    assert found.lab.nodes[0].instances == found.servers
    assert [(each.name, each.url) for each in found.servers] == [
        ("rog:11434", "http://rog:11434"),
        ("rog:11435", "http://rog:11435"),
    ]
    assert {each.installed for each in found.servers} == {("qwen3:8b",)}
    assert all(each.env == {"OLLAMA_NUM_PARALLEL": "2"} for each in found.servers)


def test_margins_of_each_gpu_go_with_it() -> None:
    on = node(*alike(2), env={"LLAMA_ARG_FIT_TARGET": "512,2048"})
    assert [each for each in lines(on) if "FIT" in each or each.startswith("#")] == [
        "# rog:11434, as it is, for rog/0",
        "LLAMA_ARG_FIT_TARGET=512",
        "# rog:11435, a further Ollama, for rog/1",
        "LLAMA_ARG_FIT_TARGET=2048",
    ]


def test_what_names_the_old_server_is_not_carried_over() -> None:
    env = {"OLLAMA_HOST": "rog:11434", "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2", "PATH": "/bin"}
    found = lines(node(*alike(2), env=env | {"OLLAMA_MODELS": "/srv/models"}))
    assert found[5:] == (
        "OLLAMA_HOST=0.0.0.0:11435", "OLLAMA_MODELS=/srv/models",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=1", "OLLAMA_VULKAN=0",
        "OLLAMA_NOPRUNE=1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("vendor", "kind", "told"),
    [
        ("amd", "linux", ("ROCR_VISIBLE_DEVICES=0", "GGML_VK_VISIBLE_DEVICES=0")),
        ("amd", "windows", ("HIP_VISIBLE_DEVICES=0", "GGML_VK_VISIBLE_DEVICES=0")),
        ("intel", "linux", ("GGML_VK_VISIBLE_DEVICES=0",)),
    ],
)
def test_each_maker_has_its_variables(vendor: str, kind: str, told: tuple[str, ...]) -> None:
    on = replace(node(*alike(2, vendor=vendor)), kind=kind)  # type: ignore[arg-type]
    assert lines(on)[1 : 1 + len(told)] == told
