"""What was seen of real Ollama servers, played to a real worker; see deploy/docs/faults.md."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from labdash.models import Node
from labdash.queries import gpu_rules, ollama_rules
from labdash.queries.lab import NodeView
from tests.workers.node_process import wait_for
from tests.workers.simlab.running import running_lab
from tests.workers.stores import own_store
from tests.workers.test_simulated_lab import MODEL, Lab
from workers.wire import LoadOrder, LoadProgress, PullProgress, cancel_key

pytestmark = pytest.mark.e2e

SERVER = "/machines/rog/ollama/0"
LOADED = "qwen3:8b"
# 3.1 GiB, which takes two seconds to check.
LARGE = "gemma3:4b"
GIB = 2**30


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        running_lab(folder / "lab", "--no-life") as simlab,
        own_store() as server,
        ExitStack() as stack,
    ):
        lab = Lab(simlab, server, folder, stack)
        lab.start_node("rog")
        lab.sample("rog")
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    shared_lab.control("/registry/start")
    shared_lab.control("/registry/head-delay", seconds=0)
    shared_lab.control(f"{SERVER}/start")
    shared_lab.control("/machines/rog/end-orphans")
    shared_lab.clean_up()
    return shared_lab


def ask(lab: Lab, method: str, path: str, **body: Any) -> httpx.Response:
    url = lab.simlab.ollama_url("rog") + path
    return httpx.request(method, url, json=body, trust_env=False, timeout=60)


def load(lab: Lab, model: str = LOADED) -> None:
    options = {"num_ctx": 4096}
    answer = ask(lab, "POST", "/api/generate", model=model, keep_alive=-1, options=options)
    answer.raise_for_status()


def unload(lab: Lab) -> None:
    ask(lab, "POST", "/api/generate", model=LOADED, keep_alive=0)
    wait_for(lambda: not lab.sample("rog").instances[0].loaded)


def problems(lab: Lab) -> set[str]:
    """Return the codes of what the hub says is wrong with the newest sample."""
    sample = lab.sample("rog")
    node = Node(slug="rog", kind="linux")
    view = NodeView(node=node, liveness="live", age_s=0.0, sample=sample)
    return {each.code for each in (*gpu_rules.find(view, sample), *ollama_rules.find(view, sample))}


def wait_for_phase(lab: Lab, phase: str) -> PullProgress:
    wait_for(lambda: phase in [report.phase for report in lab.said()])
    return next(report for report in lab.said() if report.phase == phase)


# --- pulls ----------------------------------------------------------------------------------------


def test_pull_outlives_a_server_that_is_killed(lab: Lab) -> None:
    lab.pull(speed=400_000_000)
    wait_for(lambda: any((report.done_bytes or 0) > GIB / 2 for report in lab.said()))
    lab.control(f"{SERVER}/kill")
    wait_for(lambda: any("went away" in (report.reason or "") for report in lab.said()))
    lab.control(f"{SERVER}/start")
    assert lab.end().phase == "installed"
    done = [report.done_bytes for report in lab.said() if report.done_bytes is not None]
    assert done == sorted(done)


def test_pull_of_what_a_stop_has_spoiled_says_what_to_delete(lab: Lab) -> None:
    lab.pull(speed=100_000_000)
    wait_for(lambda: any(report.done_bytes for report in lab.said()))
    lab.control(f"{SERVER}/spoil")
    lab.control(f"{SERVER}/start")
    end = lab.end()
    for path in (lab.folder / "lab" / "state" / "rog" / "ollama-0" / "blobs").glob("*-partial*"):
        path.unlink()
    assert (end.phase, end.retry) == ("failed", False)
    assert "Delete the files with -partial in their names" in (end.reason or "")


def test_files_that_a_killed_server_did_not_finish_checking_are_told(lab: Lab) -> None:
    lab.pull(LARGE)
    wait_for_phase(lab, "verifying")
    lab.control(f"{SERVER}/kill")
    lab.control(f"{SERVER}/start")
    end = lab.end()
    assert end.phase == "installed"
    assert f"Should {LARGE} fail to load" in (end.reason or "")


def test_pull_from_a_registry_that_is_gone_fails_with_the_reason(lab: Lab) -> None:
    lab.control("/registry/stop")
    lab.pull(speed=0)
    end = lab.end()
    assert (end.phase, end.retry) == ("failed", True)
    assert "cannot reach the registry" in (end.reason or "")


@pytest.mark.long
def test_pull_from_a_registry_that_goes_for_ever_fails_with_the_reason(lab: Lab) -> None:
    lab.pull(speed=100_000_000)
    wait_for_phase(lab, "downloading")
    lab.control("/registry/stop")
    end = lab.end()
    assert (end.phase, end.retry) == ("failed", True)
    assert "cannot reach the registry" in (end.reason or "")


@contextmanager
def another_pull(lab: Lab) -> Iterator[None]:
    """Let another program pull the same model, and wait for the size of its file."""

    def pull() -> None:
        ask(lab, "POST", "/api/pull", model=MODEL)

    thread = threading.Thread(target=pull)
    thread.start()
    yield
    thread.join(60)


def test_pull_that_is_cancelled_behind_another_programs_does_not_kill_the_server(
    lab: Lab,
) -> None:
    lab.control("/registry/head-delay", seconds=4)
    with another_pull(lab):
        job_id = lab.pull()
        wait_for_phase(lab, "downloading")
        lab.server.client.set(cancel_key("rog", job_id), 1)
        assert lab.end().phase == "cancelled"
    names = {model["name"] for model in ask(lab, "GET", "/api/tags").json()["models"]}
    # Had the server died, the other program's pull would have ended with it.
    assert MODEL in names


def test_name_in_other_letters_is_the_model_that_is_there(lab: Lab) -> None:
    lab.pull()
    first = lab.end()
    lab.pull(MODEL.upper())
    second = lab.end()
    names = [model["name"] for model in ask(lab, "GET", "/api/tags").json()["models"]]
    assert (first.phase, second.phase) == ("installed", "installed")
    assert [name for name in names if name.lower() == MODEL] == [MODEL]


# --- models in memory -----------------------------------------------------------------------------


def test_file_that_is_cut_off_is_named_as_damaged_when_it_is_loaded(lab: Lab) -> None:
    lab.pull()
    lab.end()
    lab.control(f"{SERVER}/damage", model=MODEL)
    url = lab.simlab.ollama_url("rog")
    order = LoadOrder(
        node="rog", job_id=77, instance_url=url, model=MODEL, wish="load", deadline_s=60
    )
    lab.hub.order("rog", "workers.load", json.loads(order.model_dump_json()))

    def ends() -> list[LoadProgress]:
        reports = [each for each in lab.server.reports("rog") if isinstance(each, LoadProgress)]
        return [each for each in reports if each.phase == "failed"]

    wait_for(ends)
    assert ends()[0].meaning == ("The model's file is damaged. Delete the model and pull it again.")


def test_runner_that_a_killed_server_left_is_told(lab: Lab) -> None:
    load(lab)
    lab.control(f"{SERVER}/kill")
    lab.control(f"{SERVER}/start")
    wait_for(lambda: "orphan" in problems(lab))
    lab.control("/machines/rog/end-orphans")
    wait_for(lambda: "orphan" not in problems(lab))


def test_runner_that_died_is_told_until_the_model_is_used_again(lab: Lab) -> None:
    load(lab)
    lab.control(f"{SERVER}/kill-runner", model=LOADED)
    wait_for(lambda: "runner_gone" in problems(lab))
    load(lab)
    wait_for(lambda: "runner_gone" not in problems(lab))
    unload(lab)


def test_model_that_was_deleted_while_loaded_is_told(lab: Lab) -> None:
    ask(lab, "POST", "/api/copy", source=LOADED, destination="spare:8b")
    load(lab, "spare:8b")
    ask(lab, "DELETE", "/api/delete", model="spare:8b")
    wait_for(lambda: "model_deleted" in problems(lab))
    unload(lab)
    wait_for(lambda: "model_deleted" not in problems(lab))
