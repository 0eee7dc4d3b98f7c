"""A machine joins a running hub by the printed line: real processes, TLS and packages."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from labdash.env import ROOT
from tests.deploy.joining import Hub, Machine
from tests.deploy.running import Running
from tests.processes import eventually, free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub without a node of its own, whose further ports are free ones too."""
    subprocess.run([str(ROOT / "deploy" / "wheels")], check=True, timeout=600)  # noqa: S603 - ours
    folder = tmp_path_factory.mktemp("hub") / "lab"
    ports = ("--tls-port", str(free_port()), "--store-port", str(free_port()))
    up = Running.start(folder, "--no-local-node", *ports)
    try:
        up.wait()
        yield Hub(folder, up.said(), up.port)
    finally:
        assert up.end() == 0, up.said()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Another machine: a folder and a home of its own, and no package index."""
    with ExitStack() as running:
        made = Machine(tmp_path)
        running.callback(made.end)
        yield made


def line_of(hub: Hub, slug: str, kind: str = "curl") -> str:
    """Return the line of a new machine, for this very one."""
    line = re.sub(r"(https://|\(\")[0-9.]+", r"\g<1>127.0.0.1", hub.line(slug, kind))
    assert eventually(hub.is_open)
    return line


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_a_line_makes_a_machine_a_node_that_reports(hub: Hub, machine: Machine, kind: str) -> None:
    line = line_of(hub, f"by-{kind}", kind)
    assert machine.run(line, "--no-start") == 0, machine.said()
    machine.start()
    assert eventually(lambda: hub.state(f"by-{kind}") == "live"), machine.said()
    settings = machine.folder / "node.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    password = re.findall(r"labdash0-by-[a-z]+:([^@]+)@", settings.read_text())[0]
    for secret in (password, re.findall("LABDASH_JOIN='(.+?)'", line)[0]):
        assert secret not in machine.said()
        logs = [path.read_text() for path in (hub.folder / "log").glob("*.log")]
        assert not [log for log in logs if secret in log]


def test_a_line_works_once(hub: Hub, machine: Machine) -> None:
    line = line_of(hub, "once")
    assert machine.run(line, "--no-start") == 0, machine.said()
    assert machine.run(line, "--no-start") == 2
    assert machine.said().splitlines()[-1].startswith("labdash: This line was used before")


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_another_machine_in_the_place_of_the_hub_gets_nothing_run(
    hub: Hub, machine: Machine, kind: str
) -> None:
    line = line_of(hub, f"not-{kind}", kind)
    wrong = "0" * 64 if kind == "python" else "sha256//" + "A" * 43 + "="
    line = re.sub(r"sha256//[^']+" if kind == "curl" else r"[0-9a-f]{64}", wrong, line)
    machine.run(line, "--no-start")
    assert not machine.folder.exists()
    assert hub.state(f"not-{kind}") == "never"


def test_a_removed_node_is_cut_off(hub: Hub, machine: Machine) -> None:
    line = line_of(hub, "gone")
    assert machine.run(line, "--no-start") == 0, machine.said()
    machine.start()
    assert eventually(lambda: hub.state("gone") == "live"), machine.said()
    _, page = hub.owner.get("/admin/labdash/node/?q=gone")
    place = re.findall(r"/admin/labdash/node/\d+/", page)[0]
    assert hub.owner.post(f"{place}delete/", post="yes")[0] == 302
    assert eventually(lambda: "invalid username-password pair" in machine.said())
