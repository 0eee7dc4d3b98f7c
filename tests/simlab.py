"""Simulated Ollama for tests: real HTTP on loopback, started and stopped by the test.

``run_simlab`` is the whole lab as a process; ``ollama_lab`` one server with a registry, at hand
within the test's own process and fast.
"""

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.workers.simlab.running import Running, running_lab
from workers.simlab.machine import Machine
from workers.simlab.ollama.host import Door, Hosted
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.settings import Environment, Pace, Quirks
from workers.simlab.ollama.upstream import Upstream
from workers.simlab.ollama.weights import Weights, catalog_weights
from workers.simlab.publish import publish_catalog
from workers.simlab.registry import Registry
from workers.simlab.registry_http import registry_app

CALL_TIMEOUT_S = 30
# Everything that a real server waits for, made short.
FAST = Pace(
    progress_s=0.02,
    verify_bytes_per_s=1e11,
    retry_s=(0.05,) * 6,
    stall_s=0.3,
    direct_url_s=0.5,
    load_factor=0.02,
    quantize_bytes_per_s=1e11,
    unload_s=0.02,
)


@dataclass(kw_only=True)
class OllamaLab:
    """One fake server and the registry that it pulls from, on an event loop of their own."""

    hosted: Hosted
    registry: Registry
    registry_url: str
    loop: asyncio.AbstractEventLoop
    registry_door: Door

    @property
    def url(self) -> str:
        """The server's root."""
        return self.hosted.url

    @property
    def server(self) -> OllamaServer:
        """The server itself; touch it through ``call`` where it runs."""
        return self.hosted.server

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the servers' event loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_TIMEOUT_S)

    def stop_registry(self) -> None:
        """Close the registry's port and cut all its connections."""
        self.call(self.registry_door.close())

    def start_registry(self) -> None:
        """Open the registry's port again."""
        port = int(self.registry_url.rpartition(":")[2])
        self.registry_door, _ = self.call(_serve(self.registry, port))


def machine(**changes: Any) -> Machine:
    """Make a machine with two large GPUs and room on its disk."""
    settings: dict[str, Any] = {
        "slug": "rog",
        "kind": "linux",
        "version": "0.32.15",
        "cards": ("rtx-3090", "rtx-3090"),
    }
    return Machine(**settings | changes)


@contextmanager
def run_simlab(*options: str, folder: Path | None = None) -> Iterator[Running]:
    """Run the whole simulated lab as a process; ``--no-life`` keeps it quiet.

    Its state is kept under ``folder``, or thrown away.
    """
    with (
        tempfile.TemporaryDirectory(prefix="simlab-") as fresh,
        running_lab(folder or Path(fresh), *options) as lab,
    ):
        yield lab


@contextmanager
def ollama_lab(  # noqa: PLR0913 - keyword only, all with a good default
    lab_machine: Machine | None = None,
    *,
    folder: Path | None = None,
    weights: Mapping[str, Weights] | None = None,
    hosts: tuple[str, ...] = ("registry.ollama.ai", "hf.co"),
    plain_hosts: Mapping[str, str | None] | None = None,
    pace: Pace = FAST,
    environment: Environment | None = None,
    quirks: Quirks | None = None,
) -> Iterator[OllamaLab]:
    """Run one fake server with a registry that has no speed limit.

    ``hosts`` are names of that registry; ``plain_hosts`` such as answer plain HTTP only, by their
    base URL (``None``: that registry).
    """
    lab_machine = lab_machine or machine()
    with event_loop() as loop, tempfile.TemporaryDirectory(prefix="simlab-") as fresh:
        registry = Registry()
        publish_catalog(registry)
        registry_door, registry_url = _run(loop, _serve(registry))
        server = OllamaServer(
            machine=lab_machine,
            folder=folder or Path(fresh),
            upstream=Upstream(
                version=lab_machine.version,
                secure=dict.fromkeys(hosts, registry_url),
                plain={host: base or registry_url for host, base in (plain_hosts or {}).items()},
            ),
            weights=weights or catalog_weights(),
            environment=environment,
            pace=pace,
            quirks=quirks,
        )
        hosted = Hosted(server)
        lab = OllamaLab(
            hosted=hosted,
            registry=registry,
            registry_url=registry_url,
            loop=loop,
            registry_door=registry_door,
        )
        lab.call(hosted.start())
        try:
            yield lab
        finally:
            lab.call(hosted.stop())
            lab.stop_registry()


async def _serve(registry: Registry, port: int = 0) -> tuple[Door, str]:
    door = Door(registry_app(registry))
    return door, f"http://127.0.0.1:{await door.open(port)}"


def _run[T](loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(CALL_TIMEOUT_S)


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CALL_TIMEOUT_S)
        loop.close()
