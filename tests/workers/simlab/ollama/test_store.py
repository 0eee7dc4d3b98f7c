"""The store on disk: what a starting server throws away, and what it counts."""

import os
import time
from pathlib import Path

import pytest

from tests.simlab import machine
from workers.simlab.ollama.parts import PartFileError, split, spread
from workers.simlab.ollama.store import Store

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, machine())


def age(store: Store, seconds: float) -> None:
    """Let all blobs be that old."""
    moment = time.time() - seconds
    for path in (store.folder / "blobs").iterdir():
        os.utime(path, (moment, moment))


def test_a_start_drops_partials_and_orphans_older_than_an_hour(store: Store) -> None:
    free = store.machine.disk_free_bytes
    store.put_virtual(DIGEST, 10**9)
    store.partials.write(OTHER, split(10**9))
    store.partials.grow(OTHER, 5 * 10**8)
    age(store, 59 * 60)
    store.prune()
    assert store.blob_size(DIGEST) == 10**9
    age(store, 61 * 60)
    store.prune()
    assert store.blob_size(DIGEST) is None
    assert store.partials.read(OTHER) == []
    assert store.machine.disk_free_bytes == free


def test_remains_that_nobody_is_at_give_their_disk_back(store: Store) -> None:
    free = store.machine.disk_free_bytes
    store.partials.grow(DIGEST, 10**8)
    store.partials.write(DIGEST, split(10**9))
    assert store.clear_partials() == (0, 1)
    age(store, 61)
    assert store.clear_partials() == (10**8, 0)
    assert store.machine.disk_free_bytes == free


def test_a_server_that_starts_counts_what_lies_there(store: Store) -> None:
    store.put_virtual(DIGEST, 10**9)
    store.partials.grow(OTHER, 10**8)
    again = Store(store.folder, machine())
    assert again.machine.disk_free_bytes == store.machine.disk_free_bytes


def test_an_empty_part_file_reads_as_go_s_eof(store: Store) -> None:
    store.partials.spoil(DIGEST)
    with pytest.raises(PartFileError, match="EOF"):
        store.partials.read(DIGEST)


@pytest.mark.parametrize(
    ("total", "count", "first"),
    [
        (10**6, 1, 10**6),
        (350_000_000, 4, 100_000_000),
        (4_000_000_000, 16, 250_000_000),
        (40_000_000_000, 40, 10**9),
    ],
)
def test_a_blob_is_cut_into_ollama_s_parts(total: int, count: int, first: int) -> None:
    parts = split(total)
    assert (len(parts), parts[0].size) == (count, first)
    assert sum(part.size for part in parts) == total


def test_what_arrives_is_spread_over_all_open_parts(store: Store) -> None:
    parts = split(350_000_000)
    spread(parts, 240_000_000)
    assert [part.completed for part in parts] == [
        63_333_333 + 1,
        63_333_333,
        63_333_333,
        50_000_000,
    ]
    spread(parts, 10**9)
    assert all(part.completed == part.size for part in parts)
    store.partials.write(DIGEST, parts)
    assert store.partials.read(DIGEST) == parts
