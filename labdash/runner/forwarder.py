"""The door for other machines: TLS before the web page and before the store.

It speaks to both by sockets that only this machine has. To the web page it tells who asks by a
first line of the PROXY protocol (version 1); the store sees plain connections.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from labdash.certificate import own_certificate
from labdash.env import env_str
from labdash.runner.errors import CannotStart
from labdash.runner.listening import listen

HANDSHAKE_TIMEOUT_S = 10
GOODBYE_TIMEOUT_S = 2
CONNECT_TIMEOUT_S = 5
# Whoever comes to the store says at once who he is; a silent one only takes a place.
FIRST_WORD_TIMEOUT_S = 10
CHUNK_BYTES = 64 * 2**10
# A browser opens six connections, a node worker about ten; one device may not take them all.
CONNECTIONS_PER_ADDRESS = 64
# Two files each: both doors together stay under the usual limit of 1024.
CONNECTIONS = 200
# How long until it looks again whether the store's port is wanted, or can be had now.
LOOK_EVERY_S = 1.0
# A machine that vanished without a word is noticed after two minutes of silence.
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
REDIS_PORT = 6379

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where plain bytes go: a Unix socket, or a server by TCP, by TLS with ``context``.

    A connection from which no byte comes within ``first_word_s`` is closed; None: it may wait.
    """

    path: str | None = None
    host: str = ""
    port: int = 0
    context: ssl.SSLContext | None = None
    tells_who: bool = False
    first_word_s: float | None = None


@dataclass(kw_only=True)
class Door:
    """One port. ``wanted`` is the file whose existence opens it; None: always open."""

    name: str
    port: int
    host: str | None
    target: Target
    wanted: Path | None = None
    servers: list[asyncio.Server] = field(default_factory=list)
    error: str | None = None
    held: Counter[str] = field(default_factory=Counter)
    carrying: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return bool(self.servers)


def store_target(url: str) -> Target:
    """Return where the store of an address of redis-py listens."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Target(path=unquote(parts.path), first_word_s=FIRST_WORD_TIMEOUT_S)
    return Target(
        host=parts.hostname or "",
        port=parts.port or REDIS_PORT,
        context=_store_context(parts) if parts.scheme == "rediss" else None,
        first_word_s=FIRST_WORD_TIMEOUT_S,
    )


def _store_context(parts: SplitResult) -> ssl.SSLContext:
    options = dict(parse_qsl(parts.query))
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    context.check_hostname = options.get("ssl_check_hostname") != "false"
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    return context


async def serve(doors: list[Door], certificate: Path, state: Path) -> None:
    """Keep the doors as open as they are wanted, until cancelled."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    told = ""
    while True:
        for door in doors:
            await _move(door, context)
        if (now := _state(doors)) != told:
            told = now
            _write(state, told)
        await asyncio.sleep(LOOK_EVERY_S)


def _state(doors: list[Door]) -> str:
    """Tell in JSON which port is open, and why another is not."""
    ports = {door.name: door.port if door.is_open else None for door in doors}
    errors = {door.name: door.error for door in doors if door.error}
    return json.dumps({"ports": ports, "errors": errors})


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


async def _move(door: Door, context: ssl.SSLContext) -> None:
    """Open a door that is wanted, close one that is not."""
    wanted = door.wanted is None or door.wanted.exists()
    if wanted and not door.is_open:
        await _open(door, context)
    elif door.is_open and not wanted:
        for server in door.servers:
            server.close()
        door.servers.clear()
        for task in door.carrying:
            task.cancel()


async def _open(door: Door, context: ssl.SSLContext) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_answer(door, reader, writer))
        door.carrying.add(task)
        task.add_done_callback(door.carrying.discard)
        await task

    try:
        sockets = listen(door.host, door.port)
    except CannotStart as error:
        if str(error) != door.error:
            log.warning("%s", error)
        door.error = str(error)
        return
    door.error = None
    door.servers = [
        await asyncio.start_server(
            answer,
            sock=each,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=GOODBYE_TIMEOUT_S,
        )
        for each in sockets
    ]


async def _answer(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one connection to its end."""
    address = writer.get_extra_info("peername")[0]
    door.held[address] += 1
    try:
        if door.held[address] <= CONNECTIONS_PER_ADDRESS and door.held.total() <= CONNECTIONS:
            await _carry(door.target, reader, writer)
    except OSError as error:
        log.debug("%s: a connection broke: %s", door.name, error)
    finally:
        door.held[address] -= 1
        if not door.held[address]:
            del door.held[address]
        await _close(writer)


async def _carry(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    client = writer.get_extra_info("socket")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        client.setsockopt(socket.IPPROTO_TCP, option, value)
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        inner_reader, inner_writer = await _connect(target)
    try:
        if target.tells_who:
            inner_writer.write(_who_asks(writer))
        asked = _pump(reader, inner_writer, first_word_s=target.first_word_s)
        await _first_of(asked, _pump(inner_reader, writer))
    finally:
        await _close(inner_writer)


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.path is not None:
        return await asyncio.open_unix_connection(target.path)
    return await asyncio.open_connection(target.host, target.port, ssl=target.context)


def _who_asks(writer: asyncio.StreamWriter) -> bytes:
    """Return the first line of the PROXY protocol (HAProxy's proxy-protocol.txt, 2.1)."""
    client, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    family = "TCP6" if ":" in client[0] else "TCP4"
    addresses = (each[0].partition("%")[0] for each in (client, own))
    return f"PROXY {family} {' '.join(addresses)} {client[1]} {own[1]}\r\n".encode()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    first_word_s: float | None = None,
) -> None:
    async with asyncio.timeout(first_word_s):
        chunk = await reader.read(CHUNK_BYTES)
    while chunk:
        writer.write(chunk)
        await writer.drain()
        chunk = await reader.read(CHUNK_BYTES)


async def _first_of(*pumps: Coroutine[None, None, None]) -> None:
    """Run both ways until one ends: what is left of the other has no reader."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await writer.wait_closed()


async def _until_sigterm(serving: Coroutine[None, None, None]) -> None:
    """Serve until the signal; raised anywhere at all, SystemExit could be lost in a destructor."""
    task = asyncio.ensure_future(serving)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m labdash.runner.forwarder", allow_abbrev=False)
    parser.add_argument("--host", help="listen on this address alone")
    parser.add_argument("--https-port", type=int, required=True)
    parser.add_argument("--web-socket", required=True, help="where the web page listens")
    parser.add_argument("--store-port", type=int, required=True)
    parser.add_argument("--store-wanted", type=Path, required=True, help="opens the store's port")
    parser.add_argument("--certificates", type=Path, required=True, help="folder of hub.pem")
    parser.add_argument("--state", type=Path, required=True, help="file that tells what is open")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Serve until SIGTERM; the store's address comes from REDIS_URL, for it holds a password."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    given = _arguments(argv)
    web = Target(path=given.web_socket, tells_who=True)
    doors = [
        Door(name="https", port=given.https_port, host=given.host, target=web),
        Door(
            name="store",
            port=given.store_port,
            host=given.host,
            target=store_target(env_str("REDIS_URL") or ""),
            wanted=given.store_wanted,
        ),
    ]
    certificate = own_certificate(given.certificates)
    asyncio.run(_until_sigterm(serve(doors, certificate.path, given.state)))


if __name__ == "__main__":
    main(sys.argv[1:])
