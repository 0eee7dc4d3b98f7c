"""The HTTP surface: versions, Host and Origin, show, what the store shows."""

from typing import Any

import httpx
import pytest

from tests.simlab import machine, ollama_lab
from tests.workers.simlab.ollama.api import delete, get, names, post, pull, until
from workers.simlab.ollama.settings import Environment, Quirks
from workers.simlab.publish import install

MODEL = "llama3.2:1b"


def request(url: str, **headers: str) -> int:
    return httpx.get(f"{url}/api/version", headers=headers, trust_env=False).status_code


def test_an_old_server_tells_less_about_its_models() -> None:
    with ollama_lab(machine(version="0.24.0")) as lab:
        install(lab.registry, lab.server, MODEL)
        entry = get(lab, "/api/tags")["models"][0]
        assert get(lab, "/api/version") == {"version": "0.24.0"}
        assert "cloud" in get(lab, "/api/status")
    assert "capabilities" not in entry
    assert "context_length" not in entry["details"]


def test_a_new_server_tells_lengths_and_capabilities() -> None:
    with ollama_lab() as lab:
        install(lab.registry, lab.server, MODEL)
        entry = get(lab, "/api/tags")["models"][0]
    assert entry["capabilities"] == ["completion", "tools"]
    assert entry["details"]["context_length"] == 131072
    assert not entry["digest"].startswith("sha256:")


def test_a_server_before_the_status_call_does_not_know_it() -> None:
    with ollama_lab(machine(version="0.15.0")) as lab:
        assert httpx.get(f"{lab.url}/api/status", trust_env=False).status_code == 404


def test_a_strange_host_or_origin_is_refused() -> None:
    with ollama_lab(environment=Environment(origins=("http://dash.example.com",))) as lab:
        assert request(lab.url, Host="evil.example.com") == 403
        assert request(lab.url, Origin="http://evil.example.com") == 403
        assert request(lab.url, Origin="http://dash.example.com") == 200


def test_a_server_that_is_open_to_the_network_takes_any_host() -> None:
    open_to_all = Environment.read({"OLLAMA_HOST": "0.0.0.0"})  # noqa: S104 - a value
    with ollama_lab(environment=open_to_all) as lab:
        assert request(lab.url, Host="evil.example.com") == 200


def show(model: str = MODEL, **more: Any) -> dict[str, Any]:
    with ollama_lab() as lab:
        install(lab.registry, lab.server, MODEL)
        answer: dict[str, Any] = post(lab, "/api/show", model=model, **more).json()
    return answer


def test_show_empties_arrays_unless_all_is_asked_for() -> None:
    assert show()["model_info"]["tokenizer.ggml.tokens"] is None
    assert show(verbose=True)["model_info"]["tokenizer.ggml.tokens"]


def test_show_lists_the_tensors_in_any_case() -> None:
    tensors = show()["tensors"]
    assert {"name", "type", "shape"} == set(tensors[0])
    assert "blk.0.attn_q.weight" in {tensor["name"] for tensor in tensors}


def test_show_names_the_blob_of_the_weights() -> None:
    lines = show()["modelfile"].splitlines()
    path = next(line for line in lines if line.startswith("FROM "))
    assert path.startswith("FROM /usr/share/ollama/.ollama/models/blobs/sha256-")


def test_show_writes_parameters_in_an_order_of_its_own() -> None:
    parameters = {f"p{number}": number for number in range(8)}
    with ollama_lab() as lab:
        install(lab.registry, lab.server, MODEL)
        post(lab, "/api/create", model="mine", **{"from": MODEL}, parameters=parameters)
        texts = {post(lab, "/api/show", model="mine").json()["parameters"] for _ in range(20)}
    assert len(texts) > 1
    assert f"{'p3':<30} 3" in texts.pop().splitlines()


def test_a_derived_model_names_its_parent_and_shares_its_size() -> None:
    with ollama_lab() as lab:
        install(lab.registry, lab.server, MODEL)
        post(lab, "/api/create", model="mine", **{"from": MODEL}, parameters={"num_ctx": 4096})
        mine, base = sorted(get(lab, "/api/tags")["models"], key=lambda each: each["name"] == MODEL)
    assert mine["details"]["parent_model"] == MODEL
    assert abs(mine["size"] - base["size"]) < 1000
    assert mine["digest"] != base["digest"]


def test_a_copy_has_the_digest_of_its_source() -> None:
    with ollama_lab() as lab:
        host = lab.registry_url.removeprefix("http://")
        pull(lab, f"{host}/library/{MODEL}", insecure=True)
        copied = {"source": f"{host}/library/{MODEL}", "destination": MODEL}
        assert post(lab, "/api/copy", **copied).content == b""
        digests = {model["digest"] for model in get(lab, "/api/tags")["models"]}
        delete(lab, f"{host}/library/{MODEL}")
        assert names(lab) == [MODEL]
        assert post(lab, "/api/show", model=MODEL).is_success
    assert len(digests) == 1


def test_a_cloud_stub_has_a_remote_host_and_no_weights() -> None:
    with ollama_lab() as lab:
        stub = {"from": "gpt-oss:120b", "remote_host": "https://ollama.com:443"}
        post(lab, "/api/create", model="big:cloud", **stub)
        entry = get(lab, "/api/tags")["models"][0]
        answer = post(lab, "/api/generate", model="big:cloud", prompt="x")
    assert entry["remote_host"] == "https://ollama.com:443"
    assert entry["size"] < 1000
    assert answer.status_code == 401
    assert answer.json()["signin_url"].startswith("https://ollama.com/")


def test_a_model_copied_in_by_hand_appears_without_a_restart() -> None:
    with ollama_lab() as lab:
        install(lab.registry, lab.server, MODEL)
        folder = lab.server.store.folder / "manifests/registry.ollama.ai/library"
        by_hand = folder / "byhand"
        by_hand.mkdir()
        (by_hand / "latest").write_bytes((folder / "llama3.2" / "1b").read_bytes())
        until(lambda: "byhand:latest" in names(lab))


def test_ps_may_be_slow() -> None:
    with ollama_lab(quirks=Quirks(ps_delay_s=0.3)) as lab, pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{lab.url}/api/ps", trust_env=False, timeout=0.1)
