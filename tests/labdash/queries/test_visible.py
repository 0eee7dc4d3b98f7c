"""Which GPUs a server sees."""

import pytest

from labdash.queries.visible import Seen, seen_by
from tests.factories import gpu, ollama
from workers import wire

TWINS = (gpu(0, uuid="GPU-aaaa-1"), gpu(1, uuid="GPU-bbbb-2"))
OTHERS = (gpu(0, uuid="GPU-aaaa-1", name="3090"), gpu(1, uuid="GPU-bbbb-2", name="P40"))


def reading(**settings: str) -> wire.InstanceReading:
    told = tuple(wire.Setting(name=name, value=value) for name, value in settings.items())
    return ollama(settings=told)


def test_server_that_hides_nothing_sees_all() -> None:
    assert seen_by(reading(OLLAMA_DEBUG="1"), TWINS) == Seen(gpus=(0, 1))


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        ("1", (1,)),
        ("1,0", (0, 1)),
        ("", ()),
        ("-1", ()),
        ("GPU-bbbb-2", (1,)),
        ("gpu-b", (1,)),
        ("GPU-", ()),
        ("0,7,1", (0,)),
        ("0,0", (0,)),
        (" 0 , 1 ", (0, 1)),
    ],
)
def test_variable_is_read_as_cuda_does(value: str, gpus: tuple[int, ...]) -> None:
    found = seen_by(reading(CUDA_VISIBLE_DEVICES=value), TWINS)
    assert found == Seen(gpus=gpus, setting=f"CUDA_VISIBLE_DEVICES={value}")


def test_numbers_of_unlike_cards_are_open_unless_cuda_counts_by_the_bus() -> None:
    by_number = reading(CUDA_VISIBLE_DEVICES="1")
    assert seen_by(by_number, OTHERS) == Seen(gpus=None, setting="CUDA_VISIBLE_DEVICES=1")
    told = seen_by(reading(CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID"), OTHERS)
    assert told
    assert told.gpus == (1,)
    by_identity = seen_by(reading(CUDA_VISIBLE_DEVICES="GPU-bbbb-2"), OTHERS)
    assert by_identity
    assert by_identity.gpus == (1,)


def test_each_maker_has_a_variable_of_its_own() -> None:
    both = (gpu(0, uuid="GPU-a"), gpu(1, uuid="amdgpu-b", source="amdgpu"))
    found = seen_by(reading(CUDA_VISIBLE_DEVICES="-1"), both)
    assert found
    assert found.gpus == (1,)
    found = seen_by(reading(ROCR_VISIBLE_DEVICES="0"), both)
    assert found
    assert found.gpus == (0, 1)
    found = seen_by(reading(ROCR_VISIBLE_DEVICES="1"), both)
    assert found
    assert found.gpus == (0,)


def test_amd_cards_are_named_by_serial_and_hip_counts_what_rocr_leaves() -> None:
    cards = tuple(
        gpu(number, uuid=f"amdgpu-3f2a{number}", source="amdgpu", name=f"card {number}")
        for number in range(3)
    )
    found = seen_by(reading(ROCR_VISIBLE_DEVICES="GPU-3f2a2"), cards)
    assert found
    assert found.gpus == (2,)
    found = seen_by(reading(ROCR_VISIBLE_DEVICES="1,2", HIP_VISIBLE_DEVICES="0"), cards)
    assert found
    assert found.gpus == (1,)


@pytest.mark.parametrize(
    "settings", [{"CUDA_VISIBLE_DEVICES": "MIG-1"}, {"GGML_VK_VISIBLE_DEVICES": "0"}]
)
def test_parts_of_cards_and_the_order_of_vulkan_are_open(settings: dict[str, str]) -> None:
    found = seen_by(reading(**settings), TWINS)
    assert found
    assert found.gpus is None


def test_unlike_cards_are_all_hidden_by_a_number_below_0() -> None:
    found = seen_by(reading(CUDA_VISIBLE_DEVICES="-1"), OTHERS)
    assert found
    assert found.gpus == ()


def test_settings_that_nobody_may_read_say_nothing() -> None:
    assert seen_by(ollama(), TWINS) is None
    assert seen_by(reading(), ()) is None


def test_cards_are_counted_as_the_variable_lists_them() -> None:
    found = seen_by(reading(CUDA_VISIBLE_DEVICES="1,0"), TWINS)
    assert found
    assert (found.gpus, found.order) == ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("settings", "order"),
    [({}, (1, 2, 0)), ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, (0, 1, 2))],
)
def test_unlike_cards_are_counted_by_speed_unless_by_the_bus(
    settings: dict[str, str], order: tuple[int, ...]
) -> None:
    names = ("Tesla P40", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060")
    cards = [gpu(index, uuid=f"GPU-{index}", name=name) for index, name in enumerate(names)]
    found = seen_by(reading(**settings), cards)
    assert found
    assert (found.gpus, found.order) == ((0, 1, 2), order)
