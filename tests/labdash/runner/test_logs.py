"""Log files stay small."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labdash.runner.logs import last_lines, trim


def test_a_long_log_is_kept_once_and_emptied_for_who_appends(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("a") as appending:
        appending.write("x" * 100)
        appending.flush()
        trim(log, limit_bytes=50)
        appending.write("next")
    assert log.read_text() == "next"
    assert (tmp_path / "web.log.1").read_text() == "x" * 100


@contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """Let no file grow beyond ``room_bytes``: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room_bytes", [0, 50_000])
def test_on_a_full_disk_a_long_log_is_emptied_without_a_copy(
    tmp_path: Path, room_bytes: int
) -> None:
    log, kept = tmp_path / "web.log", tmp_path / "web.log.1"
    log.write_text("x" * 100_000)
    kept.write_text("older")
    with full_disk(room_bytes):
        trim(log, limit_bytes=50)
    assert log.read_text() == ""
    assert not kept.exists()


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("x")
    trim(log, limit_bytes=50)
    assert log.read_text() == "x"


def test_last_lines_leave_out_empty_ones(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("one\n\ntwo\n   \nthree\n")
    assert last_lines(log, 2) == ["two", "three"]
    assert last_lines(tmp_path / "none.log", 2) == []
