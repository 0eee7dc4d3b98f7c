"""New versions of what the simulated registry publishes, and servers that pull them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.simlab import OllamaLab, ollama_lab
from workers.simlab.lab import Lab
from workers.simlab.ollama.manifest import Manifest, read_manifest
from workers.simlab.ollama.weights import Weights, catalog_weights
from workers.simlab.publish import publish_catalog
from workers.simlab.registry import Registry
from workers.simlab.releases import NotPublishedError, release

NAME = "qwen3:0.6b"


@pytest.fixture(scope="module")
def weights() -> dict[str, Weights]:
    return catalog_weights()


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    publish_catalog(registry)
    return registry


@pytest.fixture(scope="module")
def lab(weights: dict[str, Weights]) -> Iterator[OllamaLab]:
    with ollama_lab(weights=weights) as lab:
        yield lab


def manifest(registry: Registry) -> Manifest:
    return read_manifest(registry.manifests[registry.key(NAME)])


def files(found: Manifest) -> dict[str, str]:
    return {layer.kind: layer.digest for layer in found.all_layers}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("weights", "model"),
        ("template", "template"),
        ("parameters", "params"),
        ("requires=0.99.0", "config"),
    ],
)
def test_one_thing_changes_and_the_rest_stays(
    registry: Registry, weights: dict[str, Weights], change: str, kind: str
) -> None:
    old = manifest(registry)
    release(registry, weights, NAME, change)
    new = manifest(registry)
    assert new.digest != old.digest
    assert {k for k, digest in files(new).items() if files(old)[k] != digest} == {kind}
    assert all(digest in registry.blobs for digest in files(new).values())


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [("none:1b", "weights", "does not offer none:1b"), (NAME, "colour", "one of weights")],
)
def test_what_cannot_be_published_gets_one_line(
    registry: Registry, name: str, change: str, text: str
) -> None:
    with pytest.raises(NotPublishedError, match=text):
        release(registry, {}, name, change)


def test_pull_brings_the_new_version_and_the_old_files_go(lab: OllamaLab) -> None:
    with httpx.Client(base_url=lab.url, trust_env=False, timeout=20) as client:

        def pull() -> dict[str, object]:
            found = client.post("/api/pull", json={"model": NAME, "stream": False})
            answer: dict[str, object] = found.json()
            return answer

        assert pull() == {"status": "success"}
        old = files(manifest(lab.registry))["model"]
        release(lab.registry, dict(lab.server.weights), NAME, "template")
        weights = lab.server.weights
        assert isinstance(weights, dict)
        release(lab.registry, weights, NAME, "weights")
        assert pull() == {"status": "success"}
        assert (
            client.get("/api/tags").json()["models"][0]["digest"] == manifest(lab.registry).digest
        )
        assert client.post("/api/show", json={"model": NAME}).json()["model_info"]
        assert client.head(f"/api/blobs/{old}").status_code == 404
        release(lab.registry, weights, NAME, "requires=0.99.0")
        assert "requires a newer version of Ollama" in str(pull()["error"])
        release(lab.registry, weights, NAME, "withdraw")
        assert pull()["error"] == "pull model manifest: file does not exist"


def test_lab_publishes_the_same_again_when_it_starts_anew(tmp_path: Path) -> None:

    async def digest(change: str = "") -> str:
        lab = Lab((), state_dir=tmp_path, registry_bytes_per_s=None)
        await lab.start()
        if change:
            lab.release(NAME, change)
        await lab.stop()
        return manifest(lab.registry).digest

    changed = asyncio.run(digest("weights"))
    assert asyncio.run(digest()) == changed
