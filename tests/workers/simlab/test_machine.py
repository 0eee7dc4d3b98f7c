"""A machine whose memory, disk and sensors follow what runs on it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.simlab.loads import request
from workers.simlab.loads import LoadRefused, NoSpace
from workers.simlab.machine import GIB, Machine
from workers.simlab.memory import MIB


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def machine(clock: Callable[[], float] | None = None, **changes: Any) -> Machine:
    settings: dict[str, Any] = {"cards": ("rtx-3090", "rtx-3090"), "version": "0.32.15"} | changes
    return Machine(slug="rog", kind="linux", clock=clock or Clock(), **settings)


def used_mib(lab: Machine) -> list[int | None]:
    used = [gpu.memory_used_bytes for gpu in lab.reading().gpus]
    return [None if size is None else size // MIB for size in used]


def test_a_load_takes_memory_and_an_unload_gives_it_back() -> None:
    lab = machine()
    loaded = lab.load(request())
    assert lab.gpus[0].used_bytes == loaded.bytes_by_gpu[0] > 0
    assert lab.gpus[1].used_bytes == loaded.bytes_by_gpu[1] == 0
    lab.unload(loaded.pid)
    assert used_mib(lab) == [0, 0]


def test_an_unknown_process_may_be_unloaded() -> None:
    machine().unload(1)


def test_the_gpu_gives_more_than_the_server_says() -> None:
    """The CUDA context is in no figure of Ollama."""
    loaded = machine().load(request())
    assert sum(loaded.bytes_by_gpu) == loaded.size_vram_bytes + 291 * MIB


def test_total_is_used_and_free_and_reserved() -> None:
    lab = machine()
    lab.load(request())
    for gpu in lab.reading().gpus:
        assert gpu.memory_used_bytes is not None
        assert gpu.memory_free_bytes is not None
        assert gpu.memory_reserved_bytes is not None
        assert gpu.memory_total_bytes == (
            gpu.memory_used_bytes + gpu.memory_free_bytes + gpu.memory_reserved_bytes
        )


def test_the_second_model_goes_where_more_is_free() -> None:
    lab = machine()
    lab.load(request())
    assert lab.load(request("qwen3-8b")).bytes_by_gpu[0] == 0


def test_processes_name_the_model_that_they_run() -> None:
    lab = machine()
    loaded = lab.load(request(name="llama3.1:8b"))
    processes = lab.reading().gpus[0].processes
    assert processes
    assert [(each.pid, each.name, each.used_bytes, each.model) for each in processes] == [
        (loaded.pid, "llama-server", loaded.bytes_by_gpu[0], "llama3.1:8b")
    ]


def test_processes_of_an_old_server_have_its_runner_s_name() -> None:
    lab = machine(version="0.24.0")
    lab.load(request())
    processes = [each for gpu in lab.reading().gpus for each in gpu.processes or ()]
    assert [each.name for each in processes] == ["ollama_llama_server"]


def test_a_desktop_takes_memory_as_a_process_without_a_model() -> None:
    lab = machine()
    lab.gpus[0].desktop_bytes = 700 * MIB
    assert used_mib(lab) == [700, 0]
    processes = lab.reading().gpus[0].processes
    assert processes
    assert [each.model for each in processes] == [None]


def test_a_full_machine_refuses_an_explicit_load_and_keeps_its_state() -> None:
    lab = machine(cards=("rtx-4070",))
    lab.load(request())
    before = used_mib(lab)
    with pytest.raises(LoadRefused, match="out-of-memory"):
        lab.load(request("qwen2.5-14b", num_gpu=99))
    assert used_mib(lab) == before


def test_a_lost_gpu_has_no_values_and_everything_loads_on_the_cpu() -> None:
    lab = machine()
    lab.load(request())
    lab.lose(0)
    lost, other = lab.reading().gpus
    assert (lost.state, lost.memory_used_bytes, lost.processes) == ("lost", None, None)
    assert other.state == "ok"
    loaded = lab.load(request("qwen3-8b"))
    assert (loaded.size_vram_bytes, loaded.gpu_layers) == (0, 0)
    assert lab.count_gpus(None) == 0


def test_a_restored_gpu_takes_models_again() -> None:
    lab = machine()
    lab.lose(0)
    lab.restore(0)
    assert lab.load(request()).gpu_layers == 33
    assert lab.reading().gpus[0].state == "ok"


def test_a_game_gets_what_is_free_and_the_rest_once_that_is() -> None:
    lab = machine()
    loaded = lab.load(request("qwen3-32b", main_gpu=0))
    free = lab.gpus[0].free_bytes
    lab.gpus[0].play(free + 5 * GIB)
    assert (lab.gpus[0].free_bytes, lab.gpus[0].game.size_bytes) == (0, free)
    lab.unload(loaded.pid)
    lab.reading()
    assert lab.gpus[0].game.size_bytes == free + 5 * GIB


def test_a_server_loads_on_the_gpus_that_it_sees_and_counts_them_so() -> None:
    lab = machine()
    loaded = lab.load(request(gpus=(1,), server="ollama-2", main_gpu=0))
    assert [bool(size) for size in loaded.bytes_by_gpu] == [False, True]
    (process,) = lab.reading().gpus[1].processes or ()
    assert process.instance == "ollama-2"
    with pytest.raises(LoadRefused, match="exit status 1"):
        lab.load(request(gpus=(1,), main_gpu=1))
    assert (lab.count_gpus((1,)), lab.count_gpus(())) == (1, 0)
    assert lab.load(request("qwen3-8b", gpus=())).size_vram_bytes == 0


def test_a_machine_without_gpus_uses_ram_alone() -> None:
    lab = machine(cards=(), ram_bytes=32 * GIB)
    before = lab.reading().host.ram_used_bytes
    loaded = lab.load(request())
    after = lab.reading().host.ram_used_bytes
    assert before is not None
    assert after is not None
    assert after - before == loaded.ram_bytes > 4 * GIB
    assert lab.reading().driver.state == "missing"


def test_a_model_beyond_the_ram_is_refused() -> None:
    with pytest.raises(LoadRefused, match="requires more system memory"):
        machine(cards=(), ram_bytes=16 * GIB).load(request("qwen3-32b"))


def test_unified_memory_is_ram_too_and_has_no_driver() -> None:
    lab = Machine(slug="studio", kind="mac", version="0.32.15", cards=("m2-max",), clock=Clock())
    loaded = lab.load(request())
    reading = lab.reading()
    assert reading.driver.state == "none"
    gpu = reading.gpus[0]
    assert gpu.unified
    assert gpu.memory_total_bytes == 48 * GIB
    assert (gpu.temperature_celsius, gpu.power_watts, gpu.processes) == (None, None, None)
    assert reading.host.ram_used_bytes == (
        lab.ram_base_bytes + loaded.bytes_by_gpu[0] + loaded.ram_bytes
    )


def test_work_raises_load_heat_and_power_and_rest_lowers_them() -> None:
    clock = Clock()
    lab = machine(clock)
    pid = lab.load(request()).pid
    cool = lab.reading().gpus[0]
    with lab.working(pid):
        clock.now = 10.0
        warm = lab.reading().gpus[0]
        clock.now = 120.0
        hot = lab.reading().gpus[0]
    clock.now = 600.0
    rested = lab.reading().gpus[0]
    assert (cool.utilization_percent, rested.utilization_percent) == (0, 0)
    assert warm.utilization_percent
    assert warm.utilization_percent > 90
    temperatures = [each.temperature_celsius or 0 for each in (cool, warm, hot, rested)]
    assert temperatures[0] < temperatures[1] < temperatures[2]
    assert temperatures[3] == temperatures[0]
    assert (cool.power_watts or 0) < 40
    assert 250 < (hot.power_watts or 0) < 350
    assert (hot.clock_graphics_mhz or 0) > 1700
    assert rested.clock_graphics_mhz == 210


def test_only_the_gpus_that_hold_the_model_work() -> None:
    clock = Clock()
    lab = machine(clock)
    with lab.working(lab.load(request()).pid):
        clock.now = 10.0
        assert lab.reading().gpus[1].utilization_percent == 0


def test_the_first_answer_makes_the_process_grow_once() -> None:
    lab = machine()
    loaded = lab.load(request())
    for _ in range(2):
        with lab.working(loaded.pid):
            pass
    assert lab.gpus[0].used_bytes == loaded.bytes_by_gpu[0] + 18 * MIB


def test_work_on_the_cpu_shows_on_the_host() -> None:
    lab = machine(cards=())
    pid = lab.load(request()).pid
    rest = lab.reading().host.cpu_percent or 0
    with lab.working(pid):
        assert (lab.reading().host.cpu_percent or 0) > rest + 50


def test_two_machines_alike_read_alike() -> None:
    def run() -> list[object]:
        clock = Clock()
        lab = machine(clock)
        pid = lab.load(request()).pid
        seen: list[object] = []
        with lab.working(pid):
            for second in range(5):
                clock.now = second * 1.7
                seen.append(lab.reading())
        return seen

    assert run() == run()


def test_disk_is_taken_and_given_back() -> None:
    lab = machine(disk_free_bytes=10 * GIB)
    lab.take_disk(4 * GIB)
    assert lab.reading().disk
    assert lab.disk_free_bytes == 6 * GIB
    lab.give_disk(4 * GIB)
    assert lab.disk_free_bytes == 10 * GIB


def test_a_full_disk_takes_nothing() -> None:
    lab = machine(disk_free_bytes=GIB)
    with pytest.raises(NoSpace):
        lab.take_disk(2 * GIB)
    assert lab.disk_free_bytes == GIB


def test_speed_follows_the_memory_that_a_token_reads() -> None:
    lab = machine()
    small, large, middle = (
        lab.tokens_per_s(lab.load(request(model, main_gpu=0)).pid)
        for model in ("qwen3-0.6b", "llama-3.1-8b", "gemma-3-4b")
    )
    assert small > middle > large > 20


def test_experts_in_use_alone_are_read() -> None:
    dense, sparse = machine(), machine()
    slow = dense.tokens_per_s(dense.load(request("qwen2.5-14b")).pid)
    fast = sparse.tokens_per_s(sparse.load(request("qwen3-30b-a3b")).pid)
    assert fast > 2 * slow


def test_a_load_takes_as_long_as_the_disk_needs() -> None:
    lab = machine()
    assert lab.load_s(request("qwen3-32b")) > lab.load_s(request("qwen3-0.6b")) > 0.3
