"""The fake registry speaks the protocol that Ollama's own client needs."""

from collections.abc import Iterator
from hashlib import sha256

import httpx
import pytest

from tests.simlab import OllamaLab, ollama_lab
from workers.simlab.registry import REQUESTS_KEPT, VIRTUAL_HEADER, Registry

MODEL = "library/llama3.2"


@pytest.fixture
def lab() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


def ask(lab: OllamaLab, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    url = f"{lab.registry_url}/v2/{MODEL}/{path}"
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=10)


def layers(lab: OllamaLab) -> list[dict[str, object]]:
    body = ask(lab, "manifests/1b").json()
    return [*body["layers"], body["config"]]


def test_a_manifest_carries_its_own_digest(lab: OllamaLab) -> None:
    answer = ask(lab, "manifests/1b")
    assert answer.headers["ollama-content-digest"] == sha256(answer.content).hexdigest()
    assert answer.json()["schemaVersion"] == 2


def test_a_manifest_answers_head_too(lab: OllamaLab) -> None:
    answer = ask(lab, "manifests/1b", "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(answer.headers["ollama-content-digest"]) == 64


def test_what_is_not_there_is_404(lab: OllamaLab) -> None:
    assert ask(lab, "manifests/nope").status_code == 404
    assert ask(lab, f"blobs/sha256:{'0' * 64}", "HEAD").status_code == 404


def test_small_blobs_are_real_bytes_with_ranges(lab: OllamaLab) -> None:
    config = layers(lab)[-1]
    whole = ask(lab, f"blobs/{config['digest']}")
    assert whole.headers["Location"] == f"/v2/{MODEL}/blobs/{config['digest']}"
    assert f"sha256:{sha256(whole.content).hexdigest()}" == config["digest"]
    part = ask(lab, f"blobs/{config['digest']}", Range="bytes=2-5")
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{config['size']}"


def test_the_large_blob_is_a_number_of_true_size(lab: OllamaLab) -> None:
    large = layers(lab)[0]
    head = ask(lab, f"blobs/{large['digest']}", "HEAD")
    assert int(head.headers["Content-Length"]) == large["size"] == 1_321_084_448
    assert head.headers[VIRTUAL_HEADER] == "1"
    counted = ask(lab, f"blobs/{large['digest']}", Range="bytes=0-999", **{VIRTUAL_HEADER: "1"})
    assert sum(int(line) for line in counted.text.split()) == 1000


def test_a_client_that_wants_its_bytes_is_told_that_there_are_none(lab: OllamaLab) -> None:
    large = layers(lab)[0]
    assert ask(lab, f"blobs/{large['digest']}", Range="bytes=0-999").status_code == 501


@pytest.mark.parametrize("text", ["bytes=a-b", "bytes=99999999999-", "items=0-1"])
def test_a_bad_range_is_416(lab: OllamaLab, text: str) -> None:
    config = layers(lab)[-1]
    assert ask(lab, f"blobs/{config['digest']}", Range=text).status_code == 416


def test_names_of_one_file_share_its_blob(lab: OllamaLab) -> None:
    digests = [digest for digest, blob in lab.registry.blobs.items() if blob.data is None]
    assert len(digests) == len(set(digests)) > 20


def test_many_requests_are_not_all_remembered() -> None:
    registry = Registry()
    for number in range(REQUESTS_KEPT + 2):
        registry.note(f"GET /{number}")
    assert len(registry.requests) == REQUESTS_KEPT
    assert registry.requests[-1] == f"GET /{REQUESTS_KEPT + 1}"
