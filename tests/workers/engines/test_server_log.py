"""Where a server's own log is found, and what is said where it is not."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.engines import server_log
from workers.engines.place import Elsewhere, Here
from workers.engines.server_log import READ_BYTES, read_journal, read_log, read_tail, unit_of

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
print("OLLAMA_API_KEY=verysecret", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A server whose output goes to a file."""
    path = tmp_path / "server.log"
    with path.open("w") as file:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", SERVER], stdout=file, stderr=file, stdin=subprocess.PIPE
        )
    with process:
        deadline = time.monotonic() + 20
        while "KEY" not in path.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield path
        process.kill()


def test_file_that_the_process_behind_the_port_writes_is_read(log: Path) -> None:
    port = log.read_text().split()[1]
    url = f"http://127.0.0.1:{port}"
    tail = read_log(Here(url), url)
    assert tail.lines == (f"port {port}", "OLLAMA_API_KEY=[removed]")
    assert tail.note is None


def test_log_of_another_machine_is_not_sought_here() -> None:
    tail = read_log(Elsewhere(), "http://192.0.2.1:11434")
    assert tail.lines == ()
    assert tail.note == (
        "Log not readable: the server runs on another machine. Look there: journalctl -u ollama"
    )


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/ollama.service\n", ("ollama.service", False)),
        (
            "0::/system.slice/system-ollama.slice/ollama@gpu1.service",
            ("ollama@gpu1.service", False),
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service",
            ("ollama.service", True),
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope", None),
        ("0::/", None),
        ("", None),
    ],
)
def test_unit_is_that_of_the_control_group(groups: str, unit: object) -> None:
    assert unit_of(groups) == unit


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program of a test's own is found as journalctl, and no other."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "journalctl"


def play(journal: Path, script: str) -> None:
    journal.write_text(f"#!{sys.executable}\n{script}")
    journal.chmod(0o755)


def test_journal_is_asked_for_the_unit_alone(journal: Path) -> None:
    play(journal, "import sys\nprint('\\n'.join(sys.argv[1:]))")
    assert read_journal("ollama.service", is_users=False)[0] == "--unit=ollama.service"
    assert read_journal("ollama.service", is_users=True)[0] == "--user-unit=ollama.service"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "journalctl is not here"),
        ("", "may not read the journal of ollama.service. Add its user to the group"),
        ("import time\ntime.sleep(60)", "gave no answer"),
    ],
)
def test_journal_that_tells_nothing_is_told_with_what_to_do(
    journal: Path, script: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_log, "JOURNAL_S", 1.5)
    if script is not None:
        play(journal, script)
    with pytest.raises(Exception, match=words):
        read_journal("ollama.service", is_users=False)


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("x" * 99 + "\n" + ("y" * 99 + "\n") * (READ_BYTES // 50))
    lines = read_tail(path)
    assert len(lines) == 600
    assert set(lines) == {"y" * 99}


def test_device_is_no_log() -> None:
    with pytest.raises(Exception, match="no file"):
        read_tail(Path("/dev/zero"))
