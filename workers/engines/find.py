"""Looks for Ollama servers, once, when the hub's owner asked for it: never by itself.

An address is connected to and asked for its version, and nothing else. What answers there may be
anything: only a short JSON object with a version is taken for Ollama.
"""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from workers.store import Store, StoreDown
from workers.subnets import Plan
from workers.wire.finding import (
    ANSWER_S,
    CONNECT_S,
    KEPT_S,
    MOST_S,
    MOST_SERVERS,
    WISH_S,
    FindOrder,
    FindState,
    Found,
    FoundServer,
)
from workers.wire.keys import find_wish_key, found_key

MOST_SOCKETS = 64
# Ollama's answer has some twenty bytes.
MOST_ANSWER_BYTES = 1024
TELL_EVERY_S = 0.4
# A look that was stopped ends well within this.
TURN_S = 4.0
# An end that the store could not take is offered again for so long.
END_OFFERED_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FindLimits:
    """How long all takes at most, and one address to connect, to answer, and to be named."""

    seconds: float = MOST_S
    connect_s: float = CONNECT_S
    answer_s: float = ANSWER_S
    name_s: float = 1.0


class Finder:
    """Carries out one look at a time, until ``stopping`` is set. ``plan`` tells what is asked."""

    def __init__(
        self,
        *,
        store: Store,
        stopping: threading.Event,
        plan: Callable[[], Plan],
        limits: FindLimits | None = None,
    ) -> None:
        self._store = store
        self._stopping = stopping
        self._plan = plan
        self._limits = limits or FindLimits()
        self._turn = threading.Lock()

    def carry_out(self, order: FindOrder) -> None:
        """Look, and tell what is found. An order that comes twice, or too late, is not wanted."""
        if not self._turn.acquire(timeout=TURN_S):
            return
        try:
            if self._store.prolong(find_wish_key(), value=order.find_id, keep_s=WISH_S):
                self._look(order.find_id)
        except StoreDown:
            return
        finally:
            self._turn.release()

    def _look(self, find_id: str) -> None:
        look = Look(find_id, self._plan(), self._limits)
        state: FindState = "failed"
        try:
            state = asyncio.run(look.run(lambda: self._tell(look)))
        except Exception:  # a fault of ours is told too
            log.exception("look failed")
        self._store_end(look.found(state))

    def _tell(self, look: "Look") -> bool:
        """Tell what was found so far; return whether the look is still wanted."""
        if self._stopping.is_set():
            return False
        try:
            self._write(look.found("looking"))
            return self._store.read(find_wish_key()) == look.find_id
        except StoreDown:
            return True

    def _store_end(self, found: Found) -> None:
        until = time.monotonic() + END_OFFERED_S
        while True:
            try:
                self._write(found)
                self._store.prolong(find_wish_key(), value=found.find_id, keep_s=0)
            except StoreDown:
                if time.monotonic() > until or self._stopping.wait(1):
                    return
            else:
                return

    def _write(self, found: Found) -> None:
        text = json.dumps(found.model_dump(mode="json"), ensure_ascii=True)
        self._store.write(found_key(), text, keep_s=KEPT_S)


class Look:
    """One look through the addresses of a plan."""

    def __init__(self, find_id: str, plan: Plan, limits: FindLimits) -> None:
        self.find_id = find_id
        self._plan = plan
        self._limits = limits
        self._looked_at = 0
        self._servers: dict[tuple[str, int], FoundServer] = {}
        self._has_more = False

    def found(self, state: FindState) -> Found:
        """Return what was found so far."""
        return Found(
            find_id=self.find_id,
            state=state,
            looked_at=self._looked_at,
            total=len(self._plan.targets),
            networks=self._plan.networks,
            left_out=self._plan.left_out,
            servers=tuple(self._servers.values()),
            has_more=self._has_more,
            is_simulated=self._plan.is_simulated,
        )

    async def run(self, tell: Callable[[], bool]) -> FindState:
        """Ask all addresses, and ``tell`` meanwhile whether that is still wanted."""
        looking = asyncio.create_task(self._ask_all())
        is_wanted = True
        while not looking.done():
            await asyncio.wait({looking}, timeout=TELL_EVERY_S)
            if not looking.done() and is_wanted and not await asyncio.to_thread(tell):
                is_wanted = False
                looking.cancel()
        if looking.cancelled():
            return "stopped"
        return looking.result()

    async def _ask_all(self) -> FindState:
        waiting = iter(self._plan.targets)
        try:
            async with (
                asyncio.timeout(self._limits.seconds),
                self._client() as client,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(MOST_SOCKETS):
                    group.create_task(self._take_turns(client, waiting))
        except TimeoutError:
            return "late"
        return "ended"

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._limits.answer_s, connect=self._limits.connect_s),
            limits=httpx.Limits(max_connections=MOST_SOCKETS, max_keepalive_connections=0),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        )

    async def _take_turns(
        self, client: httpx.AsyncClient, waiting: Iterator[tuple[str, int]]
    ) -> None:
        for address, port in waiting:
            version = await self._version(client, f"http://{address}:{port}/api/version")
            if version is not None:
                await self._keep(address, port, version)
            self._looked_at += 1

    async def _version(self, client: httpx.AsyncClient, url: str) -> str | None:
        """Return what an Ollama says of its version; ``None`` where none answers."""
        try:
            async with asyncio.timeout(self._limits.connect_s + self._limits.answer_s):
                return _version_in(await _short_answer(client, url))
        # Whatever listens there, and whatever it sends, is no reason to end the look.
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError):
            return None

    async def _keep(self, address: str, port: int, version: str) -> None:
        if len(self._servers) >= MOST_SERVERS:
            self._has_more = True
            return
        fields: dict[str, Any] = {
            "address": address,
            "port": port,
            "version": version,
            "is_own": address in self._plan.own,
        }
        self._servers[address, port] = FoundServer.model_validate(fields)
        name = await _host_name(address, wait_s=self._limits.name_s)
        self._servers[address, port] = FoundServer.model_validate(fields | {"host_name": name})


async def _short_answer(client: httpx.AsyncClient, url: str) -> bytes:
    """Return a body as it was sent. Raises ``ValueError`` for one that cannot be Ollama's."""
    content = bytearray()
    async with client.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK:
            raise ValueError("no answer of Ollama")
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > MOST_ANSWER_BYTES:
                raise ValueError("too long")
    return bytes(content)


def _version_in(body: bytes) -> str | None:
    answer = json.loads(body)
    version = answer.get("version") if isinstance(answer, dict) else None
    return version if isinstance(version, str) and version else None


def _settle(told: "asyncio.Future[str]", name: str) -> None:
    if not told.done():
        told.set_result(name)


async def _host_name(address: str, *, wait_s: float) -> str | None:
    """Return the name of an address where the resolver is quick to tell one.

    It asks in a thread of its own, for which nobody waits: a resolver may take half a minute.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()

    def ask() -> None:
        # RuntimeError: the loop has ended since. A name may be no text at all.
        with suppress(OSError, UnicodeError, RuntimeError):
            name = socket.gethostbyaddr(address)[0]
            loop.call_soon_threadsafe(_settle, told, name)

    threading.Thread(target=ask, daemon=True).start()
    with suppress(TimeoutError):
        name = await asyncio.wait_for(told, wait_s)
        return None if name == address else name
    return None
