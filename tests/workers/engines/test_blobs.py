"""Files that Ollama takes for whole because they are there."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.workers.engines.bench import Bench, running_bench
from tests.workers.fake_ollama import MANIFEST, SUCCESS, VERIFYING, Cut, Step, Wait, layer
from workers.engines.blobs import find_damaged

WHOLE = b"tensors" * 1000
DIGEST = sha256(WHOLE).hexdigest()
BLOB = f"sha256-{DIGEST}"
SIZES = {f"sha256:{DIGEST}": len(WHOLE)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / BLOB).write_bytes(WHOLE)
    return tmp_path


@pytest.fixture
def bench(store: Path) -> Iterator[Bench]:
    with running_bench(store) as bench:
        yield bench


def damage(store: Path) -> Path:
    """Change a byte and leave the length."""
    path = store / "blobs" / BLOB
    path.write_bytes(b"T" + WHOLE[1:])
    return path


def find(store: Path, *, wanted: bool = True) -> tuple[Path, ...] | None:
    return find_damaged(store, SIZES, is_wanted=lambda: wanted)


def test_whole_file_is_none_of_them(store: Path) -> None:
    assert find(store) == ()


def test_file_with_another_byte_is_found(store: Path) -> None:
    path = damage(store)
    assert find(store) == (path,)


def test_file_of_another_length_is_found_without_reading_it(store: Path) -> None:
    path = store / "blobs" / BLOB
    path.write_bytes(WHOLE[1:])
    assert find(store, wanted=False) == (path,)


def test_nothing_is_said_where_it_cannot_be_read_or_is_not_wanted(store: Path) -> None:
    assert find(store, wanted=False) is None
    (store / "blobs" / BLOB).unlink()
    assert find(store) is None


def test_name_that_is_no_digest_leads_nowhere(store: Path) -> None:
    assert find_damaged(store, {"sha256:../../etc/passwd": 1}, is_wanted=lambda: True) is None


# --- in a pull ------------------------------------------------------------------------------------

INTERRUPTED: list[Step] = [MANIFEST, layer(DIGEST, len(WHOLE), 10), VERIFYING, Wait(0.1), Cut()]
TAKEN_FOR_WHOLE: list[Step] = [MANIFEST, layer(DIGEST, len(WHOLE), len(WHOLE)), VERIFYING, SUCCESS]


def end(bench: Bench, *scripts: list[Step]) -> tuple[str, str]:
    bench.script(*scripts)
    bench.pulls.carry_out(bench.order())
    last = bench.said()[-1]
    return last.phase, last.reason or ""


def test_files_that_ollama_did_not_finish_checking_are_checked(bench: Bench) -> None:
    assert end(bench, INTERRUPTED, TAKEN_FOR_WHOLE) == ("installed", "")


def test_damaged_file_that_ollama_takes_for_whole_is_named(bench: Bench, store: Path) -> None:
    path = damage(store)
    phase, reason = end(bench, INTERRUPTED, TAKEN_FOR_WHOLE)
    assert phase == "failed"
    assert f"Delete {path}, then pull again" in reason


def test_files_that_nobody_can_check_are_told(bench: Bench, store: Path) -> None:
    (store / "blobs" / BLOB).unlink()
    phase, reason = end(bench, INTERRUPTED, TAKEN_FOR_WHOLE)
    assert phase == "installed"
    assert "fail to load: delete it and pull it again" in reason


def test_pull_that_was_verified_is_not_checked_again(bench: Bench, store: Path) -> None:
    damage(store)
    assert end(bench, TAKEN_FOR_WHOLE) == ("installed", "")
