"""Smaller files made of 16-bit ones, as a real server was seen to make them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.simlab import FAST, OllamaLab, ollama_lab
from workers.simlab.ollama.weights import blob_digest

MODEL, MADE = "llama3.1:8b-instruct-fp16", "llama3.1:8b-instruct-own-q8_0"


@pytest.fixture(scope="module")
def lab() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


@pytest.fixture
def client(lab: OllamaLab) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lab.url, trust_env=False, timeout=20) as client:
        client.post("/api/pull", json={"model": MODEL, "stream": False}).raise_for_status()
        yield client
        client.request("DELETE", "/api/delete", json={"model": MADE})


def create(client: httpx.Client, quant: str, **more: Any) -> list[dict[str, Any]]:
    body = {"model": MADE, "from": MODEL, "quantize": quant, **more}
    return [json.loads(line) for line in client.post("/api/create", json=body).iter_lines()]


def test_file_is_made_and_the_small_layers_are_shared(client: httpx.Client) -> None:
    lines = [line["status"] for line in create(client, "q8_0")]
    digest = blob_digest("llama-3.1-8b", "Q8_0")
    assert lines[:2] == ["verifying conversion", f"creating new layer {digest}"]
    assert lines[-2:] == ["writing manifest", "success"]
    assert sum(line.startswith("using existing layer") for line in lines[2:-2]) >= 2
    models = {each["name"]: each for each in client.get("/api/tags").json()["models"]}
    assert 8_540_776_544 < models[MADE]["size"] < 8_540_800_000
    details = client.post("/api/show", json={"model": MADE}).json()["details"]
    assert (details["parent_model"], details["quantization_level"]) == ("", "Q8_0")


@pytest.mark.parametrize(
    ("quant", "source", "error"),
    [
        ("Q5_K_M", MODEL, "unsupported quantization type Q5_K_M - supported types are"),
        ("q8_0", "qwen3:0.6b", "quantization is only supported for F16, BF16 and F32 models"),
        ("q4_K_S", MODEL, "the simulated server knows no Q4_K_S of this model"),
    ],
)
def test_what_cannot_be_made_is_refused(
    client: httpx.Client, quant: str, source: str, error: str
) -> None:
    client.post("/api/pull", json={"model": source, "stream": False})
    (line,) = create(client, quant, **{"from": source})
    assert line["error"].startswith(error)


def test_who_leaves_ends_it_and_nothing_is_said_until_then(
    lab: OllamaLab, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.server, "pace", replace(FAST, quantize_bytes_per_s=1e9))
    body = {"model": MADE, "from": MODEL, "quantize": "q8_0"}
    with pytest.raises(httpx.ReadTimeout):
        client.post("/api/create", json=body, timeout=0.4)
    assert client.post("/api/show", json={"model": MADE}).status_code == 404
