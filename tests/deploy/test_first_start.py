"""The first start on a machine that has nothing: a new user, an empty home, a bare checkout."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.deploy.trees import BASE_PYTHON, bare_environment, copy_project
from tests.processes import PATIENCE_S, eventually, free_port, processes_of

USERADD = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
PREFIX = BASE_PYTHON.parent.parent
RUNUSER = shutil.which("runuser") or "runuser"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make a user"),
    pytest.mark.skipif(not USERADD, reason="this system has no useradd"),
]


@pytest.fixture
def user() -> Iterator[str]:
    name = f"labdash-test-{os.getpid()}"
    _run("useradd", "--create-home", "--shell", "/bin/sh", name)
    yield name
    _run("userdel", "--remove", name)


@pytest.fixture
def checkout(user: str) -> Path:
    """Return a copy of the project and a Python as pyenv installs one, both the user's own."""
    home = Path("/home", user)
    tree = copy_project(home / "my lab")
    if not PREFIX.is_relative_to("/usr"):
        left_out = shutil.ignore_patterns("site-packages", "test", "idlelib", "*.a", "__pycache__")
        copied = home / ".pyenv" / "versions" / PREFIX.name
        shutil.copytree(PREFIX, copied, symlinks=True, ignore=left_out)
    _run("chown", "-R", f"{user}:", str(home))
    return tree


def _run(*argv: str) -> None:
    # useradd's word on an existing mail spool, and the like, are of no interest.
    subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE_S)  # noqa: S603 - as root


def start_as(user: str, checkout: Path, output: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    home = checkout.parent
    environment = bare_environment(home, home / "bin") | {
        # A copied interpreter would look for its library where it came from.
        "LD_LIBRARY_PATH": str(home / ".pyenv" / "versions" / PREFIX.name / "lib")
    }
    with output.open("wb") as file:
        return subprocess.Popen(  # noqa: S603 - as that user
            [RUNUSER, "-u", user, "--", str(checkout / "deploy" / "up"), *arguments],
            env=environment,
            cwd="/",
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_a_new_user_gets_from_a_checkout_to_a_page(user: str, checkout: Path) -> None:
    output, folder = checkout.parent / "said", checkout / "var"
    with start_as(user, checkout, output, "--port", str(free_port())) as process:
        try:
            assert eventually(
                lambda: "LabDash runs." in output.read_text() or process.poll() is not None
            )
            said = output.read_text()
            assert process.poll() is None, said
            logs = processes_of(folder)
            owners = {Path(f"/proc/{pid}").owner() for pid in logs}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            # What passes the signal on may be gone a moment before who ends by it.
            assert eventually(lambda: not _processes_of(user))
    assert {"store", "web", "hub-worker"} <= set(logs.values())
    assert owners == {user}
    assert processes_of(folder) == {}
    for done in ("uv, which installs the packages … done", "\nInstalling ", "\nPython 3."):
        assert done in said
    _check_service(user, checkout, output)


def _processes_of(user: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError):
            found += [int(folder.name)] if folder.owner() == user else []
    return found


def _check_service(user: str, checkout: Path, output: Path) -> None:
    """Without root the service is the user's own."""
    with start_as(user, checkout, output, "--install", "--port", "9000") as process:
        assert process.wait(PATIENCE_S) == 0, output.read_text()
    unit = checkout.parent / ".config" / "systemd" / "user" / "labdash.service"
    assert f'ExecStart="{checkout}/deploy/up" "--port" "9000"' in unit.read_text()
    settings = checkout / "var" / "service.env"
    assert (settings.owner(), settings.stat().st_mode & 0o777) == (user, 0o600)
