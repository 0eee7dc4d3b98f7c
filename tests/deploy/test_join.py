"""A machine joins a running hub by the printed line: real processes, TLS and packages."""

import html
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from labdash.env import ROOT
from tests.deploy.joining import NOBODY, PASSWORD, Hub, Machine, machine_of_nobody
from tests.deploy.proxying import NAME, PROXY, proxy
from tests.deploy.running import Running
from tests.processes import eventually, free_port

pytestmark = pytest.mark.e2e


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


BY_HTMX = {"HX-Request": "true", "HX-Target": "poll"}
# curl's exit codes: CURLE_SSL_PINNEDPUBKEYNOTMATCH.
CURL_PIN_DIFFERS = 90
BY_IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub without a node of its own, whose further ports are free ones too."""
    subprocess.run([str(ROOT / "deploy" / "wheels")], check=True, timeout=600)  # noqa: S603 - ours
    folder = tmp_path_factory.mktemp("hub") / "lab"
    ports = ("--tls-port", str(free_port()), "--store-port", str(free_port()))
    up = Running.start(folder, "--no-local-node", *ports, LABDASH_PROXIES=PROXY)
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


@pytest.fixture
def machine_without_root() -> Iterator[Machine]:
    """The same for a user who owns nothing but a home."""
    if os.getuid() != 0:
        pytest.skip("all other machines of these tests join without root here")
    if subprocess.run(["unshare", "--mount", "true"], check=False, timeout=60).returncode:  # noqa: S607 - a system's own
        pytest.skip("this root may not mount, and so not show its Python to another user")
    with tempfile.TemporaryDirectory() as home, ExitStack() as running:
        made = machine_of_nobody(Path(home))
        running.callback(made.end)
        yield made


def line_of(hub: Hub, slug: str, kind: str = "curl", at: str = "127.0.0.1") -> str:
    """Return the line of a new machine, for this very one."""
    line = re.sub(r"(https://|\(\")[0-9.]+", rf"\g<1>{at}", hub.line(slug, kind))
    assert eventually(hub.is_open)
    return line


@pytest.mark.parametrize(
    ("kind", "at"),
    [("curl", "127.0.0.1"), pytest.param("python", "::1", marks=BY_IPV6)],
)
def test_a_line_makes_a_machine_a_node_that_reports(
    hub: Hub, machine: Machine, kind: str, at: str
) -> None:
    line = line_of(hub, f"by-{kind}", kind, at)
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


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        ("python", "127.0.0.1"),
        pytest.param("curl", "[::1]", marks=BY_IPV6),
    ],
)
def test_a_line_gets_its_program_from_an_address_of_either_kind(
    hub: Hub, kind: str, at: str
) -> None:
    fetch = line_of(hub, f"either-{kind}", kind, at).rpartition(" | ")[0]
    program = subprocess.check_output(["/bin/sh", "-c", fetch], timeout=60).decode()  # noqa: S603 - the line under test
    assert f"export LABDASH_HUB='https://{at}:" in program


def test_a_line_needs_no_root(hub: Hub, machine_without_root: Machine) -> None:
    machine = machine_without_root
    assert machine.run(line_of(hub, "rootless"), "--no-start") == 0, machine.said()
    machine.start()
    assert eventually(lambda: hub.state("rootless") == "live"), machine.said()
    assert machine.process
    assert Path(f"/proc/{machine.process.pid}").stat().st_uid == NOBODY
    assert {path.stat().st_uid for path in machine.folder.iterdir()} == {NOBODY}


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


def test_a_line_works_once_and_a_removed_node_is_cut_off(hub: Hub, machine: Machine) -> None:
    line = line_of(hub, "gone")
    assert machine.run(line, "--no-start") == 0, machine.said()
    assert machine.run(line, "--no-start") == 2
    assert machine.said().splitlines()[-1].startswith("labdash: This line was used before")
    machine.start()
    assert eventually(lambda: hub.state("gone") == "live"), machine.said()
    _, page = hub.owner.get("/admin/labdash/node/?q=gone")
    place = re.findall(r"/admin/labdash/node/\d+/", page)[0]
    assert hub.owner.post(f"{place}delete/", post="yes")[0] == 302
    assert eventually(lambda: "invalid username-password pair" in machine.said())


def test_behind_a_proxy_the_pages_work_and_a_line_leads_past_it(hub: Hub, tmp_path: Path) -> None:
    with proxy(hub.owner.port, tmp_path) as visitor:
        assert "plain HTTP" not in visitor.get("/sign-in/")[1]
        signed_in = visitor.post("/sign-in/", username="jo", password=PASSWORD)
        assert signed_in == (302, "/")
        _, page = visitor.get("/find-machines/")
        (poll,) = re.findall(r'id="poll" hx-get="([^"]+)"', page)
        assert visitor.get(html.unescape(poll), **BY_HTMX) == (204, "")
        line = hub.line("behind", by=visitor)
        assert eventually(hub.is_open)
        fetch = line.replace(NAME, "127.0.0.1").rpartition(" | ")[0]
        assert b"LABDASH_PROGRAM" in subprocess.check_output(["/bin/sh", "-c", fetch], timeout=60)  # noqa: S603 - the line under test
        to_proxy = re.sub(r"127.0.0.1:\d+", f"127.0.0.1:{visitor.port}", fetch)
        refused = subprocess.run(  # noqa: S603 - as above
            ["/bin/sh", "-c", to_proxy], capture_output=True, check=False, timeout=60
        )
    assert (refused.returncode, refused.stdout) == (CURL_PIN_DIFFERS, b"")
