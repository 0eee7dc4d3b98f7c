"""Loading and unloading, as clients see it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.simlab import FAST, OllamaLab, machine, ollama_lab
from tests.workers.simlab.ollama.api import (
    Background,
    delete,
    get,
    lines,
    loaded,
    post,
    stream,
    until,
)
from workers.simlab.ollama.settings import Environment
from workers.simlab.publish import install

SMALL, OTHER, THIRD = "llama3.2:1b", "qwen3:0.6b", "gemma3:1b"
CONTEXT = {"num_ctx": 4096, "num_batch": 512}
LONG = "Tell a very long story about a ship."
# Loads that take about half a second each.
SLOW = replace(FAST, load_factor=0.6)


def ready(lab: OllamaLab) -> OllamaLab:
    """Install what the tests load."""
    for name in (SMALL, OTHER, THIRD):
        install(lab.registry, lab.server, name)
    return lab


@pytest.fixture
def lab() -> Iterator[OllamaLab]:
    with ollama_lab(machine(cards=("rtx-3090",))) as lab:
        yield ready(lab)


@pytest.fixture
def slow_lab() -> Iterator[OllamaLab]:
    with ollama_lab(machine(cards=("rtx-3090",)), pace=SLOW) as lab:
        yield ready(lab)


def load(lab: OllamaLab, model: str = SMALL, **more: Any) -> httpx.Response:
    """Load a model and nothing else."""
    options = CONTEXT | more.pop("options", {})
    return post(lab, "/api/generate", model=model, options=options, **more)


def used_bytes(lab: OllamaLab) -> int:
    return sum(gpu.memory_used_bytes or 0 for gpu in lab.server.machine.reading().gpus)


def pid(lab: OllamaLab) -> int:
    """Give the process of the only runner."""
    return next(iter(lab.server.scheduler._runners.values())).loaded.pid


def test_a_preload_waits_and_then_says_load(lab: OllamaLab) -> None:
    answer = load(lab).json()
    assert (answer["done"], answer["done_reason"], answer["response"]) == (True, "load", "")
    assert loaded(lab) == [SMALL]


def test_a_fault_is_of_the_next_load_and_not_of_a_model_that_is_there(lab: OllamaLab) -> None:
    load(lab)
    lab.server.load_faults.append("CUDA error")
    assert load(lab).is_success
    failed = load(lab, OTHER)
    assert (failed.status_code, failed.json()["error"]) == (500, "CUDA error")
    assert load(lab, OTHER).is_success


def test_a_model_is_not_listed_before_its_load_has_ended(slow_lab: OllamaLab) -> None:
    preload = Background(lambda: load(slow_lab))
    until(lambda: used_bytes(slow_lab) > 10**9)
    assert loaded(slow_lab) == []
    assert preload.result().is_success
    assert loaded(slow_lab) == [SMALL]


def test_leaving_a_load_gives_it_up(slow_lab: OllamaLab) -> None:
    before = used_bytes(slow_lab)
    body = {"model": SMALL, "options": CONTEXT}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{slow_lab.url}/api/generate", json=body, trust_env=False, timeout=0.2)
    until(lambda: used_bytes(slow_lab) == before)
    assert loaded(slow_lab) == []


def test_cold_models_are_loaded_one_after_the_other(slow_lab: OllamaLab) -> None:
    first = Background(lambda: load(slow_lab))
    until(lambda: used_bytes(slow_lab) > 10**9)
    second = Background(lambda: load(slow_lab, OTHER))
    assert first.result().is_success
    assert not second.is_done
    assert second.result().is_success
    assert set(loaded(slow_lab)) == {SMALL, OTHER}


def test_an_unload_answers_at_once_and_happens_soon(lab: OllamaLab) -> None:
    before = used_bytes(lab)
    load(lab)
    assert load(lab, keep_alive=0).json()["done_reason"] == "unload"
    until(lambda: loaded(lab) == [])
    assert used_bytes(lab) == before


def test_an_unload_of_what_is_not_loaded_is_no_error(lab: OllamaLab) -> None:
    assert load(lab, keep_alive=0).json()["done_reason"] == "unload"


def test_keep_alive_ends_a_model_after_its_time(lab: OllamaLab) -> None:
    load(lab, keep_alive=0.2)
    assert loaded(lab) == [SMALL]
    until(lambda: loaded(lab) == [])


def test_a_model_kept_for_ever_expires_in_three_centuries(lab: OllamaLab) -> None:
    load(lab, keep_alive=-1)
    assert get(lab, "/api/ps")["models"][0]["expires_at"].startswith("2319")


def test_the_server_keeps_models_as_long_as_its_environment_says() -> None:
    environment = Environment.read({"OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_CONTEXT_LENGTH": "8192"})
    with ollama_lab(machine(cards=("rtx-3090",)), environment=environment) as lab:
        ready(lab)
        post(lab, "/api/generate", model=SMALL, options={"num_batch": 512})
        entry = get(lab, "/api/ps")["models"][0]
    assert entry["expires_at"].startswith("2319")
    assert entry["context_length"] == 8192


def test_names_of_one_file_share_a_runner_and_the_last_one_is_listed(lab: OllamaLab) -> None:
    parameters = {"num_ctx": 8192, "num_batch": 512}
    post(lab, "/api/create", model="mine", **{"from": SMALL}, parameters=parameters)
    load(lab)
    first = pid(lab)
    post(lab, "/api/generate", model="mine")
    assert loaded(lab) == ["mine:latest"]
    assert pid(lab) != first
    assert get(lab, "/api/ps")["models"][0]["details"]["parent_model"] == ""
    post(lab, "/api/generate", model=SMALL, keep_alive=0)
    until(lambda: loaded(lab) == [])


def test_the_same_options_use_the_runner_that_is_there(lab: OllamaLab) -> None:
    load(lab)
    first = pid(lab)
    load(lab, options={"temperature": 0.5})
    assert pid(lab) == first
    load(lab, options={"num_ctx": 8192})
    assert pid(lab) != first


def test_the_shortest_kept_model_goes_when_there_are_too_many() -> None:
    environment = Environment(max_loaded_models=2)
    with ollama_lab(machine(cards=("rtx-3090",)), environment=environment) as lab:
        ready(lab)
        load(lab, SMALL, keep_alive=-1)
        load(lab, OTHER, keep_alive="1m")
        load(lab, THIRD, keep_alive="10m")
        assert set(loaded(lab)) == {SMALL, THIRD}


def test_even_a_model_kept_for_ever_goes_when_another_needs_the_place() -> None:
    environment = Environment(max_loaded_models=1)
    with ollama_lab(machine(cards=("rtx-3090",)), environment=environment) as lab:
        ready(lab)
        load(lab, SMALL, keep_alive=-1)
        load(lab, OTHER)
        assert loaded(lab) == [OTHER]


def test_a_model_that_needs_the_room_sends_the_others_away() -> None:
    with ollama_lab(machine(cards=("rtx-4070",))) as lab:
        for name in ("qwen3:8b", "llama3.1:8b"):
            install(lab.registry, lab.server, name)
            load(lab, name, options={"num_ctx": 8192})
        assert loaded(lab) == ["llama3.1:8b"]


def test_a_full_queue_is_busy() -> None:
    environment = Environment(max_queue=1)
    with ollama_lab(machine(cards=("rtx-3090",)), pace=SLOW, environment=environment) as lab:
        ready(lab)
        first = Background(lambda: load(lab, SMALL))
        until(lambda: used_bytes(lab) > 10**9)
        second = Background(lambda: load(lab, OTHER))
        until(lambda: lab.server.scheduler._waiting == 1)
        answer = load(lab, THIRD)
        assert answer.status_code == 503
        text = "server busy, please try again.  maximum pending requests exceeded"
        assert answer.json() == {"error": text}
        assert first.result().is_success
        assert second.result().is_success


def test_models_that_expire_in_one_second_are_listed_in_any_order(lab: OllamaLab) -> None:
    for name in (SMALL, OTHER, THIRD):
        load(lab, name, keep_alive=-1)
    now = get(lab, "/api/ps")["models"]
    same_second = len({each["expires_at"][:19] for each in now}) == 1
    orders = {tuple(loaded(lab)) for _ in range(60)}
    assert len(orders) > 1 or not same_second


def test_a_killed_runner_is_listed_until_the_next_request(lab: OllamaLab) -> None:
    load(lab)
    digest = next(iter(lab.server.scheduler._runners))
    lab.loop.call_soon_threadsafe(lab.server.scheduler.kill, digest)
    before = pid(lab)
    assert loaded(lab) == [SMALL]
    assert load(lab).is_success
    assert pid(lab) != before


def test_a_runner_that_dies_ends_its_answer_with_an_error(lab: OllamaLab) -> None:
    load(lab)
    digest = next(iter(lab.server.scheduler._runners))
    body = {"model": SMALL, "prompt": LONG, "options": CONTEXT}
    with stream(lab, "/api/generate", **body) as answer:
        next(answer)
        lab.loop.call_soon_threadsafe(lab.server.scheduler.kill, digest)
        last = list(answer)[-1]
    error = "an error was encountered while running the model: unexpected EOF"
    assert last == {"error": error}


def test_a_deleted_model_stays_loaded_and_cannot_be_unloaded_by_name(lab: OllamaLab) -> None:
    load(lab)
    assert delete(lab, SMALL).status_code == 200
    assert loaded(lab) == [SMALL]
    assert load(lab, keep_alive=0).status_code == 404


def test_unloading_while_it_answers_waits_for_the_answer(lab: OllamaLab) -> None:
    load(lab)
    body = {"model": SMALL, "prompt": LONG, "options": CONTEXT | {"num_predict": 300}}
    with stream(lab, "/api/generate", **body) as answer:
        next(answer)
        load(lab, keep_alive=0)
        assert loaded(lab) == [SMALL]
        assert list(answer)[-1]["done_reason"] == "length"
    until(lambda: loaded(lab) == [])


def test_the_time_of_expiry_stands_still_while_a_warm_model_works(lab: OllamaLab) -> None:
    load(lab)
    before = get(lab, "/api/ps")["models"][0]["expires_at"]
    body = {"model": SMALL, "prompt": LONG, "options": CONTEXT | {"num_predict": 300}}
    with stream(lab, "/api/generate", **body) as answer:
        next(answer)
        assert get(lab, "/api/ps")["models"][0]["expires_at"] == before
        list(answer)
    assert get(lab, "/api/ps")["models"][0]["expires_at"] > before


def test_an_answer_takes_as_long_as_it_says(lab: OllamaLab) -> None:
    load(lab)
    options = CONTEXT | {"num_predict": 30}
    answer = post(lab, "/api/generate", model=SMALL, prompt="hi", options=options)
    *words, last = lines(answer)
    assert len(words) == last["eval_count"] == 30
    parts = last["prompt_eval_duration"] + last["eval_duration"] + last["load_duration"]
    assert 0 < parts <= last["total_duration"]


def test_a_model_that_does_not_fit_is_refused_with_the_machine_s_words() -> None:
    with ollama_lab(machine(cards=("rtx-4070",))) as lab:
        install(lab.registry, lab.server, "qwen3:32b")
        answer = load(lab, "qwen3:32b", options={"num_gpu": 99})
    assert answer.status_code == 500
    assert "out-of-memory" in answer.json()["error"]
    assert used_bytes(lab) < 10**9


def test_the_end_of_a_server_ends_its_runners(lab: OllamaLab) -> None:
    before = used_bytes(lab)
    load(lab)
    lab.call(lab.hosted.stop())
    assert used_bytes(lab) == before
