from dataclasses import replace

from labdash.planner.lab import Deployment, Lab
from labdash.planner.telling.environment import Line, environment
from tests.planning.choices import packed
from tests.planning.labs import gpu_node, want

SMALL = want("small", "llama3.2:3b", ("Q8_0",), (8192, 8192))


def lines(
    *cards: int, env: dict[str, str] | None = None, wanted: Deployment = SMALL
) -> dict[str, Line]:
    made = gpu_node("rog", *cards)
    node = replace(made, instances=(replace(made.instances[0], env=env or {}),))
    here = Lab(
        nodes=(node, gpu_node("idle", 4)), deployments=(replace(wanted, nodes=frozenset({"rog"})),)
    )
    found = environment(here, packed(here))
    assert {each.instance for each in found} == {"rog:11434"}
    return {each.lines[0]: each for each in found}


def test_cache_types_and_slots_are_told_with_their_memory() -> None:
    found = lines(4)
    smaller = found["OLLAMA_KV_CACHE_TYPE=q8_0"]
    assert smaller.lines[1] == "OLLAMA_FLASH_ATTENTION=1"
    assert smaller.effect == "The planned models would take 0.4 GiB less than now."
    assert smaller.more_bytes is not None
    assert smaller.more_bytes < 0
    assert found["OLLAMA_NUM_PARALLEL=2"].effect == (
        "The planned models would take 0.9 GiB more than now."
    )
    assert not any(each.is_set for each in found.values())


def test_what_the_plan_rests_on_is_told_against_without_it() -> None:
    env = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_NUM_PARALLEL": "2"}
    found = lines(4, env=env)
    assert found["OLLAMA_KV_CACHE_TYPE=q8_0"].is_set
    assert found["OLLAMA_KV_CACHE_TYPE=q8_0"].effect == (
        "The planned models take 0.8 GiB less than with f16."
    )
    assert found["OLLAMA_NUM_PARALLEL=2"].effect == (
        "The planned models take 0.5 GiB more than with 1 slot."
    )


def test_a_split_over_cards_can_be_held() -> None:
    wanted = want("big", "llama3.1:8b", ("Q8_0",), (8192, 8192))
    found = lines(1, 1, wanted=wanted)
    (line,) = [text for text in found if text.startswith("LLAMA_ARG_TENSOR_SPLIT=")]
    shares = [int(each) for each in line.partition("=")[2].split(",")]
    assert sum(shares) == 33
    assert found[line].effect.startswith(
        f"Keeps big at {shares[0]} layers on rog/0 and {shares[1]}"
    )
