"""The control API of a lab that runs, over real HTTP, and the hand commands for it."""

import json
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest

from tests.workers.simlab.running import Running, running_lab
from workers.gpus.base import HardwareReading
from workers.gpus.simulated import SimulatedSource
from workers.simlab import ctl
from workers.wire import GpuProcess

GIB = 2**30


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_lab(tmp_path_factory.mktemp("lab"), "--no-life", "--registry-speed", "0") as lab:
        yield lab


def read(lab: Running, slug: str) -> HardwareReading:
    return SimulatedSource(lab.machine(slug)["hardware_url"]).read()


def post(lab: Running, path: str, body: object = None) -> httpx.Response:
    return httpx.post(lab.control_url + path, json=body, trust_env=False)


def test_the_lab_describes_itself_as_in_its_ready_file(lab: Running) -> None:
    assert httpx.get(f"{lab.control_url}/lab", trust_env=False).json() == lab.described
    slugs = [machine["slug"] for machine in lab.described["machines"]]
    assert slugs == ["rog", "tower", "oldie", "minibox", "studio"]


def test_every_machine_reads_as_the_node_worker_wants_it(lab: Running) -> None:
    names = {slug: [gpu.name for gpu in read(lab, slug).gpus] for slug in ("rog", "minibox")}
    assert names == {"rog": ["NVIDIA GeForce RTX 3090"] * 2, "minibox": []}
    assert read(lab, "rog").driver.state == "ok"
    assert read(lab, "studio").gpus[0].unified


def test_every_server_answers_with_its_version_and_what_is_installed(lab: Running) -> None:
    versions = {
        each["slug"]: httpx.get(f"{each['ollama_urls'][0]}/api/version", trust_env=False).json()
        for each in lab.described["machines"]
    }
    assert versions["oldie"] == {"version": "0.24.0"}
    assert versions["rog"] == {"version": "0.32.15"}
    tags = httpx.get(f"{lab.ollama_url('minibox')}/api/tags", trust_env=False).json()["models"]
    assert {each["name"] for each in tags} == {"llama3.2:1b", "qwen3:0.6b"}


def test_a_game_takes_memory_under_its_own_name_until_it_ends(lab: Running) -> None:
    took = post(lab, "/machines/rog/gpus/0/game", {"bytes": 6 * GIB}).json()["bytes"]
    assert took == 6 * GIB
    (process,) = (each for each in processes(lab, 0) if each.name != "Xorg")
    assert (process.name, process.used_bytes) == ("Cyberpunk2077.exe", 6 * GIB)
    assert (process.model, process.instance) == (None, None)
    post(lab, "/machines/rog/gpus/0/game", {"bytes": 0})
    assert {each.name for each in processes(lab, 0)} == {"Xorg"}


def processes(lab: Running, gpu: int) -> tuple[GpuProcess, ...]:
    return read(lab, "rog").gpus[gpu].processes or ()


def test_a_desktop_takes_and_gives_back_memory(lab: Running) -> None:
    assert post(lab, "/machines/rog/gpus/1/desktop", {"bytes": 3 * GIB}).status_code == 200
    assert read(lab, "rog").gpus[1].memory_used_bytes == 3 * GIB
    post(lab, "/machines/rog/gpus/1/desktop", {"bytes": 0})
    assert read(lab, "rog").gpus[1].memory_used_bytes == 0


def test_a_desktop_larger_than_the_gpu_is_refused(lab: Running) -> None:
    answer = post(lab, "/machines/rog/gpus/1/desktop", {"bytes": 30 * GIB})
    assert answer.status_code == 400
    assert "has only" in answer.text


def test_a_gpu_is_lost_and_restored(lab: Running) -> None:
    post(lab, "/machines/oldie/gpus/0/lose")
    assert [gpu.state for gpu in read(lab, "oldie").gpus] == ["lost", "ok"]
    post(lab, "/machines/oldie/gpus/0/restore")
    assert [gpu.state for gpu in read(lab, "oldie").gpus] == ["ok", "ok"]


def load(lab: Running, slug: str, model: str) -> dict[str, object]:
    """Ask for a model, and give its entry of ps."""
    url = lab.ollama_url(slug)
    body = {"model": model, "options": {"num_ctx": 4096}}
    httpx.post(f"{url}/api/generate", json=body, trust_env=False, timeout=30).raise_for_status()
    models = httpx.get(f"{url}/api/ps", trust_env=False).json()["models"]
    return next(entry for entry in models if entry["name"] == model)


