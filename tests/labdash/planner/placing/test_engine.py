"""What a server does with memory, by its version and environment."""

import pytest

from labdash.planner.placing.engine import is_old, rules_of
from tests.labdash.planner.small_labs import GIB, MIB, instance, variant

MODEL = variant("qwen3:8b")
SEES = variant("qwen3:8b", projector_bytes=800 * MIB, vision=True)


@pytest.mark.parametrize(
    ("version", "old"),
    [("0.24.0", True), ("0.29.9", True), ("0.30.0", False), ("0.0.0", False), (None, False)],
)
def test_engines_of_ollamas_own_end_with_0_30(version: str | None, old: bool) -> None:
    assert is_old(version) is old


@pytest.mark.parametrize(
    ("env", "version", "kv_type"),
    [
        ({}, "0.32.15", "f16"),
        ({"OLLAMA_KV_CACHE_TYPE": ' "Q8_0" '}, "0.32.15", "q8_0"),
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "0"}, "0.32.15", "f16"),
        ({"OLLAMA_KV_CACHE_TYPE": "q5_1"}, "0.32.15", "q5_1"),
        ({"OLLAMA_KV_CACHE_TYPE": "q5_1"}, "0.20.1", "f16"),
        ({"OLLAMA_KV_CACHE_TYPE": "q3_k"}, "0.32.15", "f16"),
    ],
)
def test_the_cache_needs_flash_attention_and_a_known_type(
    env: dict[str, str], version: str, kv_type: str
) -> None:
    assert rules_of(instance("rog", 1, env, version=version)).kv_type == kv_type


@pytest.mark.parametrize(
    ("env", "margins"),
    [
        ({}, (1024, 1024)),
        ({"LLAMA_ARG_FIT_TARGET": "512"}, (512, 512)),
        ({"LLAMA_ARG_FIT_TARGET": "512,256"}, (512, 256)),
        ({"LLAMA_ARG_FIT_TARGET": "512,256,0"}, (512, 256)),
        ({"LLAMA_ARG_FIT_TARGET": "much"}, (1024, 1024)),
        ({"LLAMA_ARG_FIT": "off"}, (0, 0)),
    ],
)
def test_the_margin_is_what_the_engine_is_told(
    env: dict[str, str], margins: tuple[int, int]
) -> None:
    rules = rules_of(instance("rog", 2, env))
    assert tuple(rules.margin_bytes(MODEL, each) // MIB for each in range(2)) == margins


def test_a_projector_comes_on_top_of_the_margin_of_every_gpu() -> None:
    rules = rules_of(instance("rog", 2))
    assert [rules.target_bytes(SEES, each) for each in range(2)] == [800 * MIB + GIB] * 2
    assert [rules.margin_bytes(SEES, each) for each in range(2)] == [GIB, 800 * MIB + GIB]
    told = rules_of(instance("rog", 2, {"LLAMA_ARG_FIT_TARGET": "512"}))
    assert told.target_bytes(SEES, 0) == 512 * MIB


def test_old_engines_keep_their_reserve_and_the_overhead() -> None:
    env = {"OLLAMA_GPU_OVERHEAD": "1000000", "LLAMA_ARG_FIT_TARGET": "5"}
    old = rules_of(instance("rog", 1, env, version="0.24.0"))
    assert old.margin_bytes(MODEL, 0) == 457 * MIB + 1_000_000
    assert rules_of(instance("rog", 1, env)).margin_bytes(MODEL, 0) == 5 * MIB


@pytest.mark.parametrize(
    ("gpus", "env", "most"),
    [
        (0, {}, 3),
        (2, {}, 6),
        (2, {"OLLAMA_MAX_LOADED_MODELS": "1"}, 1),
        (2, {"OLLAMA_MAX_LOADED_MODELS": "0"}, 6),
        (2, {"OLLAMA_MAX_LOADED_MODELS": "-1"}, 6),
    ],
)
def test_a_server_holds_three_models_for_each_gpu(
    gpus: int, env: dict[str, str], most: int
) -> None:
    assert rules_of(instance("rog", gpus, env)).most_loaded == most


@pytest.mark.parametrize(("text", "spread"), [("", False), ("0", False), ("1", True), ("on", True)])
def test_any_text_but_a_false_one_spreads(text: str, spread: bool) -> None:
    assert rules_of(instance("rog", 2, {"OLLAMA_SCHED_SPREAD": text})).spread is spread


def test_slots_are_the_models_too() -> None:
    rules = rules_of(instance("rog", 1, {"OLLAMA_NUM_PARALLEL": "4"}))
    assert rules.slots_for(MODEL) == 4
    assert rules.slots_for(variant("qwen3:8b", embedding=True)) == 1
