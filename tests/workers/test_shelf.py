import json
import os
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from workers.shelf import MOST_MANIFEST_BYTES, Shelf, ShelfReader, StoreFiles

MODEL, CONFIG, OLD = "a" * 64, "b" * 64, "c" * 64
LAYER = "application/vnd.ollama.image."


def entry(digest: str, size: int, kind: str = "model") -> dict[str, Any]:
    return {"mediaType": f"{LAYER}{kind}", "digest": f"sha256:{digest}", "size": size}


def manifest(*layers: dict[str, Any]) -> bytes:
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 5}
    return json.dumps(
        {"config": config | {"digest": f"sha256:{CONFIG}"}, "layers": layers}
    ).encode()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "manifests").mkdir()
    return tmp_path


def put(store: Path, path: str, raw: bytes) -> str:
    file = store / "manifests" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
    return sha256(raw).hexdigest()


def blob(store: Path, name: str, size: int, *, age_s: float = 0) -> Path:
    file = store / "blobs" / name
    file.write_bytes(b"x" * size)
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def read(store: Path) -> Shelf:
    return ShelfReader().read(StoreFiles(store))


def layers_of(shelf: Shelf) -> Iterable[list[tuple[str, int, str]]]:
    return ([(x.digest, x.size_bytes, x.kind) for x in each] for each in shelf.layers.values())


def test_a_name_is_told_with_all_of_its_files(store: Path) -> None:
    digest = put(store, "registry.ollama.ai/library/qwen3/8b", manifest(entry(MODEL, 100)))

    shelf = read(store)

    assert list(shelf.layers) == [digest]
    assert list(layers_of(shelf)) == [[(MODEL, 100, "model"), (CONFIG, 5, "config")]]
    assert (shelf.reading.note, shelf.reading.may_delete) == (None, True)


def test_what_no_name_needs_and_what_is_unfinished_is_told_apart(store: Path) -> None:
    put(store, "registry.ollama.ai/library/qwen3/8b", manifest(entry(MODEL, 4096)))
    blob(store, f"sha256-{MODEL}", 4096)
    blob(store, f"sha256-{OLD}", 8192)
    with (store / "blobs" / f"sha256-{'d' * 64}-partial").open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(10 * 2**30)
    blob(store, f"sha256-{'d' * 64}-partial-0", 60, age_s=100)
    blob(store, "notes.txt", 7)

    reading = read(store).reading

    assert (reading.orphans, reading.orphan_bytes) == (1, 8192)
    assert [each.digest for each in reading.partials] == ["d" * 64]
    # Its holes take nothing of the disk.
    assert 4096 <= reading.partials[0].size_bytes < 100_000
    assert reading.partials[0].age_s < 60


def test_nothing_outside_of_the_store_is_read(store: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    put(outside, "registry.ollama.ai/library/secret/1b", manifest(entry(OLD, 1)))
    (store / "manifests" / "elsewhere").symlink_to(outside / "manifests" / "registry.ollama.ai")
    inside = store / "manifests" / "registry.ollama.ai" / "library" / "qwen3"
    inside.mkdir(parents=True)
    target = outside / "manifests" / "registry.ollama.ai" / "library" / "secret" / "1b"
    (inside / "8b").symlink_to(target)
    (store / "blobs" / f"sha256-{OLD}-partial").symlink_to(target)
    os.mkfifo(inside / "pipe")

    shelf = read(store)

    assert (shelf.layers, shelf.reading.partials) == ({}, ())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"layers": 7}',
        manifest(entry("../../etc/passwd", 1)),
        manifest(entry(MODEL, -1)),
        manifest(entry(MODEL, 2**70)),
        b" " * (MOST_MANIFEST_BYTES + 1),
    ],
    ids=["empty", "cut", "list", "deep", "number", "path", "negative", "huge", "long"],
)
def test_a_manifest_that_is_none_costs_only_its_own_layers(store: Path, raw: bytes) -> None:
    good = put(store, "registry.ollama.ai/library/qwen3/8b", manifest(entry(MODEL, 100)))
    put(store, "registry.ollama.ai/library/bad/1b", raw)
    blob(store, f"sha256-{OLD}", 10)

    shelf = read(store)

    assert list(shelf.layers) == [good]
    # What it needs is not known, so neither is what nobody needs.
    assert (shelf.reading.orphans, shelf.reading.note) == (None, "more lies in it than is told")


def test_a_manifest_is_read_again_only_when_it_changed(store: Path) -> None:
    path = "registry.ollama.ai/library/qwen3/8b"
    put(store, path, manifest(entry(MODEL, 100)))
    reader = ShelfReader()
    first = reader.read(StoreFiles(store)).layers
    file = store / "manifests" / path
    os.chmod(file, 0)  # noqa: PTH101 - root reads it all the same
    assert reader.read(StoreFiles(store)).layers == first
    os.chmod(file, 0o600)  # noqa: PTH101 - as above
    changed = put(store, path, manifest(entry(OLD, 1234)))
    assert list(reader.read(StoreFiles(store)).layers) == [changed]


def test_a_store_that_is_not_there_says_so(tmp_path: Path) -> None:
    reading = read(tmp_path / "absent").reading
    assert (reading.note, reading.orphan_bytes, reading.partial_bytes) == (
        "there is no store in this folder",
        None,
        None,
    )


def test_only_downloads_that_nobody_is_at_are_deleted(store: Path) -> None:
    kept = [blob(store, f"sha256-{MODEL}", 10), blob(store, f"sha256-{OLD}-partial", 10)]
    kept.append(blob(store, f"sha256-{OLD}-partial-0", 10, age_s=500))
    gone = [blob(store, f"sha256-{CONFIG}-partial", 4096, age_s=500)]
    gone.append(blob(store, f"sha256-{CONFIG}-partial-3", 10, age_s=90))

    freed, left = StoreFiles(store).clear_partials()

    assert [path.exists() for path in (*kept, *gone)] == [True, True, True, False, False]
    assert (freed >= 4096, left) == (True, 1)


def test_nothing_is_deleted_behind_a_link(store: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "blobs").mkdir()
    victim = blob(outside, f"sha256-{MODEL}-partial", 10, age_s=500)
    (store / "blobs").rmdir()
    (store / "blobs").symlink_to(outside / "blobs")
    with pytest.raises(OSError, match="a link"):
        StoreFiles(store).clear_partials()
    assert victim.exists()
    assert read(store).reading.note == "its folder blobs is a link, which is not followed"