def test_a_model_whose_gpu_was_lost_comes_back_on_the_cpu(lab: Running) -> None:
    before = load(lab, "tower", "gemma3:4b")
    assert before["size_vram"] == before["size"]
    post(lab, "/machines/tower/gpus/0/lose")
    assert load(lab, "tower", "gemma3:4b")["size_vram"] == 0
    post(lab, "/machines/tower/gpus/0/restore")


def test_the_disk_is_as_full_as_one_says(lab: Running) -> None:
    post(lab, "/machines/studio/disk", {"free_bytes": GIB})
    disk = read(lab, "studio").disk
    assert disk
    assert disk.free_bytes == GIB


def test_a_server_is_stopped_and_started_on_its_port(lab: Running) -> None:
    url = f"{lab.ollama_url('tower')}/api/version"
    post(lab, "/machines/tower/ollama/0/stop")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    post(lab, "/machines/tower/ollama/0/start")
    assert httpx.get(url, trust_env=False).is_success


def pull(lab: Running, model: str) -> list[dict[str, object]]:
    """Pull to a disk with room, whatever was done to it before."""
    post(lab, "/machines/studio/disk", {"free_bytes": 100 * GIB})
    url = f"{lab.ollama_url('studio')}/api/pull"
    with httpx.stream("POST", url, json={"model": model}, trust_env=False) as answer:
        # One that makes no progress speaks for ever.
        return [json.loads(line) for line in islice(answer.iter_lines(), 100)]


def test_a_fault_is_ordered_and_taken_back(lab: Running) -> None:
    fault = {"model": "qwen3:0.6b", "fault": "manifest-404"}
    assert post(lab, "/registry/faults", fault).status_code == 200
    assert "file does not exist" in str(pull(lab, "qwen3:0.6b")[-1]["error"])
    post(lab, "/registry/faults", {**fault, "fault": None})
    assert pull(lab, "qwen3:0.6b")[-1] == {"status": "success"}


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/machines/attic/gpus/0/lose", None, 404, "there is no machine attic"),
        ("/machines/minibox/gpus/0/lose", None, 404, "minibox has no GPU 0, it has 0"),
        ("/machines/rog/ollama/1/stop", None, 404, "rog has no Ollama server 1, it has 1"),
        ("/machines/rog/disk", {"free_bytes": -1}, 400, "whole number"),
        ("/machines/rog/disk", {"free_bytes": 2**60}, 400, "bytes in all"),
        ("/machines/rog/disk", [], 400, "not an object"),
        ("/registry/speed", {"bytes_per_s": True}, 400, "whole number"),
        ("/registry/publish", {"model": "none:1b", "change": "weights"}, 400, "does not offer"),
        ("/registry/faults", {"model": "none:1b", "fault": "cut"}, 400, "does not offer none:1b"),
        ("/registry/faults", {"model": "qwen3:8b", "fault": "fire"}, 400, "one of manifest-404"),
    ],
)
def test_bad_input_gets_one_clear_line(
    lab: Running, path: str, body: object, status: int, text: str
) -> None:
    answer = post(lab, path, body)
    assert answer.status_code == status
    assert text in answer.text
    assert answer.text.count("\n") == 1


def test_a_body_that_is_no_json_gets_one_clear_line(lab: Running) -> None:
    url = f"{lab.control_url}/registry/speed"
    answer = httpx.post(url, content=b"fast", trust_env=False)
    assert (answer.status_code, answer.text[:24]) == (400, "the body is not JSON: Ex")


def control(lab: Running, *words: str) -> int:
    return ctl.main(["--control-url", lab.control_url, *words])


def test_hand_commands_do_what_the_api_does(
    lab: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control(lab, "lose", "rog", "0") == 0
    assert [gpu.state for gpu in read(lab, "rog").gpus] == ["lost", "ok"]
    assert control(lab, "restore", "rog", "0") == 0
    assert control(lab, "publish", "llama3.1:8b", "template") == 0
    assert control(lab, "speed", "5000000") == 0
    capsys.readouterr()
    assert control(lab, "hardware", "rog") == 0
    assert json.loads(capsys.readouterr().out)["host"]["hostname"] == "rog"


def test_a_speed_of_nothing_is_no_limit_as_on_the_command_line(lab: Running) -> None:
    assert control(lab, "speed", "0") == 0
    assert pull(lab, "llama3.2:1b")[-1] == {"status": "success"}


def test_a_hand_command_that_fails_says_why_on_stderr(
    lab: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control(lab, "lose", "rog", "7") == 1
    assert capsys.readouterr().err == "rog has no GPU 7, it has 2\n"


def test_a_hand_command_to_nobody_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--control-url", "http://127.0.0.1:9", "lab"]) == 1
    assert "does not answer at http://127.0.0.1:9/lab" in capsys.readouterr().err
