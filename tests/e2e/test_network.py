"""A hub and two machines in network namespaces of their own, and somebody who listens between."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from labdash.env import ROOT
from tests.deploy.joining import Hub, Machine
from tests.deploy.running import environment
from tests.e2e.live_lab import MIB, order
from tests.processes import PATIENCE_S, eventually

PORT = 8642
HUB_ADDRESS = "10.77.0.1"
ETH_P_ALL = 3
# Longer than a silence that is no news, see labdash.queries.lab; the whole minute runs by --long.
CUT_S = 12
LONG_CUT_S = 60
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces"),
]


def ip(*words: str) -> None:
    """Run the program of that name."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)  # noqa: S603, S607 - words of this file


class Network:
    """Three namespaces on one bridge, which is the hub's."""

    def __init__(self) -> None:
        self.mark = f"lb{os.getpid() % 10**6}"
        self.heard = bytearray()

    def name(self, of: str) -> str:
        """Name a namespace."""
        return f"{self.mark}-{of}"

    def make(self) -> None:
        """Make the namespaces and join them."""
        for of in ("hub", "a", "b"):
            ip("netns", "add", self.name(of))
            ip("-n", self.name(of), "link", "set", "lo", "up")
        ip("-n", self.name("hub"), "link", "add", "br0", "type", "bridge")
        ip("-n", self.name("hub"), "addr", "add", f"{HUB_ADDRESS}/24", "dev", "br0")
        ip("-n", self.name("hub"), "link", "set", "br0", "up")
        for number, of in enumerate("ab", start=2):
            pair = ("eth0", "netns", self.name(of), "type", "veth", "peer", "name", f"to-{of}")
            ip("link", "add", *pair, "netns", self.name("hub"))
            ip("-n", self.name("hub"), "link", "set", f"to-{of}", "master", "br0", "up")
            ip("-n", self.name(of), "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", self.name(of), "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Remove the namespaces that there are."""
        for of in ("hub", "a", "b"):
            subprocess.run(  # noqa: S603 - as above
                ["ip", "netns", "del", self.name(of)],  # noqa: S607 - as above
                capture_output=True,
                check=False,
                timeout=30,
            )

    def inside(self, of: str) -> tuple[str, ...]:
        """Return what stands before a command that runs in a namespace."""
        return ("ip", "netns", "exec", self.name(of))

    @contextmanager
    def entered(self, of: str) -> Iterator[None]:
        """Let this thread be in a namespace for a while."""
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path(f"/run/netns/{self.name(of)}").open() as other,
        ):
            os.setns(other.fileno(), os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(own.fileno(), os.CLONE_NEWNET)

    @contextmanager
    def listened_to(self) -> Iterator[None]:
        """Keep every byte that crosses the bridge."""
        with self.entered("hub"):
            ears = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            ears.bind(("br0", 0))
        ears.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    self.heard += ears.recv(65536)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            ears.close()

    def cut(self, of: str, *, is_cut: bool) -> None:
        """Pull a machine's cable, or put it in again."""
        ip("-n", self.name("hub"), "link", "set", f"to-{of}", "down" if is_cut else "up")


@pytest.fixture
def network() -> Iterator[Network]:
    """The namespaces, removed afterwards."""
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@contextmanager
def running(command: list[str], output: Path, **more: Any) -> Iterator[None]:
    """Run a program, and end it."""
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **more)  # noqa: S603 - our own programs
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


@pytest.fixture
def lab(network: Network, tmp_path: Path) -> Iterator["Lab"]:
    """A hub, and the simulated hardware of one machine in each of the other namespaces."""
    subprocess.run([str(ROOT / "deploy" / "wheels")], check=True, timeout=600)  # noqa: S603 - ours
    folder, said = tmp_path / "hub", tmp_path / "up.txt"
    with ExitStack() as ends:
        up = [*network.inside("hub"), str(ROOT / "deploy" / "up"), "--no-local-node"]
        ends.enter_context(running(up, said, env=environment(folder), start_new_session=True))
        assert eventually(lambda: "LabDash runs." in said.read_text()), said.read_text()
        with network.entered("hub"):
            hub = Hub(folder, said.read_text(), PORT)
        made = Lab(network, hub)
        for of, slug in (("a", "rog"), ("b", "tower")):
            made.machines[of] = ends.enter_context(machine_of(network, of, slug, tmp_path / of))
        yield made


