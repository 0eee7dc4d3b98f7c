"""The first start on a machine that has nothing: a new user, an empty home, a bare checkout."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.trees import BASE_PYTHON, bare_environment, copy_project
from tests.processes import PATIENCE_S, eventually, free_port, processes_of

USERADD = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
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
    prefix = BASE_PYTHON.parent.parent
    if not prefix.is_relative_to("/usr"):
        left_out = shutil.ignore_patterns("site-packages", "test", "idlelib", "*.a", "__pycache__")
        shutil.copytree(
            prefix, home / ".pyenv" / "versions" / prefix.name, symlinks=True, ignore=left_out
        )
    _run("chown", "-R", f"{user}:", str(home))
    return tree


def _run(*argv: str) -> None:
    # useradd's word on an existing mail spool, and the like, are of no interest.
    subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE_S)  # noqa: S603 - as root


def test_a_new_user_gets_from_a_checkout_to_a_page(user: str, checkout: Path) -> None:
    port, output = free_port(), checkout.parent / "said"
    programs = ["runuser", "-u", user, "--", str(checkout / "deploy" / "up"), "--port", str(port)]
    environment = bare_environment(checkout.parent, checkout.parent / "bin") | {
        # A copied interpreter would look for its library where it came from.
        "LD_LIBRARY_PATH": str(_prefix(checkout) / "lib")
    }
    with (
        output.open("wb") as file,
        subprocess.Popen(  # noqa: S603 - as that user
            programs, env=environment, cwd="/", stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            assert eventually(
                lambda: "LabDash runs." in output.read_text() or process.poll() is not None
            )
            said = output.read_text()
            assert process.poll() is None, said
            logs = processes_of(checkout / "var")
            assert {"store", "web", "hub-worker"} <= set(logs.values())
            owners = {Path(f"/proc/{pid}").owner() for pid in logs}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
    assert owners == {user}
    assert [line.split("…")[0].strip() for line in said.splitlines()[:3]] == [
        "Fetching uv, which installs the packages",
        f"Python {_version()} ({_prefix(checkout) / 'bin' / 'python3'})",
        "Installing 48 packages",
    ]
    assert processes_of(checkout / "var") == {}


def _version() -> str:
    return subprocess.run(  # noqa: S603 - the interpreter
        [str(BASE_PYTHON), "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[1]


def _prefix(checkout: Path) -> Path:
    prefix = BASE_PYTHON.parent.parent
    copied = checkout.parent / ".pyenv" / "versions" / prefix.name
    return copied if copied.exists() else prefix
