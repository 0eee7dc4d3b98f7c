"""What may be wrong with Ollama servers, and with what they run."""

from typing import Any

import pytest

from tests.factories import GIB, gpu, loaded, make_node, ollama, seen
from tests.labdash.queries.test_problems import found, only
from workers import wire

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("linux", "curl -fsSL https://ollama.com/install.sh | sh"),
        ("mac", "install the app from https://ollama.com/download"),
    ],
)
def test_an_absent_ollama_says_how_to_install_it(kind: str, step: str) -> None:
    make_node("rog", kind=kind)
    problem = only(instances=(ollama(state="refused", installed=False),))
    assert (problem.code, problem.next_step) == ("ollama_missing", f"On rog: {step}")


@pytest.mark.parametrize("installed", [True, None])
def test_a_stopped_ollama_says_how_to_start_it(installed: bool | None) -> None:
    problem = only(instances=(ollama(state="refused", installed=installed),))
    assert (problem.code, problem.next_step) == (
        "ollama_stopped",
        "On rog: sudo systemctl start ollama",
    )


def test_an_agentless_node_that_refuses_names_the_setting_and_its_price() -> None:
    make_node("attic", agentless=True)
    problem = only(instances=(ollama(state="refused"),))
    assert problem.code == "ollama_refused"
    assert "listens only on 127.0.0.1" in problem.text
    assert "OLLAMA_HOST=0.0.0.0" in problem.next_step
    assert "whole network without a password" in problem.next_step


@pytest.mark.parametrize(
    ("state", "code", "parts"),
    [
        ("refused", "ollama_refused", ("attic.lan is awake", "On attic.lan, set OLLAMA_HOST=0")),
        ("unreachable", "ollama_unreachable", ("attic.lan does not answer", "Wake attic.lan")),
    ],
)
def test_a_server_that_a_worker_asks_over_the_network_is_told_as_its_own_machine(
    state: Any, code: str, parts: tuple[str, str]
) -> None:
    url = "http://attic.lan:11434"
    problem = only(instances=(ollama(state=state, url=url, home="remote", installed=None),))
    assert problem.code == code
    assert parts[0] in problem.text
    assert parts[1] in problem.next_step


@pytest.mark.parametrize("state", ["unreachable", "timeout"])
@pytest.mark.parametrize(
    ("agentless", "part"), [(True, "it is asleep, off"), (False, "does not answer")]
)
def test_an_ollama_out_of_reach_is_told(state: Any, agentless: bool, part: str) -> None:
    make_node("rog", agentless=agentless)
    problem = only(instances=(ollama(state=state),))
    assert problem.code == "ollama_unreachable"
    assert part in problem.text


def test_something_else_that_answers_is_told_with_its_reason() -> None:
    problem = only(instances=(ollama(state="error", reason="HTTP 502"),))
    assert problem.text.endswith("is no healthy Ollama: HTTP 502")


UNNAMED = wire.GpuProcess(pid=7, used_bytes=GIB)
NAMED = wire.GpuProcess(pid=8, name="ollama", used_bytes=GIB, model="qwen3:8b")


@pytest.mark.parametrize(
    ("disk", "processes", "models", "hidden"),
    [
        (None, (), (), ["files"]),
        (None, (UNNAMED,), (loaded(),), ["files", "processes"]),
        (None, (UNNAMED, NAMED), (loaded(),), ["files"]),
        (None, (UNNAMED,), (), ["files"]),
        (None, None, (loaded(),), ["files"]),
        (ollama().disk, (UNNAMED,), (loaded(),), ["processes"]),
        (ollama().disk, (UNNAMED,), (loaded(vram_gib=6), loaded("b")), ["processes"]),
        (ollama().disk, (NAMED,), (loaded(),), []),
    ],
)
def test_an_ollama_in_a_container_is_a_hint_with_what_is_not_visible(
    disk: wire.DiskReading | None, processes: Any, models: Any, hidden: list[str]
) -> None:
    make_node("rog")
    reading = ollama(home="container", disk=disk, loaded=models)
    seen("rog", gpus=(gpu(processes=processes),), instances=(reading,))
    hints = found()
    assert [(each.code, each.severity) for each in hints] == [("ollama_container", "info")] * bool(
        hidden
    )
    for each in hints:
        told = [part for part in ("files", "processes") if f"its {part} are not" in each.text]
        assert told == hidden


@pytest.mark.parametrize(
    ("vram_gib", "code", "part"),
    [
        (0, "model_on_cpu", "runs on the CPU of rog, though there is a GPU"),
        (4.5, "model_partly_on_cpu", "1.5 GiB of its 6.0 GiB are in RAM"),
    ],
)
def test_a_model_on_the_cpu_of_a_node_with_gpus_is_told(
    vram_gib: float, code: str, part: str
) -> None:
    problem = only(instances=(ollama(loaded=(loaded(size_gib=6, vram_gib=vram_gib),)),))
    assert (problem.code, problem.subject) == (code, "ollama qwen3:8b")
    assert part in problem.text


def test_a_model_whose_share_of_the_gpus_nobody_tells_is_no_problem() -> None:
    make_node("rog")
    model = loaded(vram_gib=0).model_copy(update={"size_vram_bytes": None})
    seen("rog", instances=(ollama(loaded=(model,)),))
    assert found() == []


def test_a_part_on_the_cpu_too_small_to_be_shown_is_no_problem() -> None:
    make_node("rog")
    seen("rog", instances=(ollama(loaded=(loaded(size_gib=100, vram_gib=99.6),)),))
    assert found() == []


def test_a_model_on_the_cpu_of_a_node_without_gpus_is_as_it_should() -> None:
    problem = only(gpus=(), instances=(ollama(loaded=(loaded(vram_gib=0),)),))
    assert problem.code == "no_gpu"


@pytest.mark.parametrize(
    ("free_gib", "severity"), [(10, None), (9.9, "attention"), (2, "attention"), (1.9, "bad")]
)
def test_a_disk_nearly_full_is_told_once_for_all_servers_on_it(
    free_gib: float, severity: str | None
) -> None:
    make_node("rog")
    disk = wire.DiskReading(path="/m", total_bytes=100 * GIB, free_bytes=int(free_gib * GIB))
    seen("rog", instances=(ollama(disk=disk), ollama(name="ollama-2", disk=disk)))
    assert [problem.severity for problem in found()] == ([severity] if severity else [])


def test_model_that_outlived_its_name_is_told_with_the_way_out() -> None:
    model = loaded("qwen3:8b").model_copy(update={"is_deleted": True})
    make_node("rog")
    problem = only(
        gpus=(gpu(0, processes=(wire.GpuProcess(pid=1, model="qwen3:8b"),)),),
        instances=(ollama(loaded=(model, loaded("llama3.1:8b"))),),
    )
    assert (problem.code, problem.severity) == ("model_deleted", "info")
    assert problem.text == "qwen3:8b was deleted on rog and is still in memory."
    assert "pull it again and unload it" in problem.next_step
