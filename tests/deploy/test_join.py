"""A machine joins a running hub by the printed line: real processes, TLS and packages."""

import html
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from labdash.env import ROOT
from tests.deploy.running import Running, Visitor, environment
from tests.processes import PATIENCE_S, eventually, free_port

pytestmark = pytest.mark.e2e
PASSWORD = "a long enough pass phrase"


class Hub:
    """A hub with its owner signed in."""

    def __init__(self, folder: Path, up: Running) -> None:
        self.folder, self.up, self.owner = folder, up, Visitor(up.port)
        code = up.said().partition("setup code: ")[2].split()[0]
        fields = {"code": code, "username": "jo", "password": PASSWORD}
        assert self.owner.post("/set-up/", **fields) == (302, "/")

    def line(self, slug: str, kind: str = "curl") -> str:
        """Add a machine and return the line that its page shows, for this very machine."""
        status, place = self.owner.post("/add-machine/", slug=slug)
        assert status == 302
        _, page = self.owner.get(place)
        (line,) = re.findall(rf'id="line-{kind}">(.+?)</code>', page)
        assert 'id="line-curl"' not in self.owner.get(place)[1]
        return re.sub(r"(https://|\(\")[0-9.]+", r"\g<1>127.0.0.1", html.unescape(line))

    def status(self) -> dict[str, Any]:
        """Return what ``manage.py status`` says."""
        python = ROOT / ".venv" / "bin" / "python"
        told = subprocess.check_output(  # noqa: S603 - our own command
            [str(python), str(ROOT / "manage.py"), "status", "--json"],
            env=environment(self.folder),
            timeout=PATIENCE_S,
        )
        found: dict[str, Any] = json.loads(told)
        return found

    def state(self, slug: str) -> str:
        """Return a node's state."""
        return str(next(n["state"] for n in self.status()["nodes"] if n["slug"] == slug))

    def is_open(self) -> bool:
        """Tell whether both ports are open."""
        told = self.folder / "run" / "door.json"
        return told.is_file() and None not in json.loads(told.read_text())["ports"].values()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub without a node of its own, whose further ports are free ones too."""
    subprocess.run([str(ROOT / "deploy" / "wheels")], check=True, timeout=600)  # noqa: S603
    folder = tmp_path_factory.mktemp("hub") / "lab"
    ports = ("--tls-port", str(free_port()), "--store-port", str(free_port()))
    up = Running.start(folder, "--no-local-node", *ports)
    try:
        up.wait()
        yield Hub(folder, up)
    finally:
        assert up.end() == 0, up.said()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator["Machine"]:
    """Another machine: a folder and a home of its own, and no package index."""
    with ExitStack() as running:
        made = Machine(tmp_path)
        running.callback(made.end)
        yield made


class Machine:
    """Where the line is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "node"
        self.output = folder / "said.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LABDASH_NODE_DIR": str(self.folder),
            "LABDASH_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
            "UV_OFFLINE": "1",
        }

    def run(self, line: str, *options: str) -> int:
        """Run a line to its end; return the exit code of what it runs."""
        with self.output.open("ab") as output:
            return subprocess.run(  # noqa: S603 - the line under test
                ["/bin/sh", "-c", f"{line} -s -- {' '.join(options)}"],
                env=self.environment,
                stdout=output,
                stderr=output,
                timeout=PATIENCE_S,
                check=False,
            ).returncode

    def start(self) -> None:
        """Start the worker as its launcher does."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - the program under test
                [str(self.folder / "labdash-node")],
                env=self.environment,
                stdout=output,
                stderr=output,
            )

    def end(self) -> None:
        """End the worker."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """Return what was printed."""
        return self.output.read_text() if self.output.exists() else ""


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_a_line_makes_a_machine_a_node_that_reports(hub: Hub, machine: Machine, kind: str) -> None:
    line = hub.line(f"by-{kind}", kind)
    assert eventually(hub.is_open)
    assert machine.run(line, "--no-start") == 0, machine.said()
    machine.start()
    assert eventually(lambda: hub.state(f"by-{kind}") == "live"), machine.said()
    settings = machine.folder / "node.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    password = re.findall(r"node-by-[a-z]+:([^@]+)@", settings.read_text())[0]
    for secret in (password, re.findall("LABDASH_JOIN='(.+?)'", line)[0]):
        assert secret not in machine.said()
        logs = [path.read_text() for path in (hub.folder / "log").glob("*.log")]
        assert not [log for log in logs if secret in log]


def test_a_line_works_once(hub: Hub, machine: Machine) -> None:
    line = hub.line("once")
    assert eventually(hub.is_open)
    assert machine.run(line, "--no-start") == 0, machine.said()
    assert machine.run(line, "--no-start") == 2
    assert machine.said().splitlines()[-1].startswith("labdash: This line was used before")


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_another_machine_in_the_place_of_the_hub_gets_nothing_run(
    hub: Hub, machine: Machine, kind: str
) -> None:
    line = hub.line(f"not-{kind}", kind)
    assert eventually(hub.is_open)
    wrong = "0" * 64 if kind == "python" else "sha256//" + "A" * 43 + "="
    line = re.sub(r"sha256//[^']+" if kind == "curl" else r"[0-9a-f]{64}", wrong, line)
    machine.run(line, "--no-start")
    assert not machine.folder.exists()
    assert hub.state(f"not-{kind}") == "never"


def test_a_removed_node_is_cut_off(hub: Hub, machine: Machine) -> None:
    line = hub.line("gone")
    assert eventually(hub.is_open)
    assert machine.run(line, "--no-start") == 0, machine.said()
    machine.start()
    assert eventually(lambda: hub.state("gone") == "live"), machine.said()
    _, page = hub.owner.get("/admin/labdash/node/?q=gone")
    place = re.findall(r"/admin/labdash/node/\d+/", page)[0]
    assert hub.owner.post(f"{place}delete/", post="yes")[0] == 302
    assert eventually(lambda: "invalid username-password pair" in machine.said())
