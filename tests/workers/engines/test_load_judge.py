"""What is said of a load that succeeded, by what was asked and what was seen."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.factories import GIB, gpu
from workers.engines.load_judge import judge
from workers.engines.where import Seen
from workers.wire import GpuProcess, GpuReading, LoadedModel, LoadOrder, TryGpu, TryPlace

BEFORE = (
    gpu(
        memory_free_bytes=9 * GIB,
        processes=(GpuProcess(pid=1, name="whisper", used_bytes=int(2.5 * GIB)),),
    ),
)


def order(**fields: Any) -> LoadOrder:
    base = {"node": "rog", "job_id": 1, "instance_url": "http://127.0.0.1:1", "model": "x"}
    return LoadOrder.model_validate({**base, "wish": "load", "deadline_s": 1, **fields})


def seen(size: float = 8, vram: float = 8, context: int = 4096, on: int | None = None) -> Seen:
    entry = LoadedModel(
        name="x",
        digest="d",
        size_bytes=int(size * GIB),
        size_vram_bytes=int(vram * GIB),
        context_length=context,
        expires_at=datetime(2026, 11, 25, tzinfo=UTC),
    )
    gpus = None if on is None else (TryGpu(index=on, used_bytes=1),)
    return Seen(entry=entry, place=TryPlace(gpus=gpus), pids=frozenset())


def told(order: LoadOrder, seen: Seen, before: tuple[GpuReading, ...] = BEFORE) -> str | None:
    return judge(order, seen, before).meaning


def test_load_as_it_was_asked_needs_no_word() -> None:
    assert told(order(context=4096, main_gpu=0), seen(on=0)) is None


def test_spill_is_told_with_its_figures_and_who_held_the_card() -> None:
    verdict = judge(order(), seen(size=11.9, vram=8.2), BEFORE)
    assert verdict.has_spilled
    assert verdict.meaning == (
        "8.2 GiB of 11.9 GiB are on the GPU, the rest on the CPU: expect it to be slow."
        " GPU 0 had 9.0 GiB free before; it held whisper 2.5 GiB."
    )


def test_load_that_is_all_on_the_cpu_is_told_where_there_is_a_gpu_alone() -> None:
    assert (told(order(), seen(vram=0)) or "").startswith("All of its 8.0 GiB are on the CPU")
    assert told(order(), seen(vram=0), ()) is None


def test_shorter_context_than_asked_is_told() -> None:
    text = "Its context is 4,096 tokens, not the 8,192 asked for."
    assert told(order(context=8192), seen()) == text


def test_other_card_than_the_pinned_one_is_told() -> None:
    assert (told(order(main_gpu=1), seen(on=0)) or "").startswith(
        "It was pinned to GPU 1 and lies on GPU 0"
    )


def test_model_on_gpus_by_the_word_of_ollama_alone_is_told() -> None:
    on_none = replace(seen(), place=TryPlace(gpus=()))
    assert told(order(), replace(on_none, used_bytes=1 * GIB)) == (
        "Ollama reports 8.0 GiB of it on the GPU, where by the driver no more than 1.0 GiB are in"
        " use: it runs on the CPU. Restart Ollama there. GPU 0 had 9.0 GiB free before; it held"
        " whisper 2.5 GiB."
    )
    # Its process may only not be known as its own, or nothing be measured.
    assert told(order(), replace(on_none, used_bytes=9 * GIB)) is None
    assert told(order(), on_none) is None
    assert told(order(), replace(seen(), used_bytes=1 * GIB)) is None


def test_what_matters_most_is_told_before_what_was_on_many_cards() -> None:
    text = told(order(context=8192), seen(size=11.9, vram=8.2), BEFORE * 4) or ""
    assert text.index("Its context is 4,096") < text.index("GPU 0 had")


def test_model_that_is_gone_again_is_told() -> None:
    nothing = Seen(entry=None, place=TryPlace(), pids=frozenset())
    assert "does not list it" in (told(order(), nothing) or "")