@contextmanager
def machine_of(network: Network, of: str, slug: str, folder: Path) -> Iterator[Machine]:
    """Let a namespace hold one of the simulated machines."""
    folder.mkdir()
    ready = folder / "simlab.json"
    simlab = [sys.executable, "-m", "workers.simlab", "--state-dir", str(folder / "simlab")]
    options = ["--ready-file", str(ready), "--no-life", "--registry-speed", "20000000"]
    command = [*network.inside(of), *simlab, *options]
    with running(command, folder / "simlab.txt", cwd=ROOT):
        assert eventually(ready.is_file)
        simulated = next(
            each for each in json.loads(ready.read_text())["machines"] if each["slug"] == slug
        )
        made = Machine(
            folder,
            *network.inside(of),
            LABDASH_OLLAMA_URLS=",".join(simulated["ollama_urls"]),
            LABDASH_HARDWARE=f"simulated:{simulated['hardware_url']}",
        )
        try:
            yield made
        finally:
            made.end()


class Lab:
    """What the test has in hand."""

    def __init__(self, network: Network, hub: Hub) -> None:
        self.network, self.hub = network, hub
        self.machines: dict[str, Machine] = {}

    def visit[T](self, act: Callable[[], T]) -> T:
        """Do something as a browser on the hub's own machine."""
        with self.network.entered("hub"):
            return act()

    def pull(self, slug: str, model: str) -> None:
        """Press the button of a pull."""
        page = self.visit(lambda: self.hub.owner.get("/pulls/"))[1]
        labels = re.findall(r'value="(\d+)"[^>]*>\s*([a-z]+)', page)
        (number,) = [value for value, name in labels if name == slug]
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0]
        fields = {"csrfmiddlewaretoken": token, "model": model, "instances": number}
        status, _ = self.visit(lambda: self.hub.owner._request("POST", "/pulls/new/", fields))
        assert status == http.client.FOUND

    def state(self, slug: str) -> str:
        """Return a node's state."""
        return self.visit(lambda: self.hub.state(slug))

    def hurry(self, of: str) -> None:
        """Let the rest of a pull come fast."""
        simulated = json.loads((self.machines[of].folder.parent / "simlab.json").read_text())
        with self.network.entered(of):
            order(f"{simulated['control_url']}/registry/speed", {"bytes_per_s": 400 * MIB})

    def job(self) -> dict[str, Any]:
        """Return what is stored of the newest pull; a command would take a second to start."""
        path = f"file:{self.hub.folder / 'labdash.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as database:
            newest = "SELECT state, done_bytes FROM labdash_pulljob ORDER BY id DESC"
            state, done_bytes = database.execute(newest).fetchone()
        return {"state": state, "done_bytes": done_bytes}


@pytest.mark.parametrize("cut_s", [CUT_S, pytest.param(LONG_CUT_S, marks=pytest.mark.long)])
def test_machines_join_report_pull_and_outlive_a_cut_while_nobody_overhears(
    lab: Lab, cut_s: int
) -> None:
    secrets = [b'"report"', b'"hostname"', b"memory_used_bytes", b"XADD node:", b"AUTH labdash0-"]
    with lab.network.listened_to():
        for of, slug in (("a", "rog"), ("b", "tower")):
            line = lab.visit(lambda slug=slug: lab.hub.line(slug))  # type: ignore[misc]
            assert HUB_ADDRESS in line
            secrets.append(re.findall("LABDASH_JOIN='(.+?)'", line)[0].encode())
            assert eventually(lab.hub.is_open)
            machine = lab.machines[of]
            assert machine.run(line, "--no-start") == 0, machine.said()
            password = re.findall(
                rf"labdash0-{slug}:([^@]+)@", (machine.folder / "node.env").read_text()
            )
            secrets.append(password[0].encode())
            machine.start()
        for slug in ("rog", "tower"):
            assert eventually(lambda slug=slug: lab.state(slug) == "live")  # type: ignore[misc]
        lab.pull("rog", "llama3.2:1b")
        assert eventually(lambda: (lab.job()["done_bytes"] or 0) > 0), lab.job()
        lab.network.cut("a", is_cut=True)
        began = time.monotonic()
        assert eventually(lambda: lab.state("rog") != "live")
        assert lab.state("tower") == "live"
        time.sleep(max(0.0, cut_s - (time.monotonic() - began)))
        lab.network.cut("a", is_cut=False)
        assert eventually(lambda: lab.state("rog") == "live")
        lab.hurry("a")
        assert eventually(lambda: lab.job()["state"] == "installed"), lab.job()
    heard = bytes(lab.network.heard)
    assert len(heard) > 10**6
    assert [secret for secret in secrets if secret in heard] == []
