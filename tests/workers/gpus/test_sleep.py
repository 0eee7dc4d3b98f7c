import pytest

from workers.gpus.sleep import Card, is_at, may_rest
from workers.wire import GpuProcess, GpuReading

CARD = Card(pci_id="0000:01:00.0", sleeps=False, may_sleep=True)
GPU = GpuReading(uuid="GPU-0", index=0, source="nvml", utilization_percent=0)


@pytest.mark.parametrize(
    ("change", "rests"),
    [
        ({}, True),
        ({"utilization_percent": None}, True),
        ({"utilization_percent": 1}, False),
        ({"processes": (GpuProcess(pid=1, name="Xorg"),)}, True),
        ({"processes": (GpuProcess(pid=1, model="qwen3:8b"),)}, False),
        ({"state": "lost"}, False),
    ],
)
def test_a_rest_needs_cards_that_nobody_uses(change: dict[str, object], rests: bool) -> None:
    assert may_rest([CARD], [GPU, GPU.model_copy(update=change)]) is rests


@pytest.mark.parametrize(("sleeps", "may_sleep"), [(True, True), (False, False)])
def test_no_rest_helps_cards_that_sleep_or_never_do(sleeps: bool, may_sleep: bool) -> None:
    assert not may_rest([Card(pci_id="", sleeps=sleeps, may_sleep=may_sleep)], [GPU])


def test_a_place_is_the_same_however_long_its_domain_is_written() -> None:
    gpu = GPU.model_copy(update={"pci_id": "00000000:0A:00.0"})
    assert is_at(gpu, "0000:0a:00.0")
    assert not is_at(gpu, "0001:0a:00.0")
