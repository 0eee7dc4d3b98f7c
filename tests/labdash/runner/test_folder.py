"""Data folders: one runner each, and demo and real lab apart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labdash.env import ROOT, BadSetting
from labdash.runner.errors import CannotStart
from labdash.runner.folder import hold, is_held
from tests.deploy.running import environment


def test_a_folder_is_made_closed_to_other_users_and_held(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "lab"
    assert not is_held(folder)
    with hold(folder, demo=False):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert is_held(folder)
    assert not is_held(folder)


def test_a_second_runner_is_told_of_the_first(tmp_path: Path) -> None:
    message = rf"LabDash already runs for {tmp_path} \(process {os.getpid()}\)"
    with (
        hold(tmp_path, demo=False),
        pytest.raises(CannotStart, match=message),
        hold(tmp_path, demo=False),
    ):
        pass


def test_a_real_lab_refuses_the_demo_and_the_other_way_round(tmp_path: Path) -> None:
    real, demo = tmp_path / "real", tmp_path / "demo"
    for folder, is_demo in ((real, False), (demo, True)):
        with hold(folder, demo=is_demo):
            pass
    with pytest.raises(BadSetting, match="holds a real lab"), hold(real, demo=True):
        pass
    with pytest.raises(BadSetting, match="holds the demo"), hold(demo, demo=False):
        pass


def test_a_database_made_by_hand_counts_as_a_real_lab(tmp_path: Path) -> None:
    (tmp_path / "labdash.sqlite3").touch()
    with pytest.raises(BadSetting, match="holds a real lab"), hold(tmp_path, demo=True):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CannotStart, match="cannot be made: Not a directory"),
        hold(tmp_path / "file" / "var", demo=False),
    ):
        pass


@pytest.mark.parametrize("name", [".", "run", "log", "store"])
def test_a_folder_that_is_read_only_is_one_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "var"
    with hold(folder, demo=False):
        pass
    ended = run_as_somebody(f"chmod 555 {folder / name}", folder)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith(f"labdash: {folder / name} is not writable to you")
    assert ended.stderr.count("\n") == 1


def run_as_somebody(first: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Start LabDash without root's power to write everywhere."""
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    start = [sys.executable, "-m", "labdash.runner", "--port", "1"]
    prefix = drop if os.getuid() == 0 else []
    return subprocess.run(  # noqa: S603 - our own program
        ["/bin/sh", "-c", f'{first} && exec "$@"', "sh", *prefix, *start],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
