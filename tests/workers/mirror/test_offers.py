"""What a node offers of its store: one model to each secret, and nothing that a link leads to."""

import asyncio
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from workers.mirror.offers import CannotGive, Offer, Offers, make_offer
from workers.mirror.shelf import UNKNOWN, Asked, FileBlob, Manifest
from workers.shelf import StoreFiles

SECRET = "5ec" + "0" * 29


class Store:
    """A model store with one model in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir()
        layer = self.blob(b"weights")
        self.manifest = json.dumps({"config": self.blob(b"{}"), "layers": [layer]}).encode()
        self.digest = sha256(self.manifest).hexdigest()
        self.weights = folder / "blobs" / str(layer["digest"]).replace(":", "-")
        self.put("registry.ollama.ai/library/Qwen3/0.6B")

    def blob(self, data: bytes) -> dict[str, object]:
        digest = f"sha256:{sha256(data).hexdigest()}"
        (self.folder / "blobs" / digest.replace(":", "-")).write_bytes(data)
        kind = "application/vnd.ollama.image.model"
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def put(self, name: str) -> None:
        path = self.folder / "manifests" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(self.manifest)

    def offer(self, name: str = "qwen3:0.6b", *, digest: str = "") -> Offer:
        files = StoreFiles(self.folder)
        return make_offer(files, name, digest=digest or self.digest, bytes_per_s=None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def asked(model: str = "qwen3", secret: str = SECRET) -> Asked:
    return Asked(namespace=secret, model=model, path="/")


def test_a_model_is_given_to_who_knows_its_secret_and_no_other_model(store: Store) -> None:
    offers = Offers()
    offers.put(SECRET, store.offer(), lease_s=60)
    found = asyncio.run(offers.manifest(asked(), "0.6b"))
    assert found == Manifest(body=store.manifest)
    digest = store.weights.name.replace("-", ":")
    blob = asyncio.run(offers.blob(asked(), digest))
    assert isinstance(blob, FileBlob)
    assert (blob.path, blob.size_bytes) == (store.weights, 7)
    for other in (asked("gemma3"), asked(secret="0" * 32)):
        assert asyncio.run(offers.manifest(other, "0.6b")) is UNKNOWN
        assert asyncio.run(offers.blob(other, digest)) is UNKNOWN
    assert asyncio.run(offers.manifest(asked(), "8b")) is UNKNOWN
    assert asyncio.run(offers.blob(asked(), "sha256:" + "0" * 64)) is UNKNOWN


def test_an_offer_ends_with_its_lease(store: Store) -> None:
    now = 0.0
    offers = Offers(clock=lambda: now)
    offers.put(SECRET, store.offer(), lease_s=60)
    now = 59
    assert offers.find(SECRET)
    assert not offers.are_none
    now = 61
    assert offers.find(SECRET) is None
    assert offers.are_none


def test_what_the_hub_ended_is_known_as_that(store: Store) -> None:
    offers = Offers()
    offers.put(SECRET, store.offer(), lease_s=60)
    assert not offers.has_ended(SECRET)
    offers.end(SECRET)
    assert offers.has_ended(SECRET)
    assert offers.are_none


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mannix/llama3:8b", "registry.ollama.ai/mannix/llama3/8b"),
        ("hf.co/user/Repo-GGUF:Q4_K_M", "hf.co/user/Repo-GGUF/Q4_K_M"),
        ("phi4", "registry.ollama.ai/library/phi4/latest"),
    ],
)
def test_names_of_every_registry_are_found(store: Store, name: str, path: str) -> None:
    store.put(path)
    offer = store.offer(name)
    assert f"{offer.model}:{offer.tag}" in {"llama3:8b", "repo-gguf:q4_k_m", "phi4:latest"}
    assert offer.manifest == store.manifest


def test_what_cannot_be_given_is_told(store: Store) -> None:
    with pytest.raises(CannotGive, match="does not have qwen3:8b any more"):
        store.offer("qwen3:8b")
    with pytest.raises(CannotGive, match="has another version"):
        store.offer(digest="0" * 64)
    os.truncate(store.weights, 3)
    with pytest.raises(CannotGive, match="lacks a file of"):
        store.offer()


def test_no_link_is_followed(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights"
    elsewhere.write_bytes(store.weights.read_bytes())
    store.weights.unlink()
    store.weights.symlink_to(elsewhere)
    with pytest.raises(CannotGive, match="lacks a file"):
        store.offer()
    inner = store.folder / "manifests" / "registry.ollama.ai" / "library"
    inner.rename(elsewhere.parent / "library")
    inner.symlink_to(elsewhere.parent / "library")
    with pytest.raises(CannotGive, match="its folder library is a link"):
        store.offer()
