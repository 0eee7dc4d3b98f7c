"""Faults of servers that a lab plays to order, over its control API and by hand."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.workers.simlab.running import Running, running_lab
from tests.workers.simlab.test_control import post, pull, read
from workers.simlab import ctl
from workers.wire import GpuProcess

MODEL = "qwen3:0.6b"
BIG = "qwen3:8b"
SPOILED = "gemma3:4b"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_lab(tmp_path_factory.mktemp("lab"), "--no-life", "--registry-speed", "0") as lab:
        yield lab


def ask(lab: Running, path: str, slug: str = "rog", **body: Any) -> httpx.Response:
    url = lab.ollama_url(slug) + path
    if body:
        return httpx.post(url, json=body, trust_env=False, timeout=30)
    return httpx.get(url, trust_env=False)


def load(lab: Running) -> httpx.Response:
    return ask(lab, "/api/generate", model=BIG, options={"num_ctx": 4096}, keep_alive=-1)


def listed(lab: Running) -> list[str]:
    return [model["name"] for model in ask(lab, "/api/ps").json()["models"]]


def processes(lab: Running) -> list[GpuProcess]:
    """Return the runners that hold memory of a card."""
    found = [each for gpu in read(lab, "rog").gpus for each in gpu.processes or ()]
    return [each for each in found if each.model]


def runners(lab: Running) -> list[str]:
    port = lab.ollama_url("rog").rpartition(":")[2]
    url = f"{lab.control_url}/machines/rog/runners/{port}"
    return list(httpx.get(url, trust_env=False).json()["blobs"])


def control(lab: Running, *words: str) -> int:
    return ctl.main(["--control-url", lab.control_url, *words])


def test_killed_server_leaves_its_runner_until_somebody_ends_it(lab: Running) -> None:
    load(lab)
    assert [each.is_orphan for each in processes(lab)] == [False]
    assert control(lab, "kill", "rog", "0") == 0
    control(lab, "start", "rog", "0")
    assert listed(lab) == []
    assert [(each.is_orphan, each.instance) for each in processes(lab)] == [(True, None)]
    assert control(lab, "end-orphans", "rog") == 0
    assert processes(lab) == []


def test_killed_runner_stays_listed_until_the_next_request(lab: Running) -> None:
    load(lab)
    assert len(runners(lab)) == 1
    assert control(lab, "kill-runner", "rog", "0", BIG) == 0
    assert (listed(lab), runners(lab), processes(lab)) == ([BIG], [], [])
    assert load(lab).is_success
    assert len(runners(lab)) == 1


def test_spoiled_pull_cannot_go_on(lab: Running) -> None:
    control(lab, "speed", "50000000")
    url = f"{lab.ollama_url('studio')}/api/pull"
    with httpx.stream("POST", url, json={"model": SPOILED}, trust_env=False) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "completed" in line)
        assert control(lab, "spoil", "studio", "0") == 0
    control(lab, "speed", "0")
    control(lab, "start", "studio", "0")
    assert pull(lab, SPOILED)[-1] == {"error": "EOF"}


def test_replaced_server_tells_its_new_version(lab: Running) -> None:
    assert control(lab, "replace", "minibox", "0", "0.40.0") == 0
    assert ask(lab, "/api/version", "minibox").json() == {"version": "0.40.0"}
    assert post(lab, "/machines/minibox/ollama/0/replace", {"version": "new"}).status_code == 400


def test_damaged_file_counts_as_present_and_cannot_be_loaded(lab: Running) -> None:
    assert pull(lab, MODEL)[-1] == {"status": "success"}
    assert control(lab, "damage", "studio", "0", MODEL) == 0
    assert pull(lab, MODEL)[-1] == {"status": "success"}
    answer = ask(lab, "/api/generate", "studio", model=MODEL)
    assert (answer.status_code, "exceeds file size" in answer.text) == (500, True)


def test_registry_that_is_down_refuses(lab: Running) -> None:
    assert control(lab, "registry", "stop") == 0
    assert "connection refused" in str(pull(lab, "llama3.2:1b")[-1]["error"])
    assert control(lab, "registry", "start") == 0
    assert pull(lab, "llama3.2:1b")[-1] == {"status": "success"}


def test_registry_may_take_its_time_to_tell_a_size(lab: Running) -> None:
    assert control(lab, "head-delay", "0") == 0
    assert post(lab, "/registry/head-delay", {"seconds": -1}).status_code == 400


def test_model_that_is_not_there_is_refused(
    lab: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control(lab, "damage", "rog", "0", "none:1b") == 1
    assert capsys.readouterr().err == "none:1b is not installed there\n"
