"""Log files stay small."""

from pathlib import Path

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
