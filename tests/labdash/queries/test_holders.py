"""What holds the memory of each GPU, as history keeps it."""

from labdash.queries.holders import held_by_gpu
from labdash.queries.measured import MOST_MODELS
from tests.factories import GIB, gpu, loaded, ollama, sample
from workers import wire


def process(name: str, used_gib: float, model: str | None = None) -> wire.GpuProcess:
    return wire.GpuProcess(pid=1, name=name, used_bytes=int(used_gib * GIB), model=model)


def test_models_others_and_the_reserve_are_told_apart() -> None:
    card = gpu(
        memory_used_bytes=9 * GIB,
        memory_reserved_bytes=GIB,
        processes=(process("llama-server", 6, "qwen3:8b"), process("Xorg", 2)),
    )
    report = sample(gpus=(card,), instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    assert held_by_gpu(report) == {
        "GPU-0": {"model:qwen3:8b": 6 * GIB, "other": 3 * GIB, "reserve": GIB}
    }


def test_a_gpu_that_is_lost_or_not_told_of_is_unknown() -> None:
    report = sample(gpus=(gpu(0, state="lost"), gpu(1, memory_used_bytes=None)))
    assert held_by_gpu(report) == {"GPU-0": None, "GPU-1": None}


def test_an_empty_card_is_known_to_hold_nothing() -> None:
    assert held_by_gpu(sample(gpus=(gpu(memory_used_bytes=0, processes=()),))) == {"GPU-0": {}}


def test_what_ollama_tells_of_an_unmeasured_card_is_kept() -> None:
    card = gpu(source="declared", memory_used_bytes=None)
    report = sample(gpus=(card,), instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    assert held_by_gpu(report) == {"GPU-0": {"model:qwen3:8b": 6 * GIB}}


def test_made_up_models_are_bounded() -> None:
    names = [f"m{number}:1b" for number in range(40)]
    card = gpu(memory_used_bytes=20 * GIB, processes=tuple(process("x", 0.4, n) for n in names))
    report = sample(gpus=(card,), instances=(ollama(loaded=tuple(map(loaded, names))),))
    held = held_by_gpu(report)["GPU-0"]
    assert held is not None
    assert (len(held), sum(held.values())) == (MOST_MODELS + 1, 20 * GIB)
