"""What the user sees of a start."""

import subprocess
import sys
from pathlib import Path

import pytest

from labdash.env import ROOT
from labdash.runner import start
from labdash.runner.config import read_config
from labdash.runner.errors import CannotStart
from labdash.runner.folder import hold
from labdash.runner.guard import Guard
from labdash.runner.options import Options
from labdash.runner.supervisor import Supervisor
from tests.deploy.running import environment


def test_what_cannot_be_printed_does_not_end_the_runner() -> None:
    program = "import sys; from labdash.runner.start import say; say('x'); sys.stderr.write('on')"
    with Path("/dev/full").open("w") as full_disk:
        ended = subprocess.run(  # noqa: S603 - the text above
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdout=full_disk,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.stderr.startswith("on")


def test_a_start_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(  # noqa: S603 - our own program
        ["/bin/sh", "-c", f"ulimit -f 0; exec {sys.executable} -m labdash.runner --port 1"],
        cwd=ROOT,
        env=environment(tmp_path / "var"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "labdash: File too large\n"


def test_a_simulated_lab_that_does_not_start_is_told_with_the_folder_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABDASH_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(start, "SIMLAB_TIMEOUT_S", 0.0)
    config = read_config(Options(demo=True))
    with hold(config.data_dir, demo=True) as lock:
        logs_dir = config.data_dir / "log"
        supervisor = Supervisor(logs_dir=logs_dir, guard=Guard(lock), say=start.say)
        try:
            with pytest.raises(CannotStart) as told:
                start._start_simlab(config, supervisor)
        finally:
            supervisor.end()
    assert str(told.value).endswith(str(logs_dir / "simulated-lab.log"))
    assert (logs_dir / "simulated-lab.log").exists()
