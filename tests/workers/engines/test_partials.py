"""Remains of a pull that was broken off by a stop of Ollama."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.engines.bench import DIGEST, Bench, phases, running_bench
from tests.workers.fake_ollama import MANIFEST, SUCCESS, Hold, layer
from workers.engines.partials import OLD_AFTER_S, clear_spoiled

OTHER = "cd" * 32
EOF = {"error": "EOF"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    return tmp_path


@pytest.fixture
def bench(store: Path) -> Iterator[Bench]:
    with running_bench(store) as bench:
        yield bench


def write(store: Path, name: str, text: str = "", *, age_s: float = 2 * OLD_AFTER_S) -> Path:
    path = store / "blobs" / name
    path.write_text(text)
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


def spoil(store: Path, digest: str = DIGEST, **fields: Any) -> list[Path]:
    """Leave what a stop leaves: the file, a part that goes on, and an empty one."""
    name = f"sha256-{digest}-partial"
    return [
        write(store, name, "bytes"),
        write(store, f"{name}-0", '{"N": 0}'),
        write(store, f"{name}-1", **fields),
    ]


def test_download_with_an_empty_part_is_deleted_whole(store: Path) -> None:
    gone = spoil(store)
    assert clear_spoiled(store) == 1
    assert not any(path.exists() for path in gone)


def test_all_else_stays(store: Path) -> None:
    spoil(store)
    stays = [
        write(store, f"sha256-{DIGEST}", "whole"),
        write(store, f"sha256-{OTHER}-partial", "bytes"),
        write(store, f"sha256-{OTHER}-partial-0", '{"N": 0}'),
        write(store, "sha256-short-partial-0"),
        write(store, "notes-partial-0"),
    ]
    assert clear_spoiled(store) == 1
    assert all(path.exists() for path in stays)


def test_download_that_has_just_begun_stays(store: Path) -> None:
    stays = spoil(store, age_s=0)
    assert clear_spoiled(store) == 0
    assert all(path.exists() for path in stays)


def test_link_is_not_followed(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "empty"
    target.touch()
    (store / "blobs" / f"sha256-{DIGEST}-partial-0").symlink_to(target)
    assert clear_spoiled(store) == 0
    assert target.exists()


def test_pull_that_meets_them_begins_anew(bench: Bench, store: Path) -> None:
    gone = spoil(store)
    bench.script([MANIFEST, EOF], [MANIFEST, layer(DIGEST, 100, 100), SUCCESS])
    bench.pulls.carry_out(bench.order())
    assert phases(bench.said())[-1] == "installed"
    assert not any(path.exists() for path in gone)


def test_pull_that_still_cannot_go_on_says_what_to_delete(bench: Bench, store: Path) -> None:
    spoil(store)
    bench.script([MANIFEST, EOF], [MANIFEST, EOF])
    bench.pulls.carry_out(bench.order())
    assert bench.said()[-1].phase == "failed"
    assert f"from {store}/blobs" in (bench.said()[-1].reason or "")
    assert len(bench.fake.pulls) == 2


def test_pull_waits_until_it_is_sure_that_a_part_stays_empty(bench: Bench, store: Path) -> None:
    gone = spoil(store, age_s=-60)
    hold = Hold()
    bench.script(
        [MANIFEST, EOF], [MANIFEST, hold, EOF], [MANIFEST, layer(DIGEST, 100, 100), SUCCESS]
    )
    bench.start(bench.order())
    bench.wait_for(lambda: len(bench.fake.pulls) == 2)
    os.utime(gone[-1], (0, 0))
    hold.let_go()
    bench.wait_for_phase("installed")
    assert not any(path.exists() for path in gone)


def test_pull_is_not_repeated_where_nothing_could_be_deleted(bench: Bench) -> None:
    bench.script([MANIFEST, EOF])
    bench.pulls.carry_out(bench.order())
    assert bench.said()[-1].phase == "failed"
    assert len(bench.fake.pulls) == 1


def test_folder_that_may_not_be_read_is_no_fault_of_ours(bench: Bench, store: Path) -> None:
    (store / "blobs").rmdir()
    bench.script([MANIFEST, EOF])
    bench.pulls.carry_out(bench.order())
    assert "Delete the files" in (bench.said()[-1].reason or "")
