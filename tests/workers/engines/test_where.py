"""On which cards a model lies, by the processes that the driver tells."""

from workers.engines.where import runners
from workers.wire import GpuProcess, GpuReading

NAMES = frozenset({"qwen3:8b", "my-qwen:latest"})


def card(index: int, *processes: GpuProcess) -> GpuReading:
    return GpuReading(uuid=f"GPU-{index}", index=index, source="nvml", processes=processes)


def test_gpus_are_those_where_the_driver_saw_a_runner_of_these_weights() -> None:
    mine = GpuProcess(pid=3, model="my-qwen:latest", used_bytes=7)
    cards = (
        card(0, GpuProcess(pid=1, model="llama3.1:8b", used_bytes=5), GpuProcess(pid=2)),
        card(1, mine),
        GpuReading(uuid="GPU-2", index=2, source="amdgpu"),
    )
    assert runners(cards, NAMES) == [(cards[1], mine)]
    assert runners(cards[:1], NAMES) == []
    assert runners(cards[2:], NAMES) is None
    assert runners((), NAMES) is None


def test_runner_of_another_instance_is_not_this_ones() -> None:
    processes = (
        GpuProcess(pid=1, model="qwen3:8b", instance="one"),
        GpuProcess(pid=2, model="qwen3:8b", instance="two"),
        GpuProcess(pid=3, model="qwen3:8b"),
    )
    found = runners((card(0, *processes),), NAMES, not_of=frozenset({"two"}))
    assert [process.pid for _, process in found or ()] == [1, 3]
