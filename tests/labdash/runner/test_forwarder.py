"""The door for other machines, as a process of its own, before plain servers that echo."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from labdash.certificate import Certificate, own_certificate
from labdash.env import ROOT
from labdash.runner import forwarder
from tests.processes import eventually, free_port

PATIENCE_S = 30


class Lab:
    """A folder with two echoing servers, and the door before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate: Certificate = own_certificate(folder / "tls")
        self.https, self.store = free_port(), free_port()
        self.wanted, self.state_file = folder / "wanted", folder / "state.json"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, redis_url: str = "") -> None:
        """Start the door."""
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "labdash.runner.forwarder", "--host", "127.0.0.1"),
                *("--https-port", str(self.https), "--web-socket", str(self.folder / "web.sock")),
                *("--store-port", str(self.store), "--store-wanted", str(self.wanted)),
                *("--certificates", str(self.folder / "tls"), "--state", str(self.state_file)),
            ],
            cwd=ROOT,
            env=dict(os.environ) | {"REDIS_URL": redis_url or f"unix://{self.folder}/store.sock"},
        )

    def end(self) -> None:
        """End the door, and see that it ends well."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(PATIENCE_S) in {0, -signal.SIGTERM}

    def state(self) -> dict[str, Any]:
        """Return what the door says of itself."""
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found

    def is_open(self, name: str) -> bool:
        """Tell whether a port is said to be open."""
        return self.state_file.is_file() and self.state()["ports"][name] is not None

    @contextmanager
    def connected(self, port: int, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
        """Connect as a machine that trusts this hub alone."""
        context = ssl.create_default_context(cadata=self.certificate.pem)
        context.check_hostname = False
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0)) as client,
            context.wrap_socket(client) as secure,
        ):
            yield secure


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab in a folder whose path suits a socket."""
    folder = Path(tempfile.mkdtemp(prefix="labdash-door-"))
    with ExitStack() as running:
        running.callback(shutil.rmtree, folder)
        for name in ("web", "store"):
            running.enter_context(_echoing(folder / f"{name}.sock", name.encode()))
        made = Lab(folder)
        running.callback(made.end)
        yield made


@contextmanager
def _echoing(path: Path, name: bytes) -> Iterator[None]:
    """Answer each connection with a name and whatever it sends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def echo(client: socket.socket) -> None:
            with client:
                client.sendall(name + b":")
                while chunk := client.recv(65536):
                    client.sendall(chunk)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # the listener was shut down
                threading.Thread(target=echo, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)


def heard(client: ssl.SSLSocket, ends_with: bytes) -> bytes:
    """Read until the answer ends so."""
    told = b""
    while not told.endswith(ends_with):
        chunk = client.recv(65536)
        assert chunk, told
        told += chunk
    return told


def test_the_web_page_is_told_who_asks(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    with lab.connected(lab.https) as client:
        port = client.getsockname()[1]
        client.sendall(b"GET /")
        told = heard(client, b"GET /").decode()
    assert told == f"web:PROXY TCP4 127.0.0.1 127.0.0.1 {port} {lab.https}\r\nGET /"


def test_the_port_of_the_store_is_open_only_while_it_is_wanted(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", lab.store), PATIENCE_S)
    lab.wanted.touch()
    assert eventually(lambda: lab.is_open("store"))
    with lab.connected(lab.store) as client:
        client.sendall(b"PING")
        assert heard(client, b"PING") == b"store:PING"
        lab.wanted.unlink()
        assert client.recv(1) == b""
    assert eventually(lambda: not lab.is_open("store"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", lab.store), PATIENCE_S)


def test_a_port_in_use_is_said_and_taken_when_it_is_free(lab: Lab) -> None:
    lab.wanted.touch()
    with socket.create_server(("127.0.0.1", lab.store)):
        lab.start()
        assert eventually(lambda: lab.is_open("https"))
        assert f"port {lab.store} is in use" in lab.state()["errors"]["store"]
    assert eventually(lambda: lab.is_open("store"))
    assert lab.state()["errors"] == {}


def test_much_goes_through_both_ways_unchanged(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    sent = os.urandom(2 * 2**20)
    with lab.connected(lab.https) as client:
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        told = heard(client, sent[-64:])
        sender.join(PATIENCE_S)
    assert told.partition(b"\r\n")[2] == sent


def test_no_byte_crosses_before_the_handshake(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    with socket.create_connection(("127.0.0.1", lab.https), PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"web" not in client.recv(1000)


def test_one_address_cannot_take_all_connections(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    with ExitStack() as opened:
        for _ in range(forwarder.CONNECTIONS_PER_ADDRESS):
            client = opened.enter_context(lab.connected(lab.https))
            assert client.recv(4) == b"web:"
        with lab.connected(lab.https) as refused:
            assert refused.recv(4) == b""
    with lab.connected(lab.https) as client:
        assert client.recv(4) == b"web:"


def test_all_addresses_together_cannot_take_more_than_there_are_files_for(lab: Lab) -> None:
    lab.start()
    assert eventually(lambda: lab.is_open("https"))
    sources = [f"127.0.0.{2 + n // 50}" for n in range(forwarder.CONNECTIONS)]
    with ExitStack() as opened:
        for source in sources:
            client = opened.enter_context(lab.connected(lab.https, source))
            assert client.recv(4) == b"web:"
        with lab.connected(lab.https) as refused:
            assert refused.recv(4) == b""


def test_it_ends_when_asked_in_the_middle_of_a_hundred_goodbyes(lab: Lab) -> None:
    for _ in range(2):
        lab.start()
        assert eventually(lambda: lab.is_open("https"))
        with ExitStack() as opened:
            for n in range(100):
                client = opened.enter_context(lab.connected(lab.https, f"127.0.0.{2 + n // 50}"))
                assert client.recv(4) == b"web:"
        lab.end()
        lab.state_file.unlink()


def test_a_store_that_is_away_ends_the_connection_and_not_the_door(lab: Lab) -> None:
    lab.wanted.touch()
    lab.start(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert eventually(lambda: lab.is_open("store"))
    for _ in range(2):
        with lab.connected(lab.store) as client:
            assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("url", "path", "host", "port"),
    [
        ("unix://hub:pw@/run/store.sock?db=0", "/run/store.sock", "", 0),
        ("redis://:pw@store.lan", None, "store.lan", 6379),
        ("redis://[::1]:6380/2", None, "::1", 6380),
    ],
)
def test_the_store_is_sought_where_redis_py_would(
    url: str, path: str | None, host: str, port: int
) -> None:
    target = forwarder.store_target(url)
    assert (target.path, target.host, target.port, target.context) == (path, host, port, None)


def test_a_store_behind_tls_is_checked_as_its_address_says(lab: Lab) -> None:
    pem = lab.certificate.path
    strict = forwarder.store_target(f"rediss://h/0?ssl_ca_certs={pem}").context
    assert strict is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    named = forwarder.store_target(f"rediss://h?ssl_ca_certs={pem}&ssl_check_hostname=false")
    assert named.context is not None
    assert (named.context.verify_mode, named.context.check_hostname) == (ssl.CERT_REQUIRED, False)
    loose = forwarder.store_target("rediss://h?ssl_cert_reqs=none").context
    assert loose is not None
    assert loose.verify_mode == ssl.CERT_NONE


def test_who_says_nothing_to_the_store_is_shown_out_and_who_spoke_may_wait(lab: Lab) -> None:
    target = forwarder.Target(path=str(lab.folder / "store.sock"), first_word_s=0.3)
    door = forwarder.Door(name="store", port=free_port(), host="127.0.0.1", target=target)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(lab.certificate.path)
    context = ssl.create_default_context(cadata=lab.certificate.pem)
    context.check_hostname = False

    async def visit(*words: bytes) -> bytes:
        """Say the words with a pause after each; return what is heard, silent ones to the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context)
        for word in words:
            writer.write(word)
            await asyncio.sleep(0.6)
        wanted = len(b"store:" + b"".join(words)) if words else -1
        answer = await asyncio.wait_for(reader.read(wanted), PATIENCE_S)
        await forwarder._close(writer)
        return answer

    async def scenario() -> list[bytes]:
        await forwarder._open(door, own)
        answers = await asyncio.gather(visit(), visit(), visit(b"a", b"b", b"c"))
        for server in door.servers:
            server.close()
        await asyncio.gather(*door.carrying)
        return list(answers)

    assert asyncio.run(scenario()) == [b"store:", b"store:", b"store:abc"]
    assert not door.held.total()
