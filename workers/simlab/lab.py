"""A whole lab in one process: registry, machines and the Ollama servers on them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from workers.simlab.machine import Machine
from workers.simlab.ollama.host import Hosted
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.settings import Environment, Pace
from workers.simlab.ollama.upstream import Upstream
from workers.simlab.ollama.weights import catalog_weights
from workers.simlab.publish import install, publish_catalog
from workers.simlab.registry import Registry
from workers.simlab.registry_http import registry_app
from workers.simlab.releases import release
from workers.simlab.scenario import MODEL_PARAMETERS, MachinePlan

HOST = "127.0.0.1"
REGISTRY_NAME = "registry.ollama.ai"
PORTS_FILE = "ports.json"
RELEASES_FILE = "releases.json"


@dataclass(kw_only=True)
class Place:
    """One machine of the lab with its servers."""

    plan: MachinePlan
    machine: Machine
    servers: list[Hosted]


class Lab:
    """Everything that is simulated.

    ``state_dir`` keeps what is installed, what was published anew, and the ports.

    After ``start`` the attributes ``registry_url`` and ``places`` are filled.
    """

    def __init__(
        self,
        plans: Sequence[MachinePlan],
        *,
        state_dir: Path,
        registry_bytes_per_s: float | None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = Registry(bytes_per_s=registry_bytes_per_s)
        publish_catalog(self.registry, parameters=MODEL_PARAMETERS)
        self.weights = catalog_weights()
        self.places: dict[str, Place] = {}
        self.registry_url = ""
        self._plans, self._folder, self._pace, self._clock = plans, state_dir, pace, clock
        self._registry_runner: web.AppRunner | None = None
        self._control_port = 0

    async def start(self) -> None:
        """Let the registry and all servers listen; install what a new lab has."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, change in self._read_releases():
            release(self.registry, self.weights, name, change)
        ports = self._read_ports()
        self._control_port = ports.get("control", 0)
        self.registry_url, self._registry_runner = await serve(
            registry_app(self.registry), ports.get("registry", 0)
        )
        for plan in self._plans:
            place = self.places[plan.slug] = self._place(plan, ports)
            for hosted in place.servers:
                await start_hosted(hosted)
        self._write_ports()

    def _place(self, plan: MachinePlan, ports: dict[str, int]) -> Place:
        machine = plan.build(self._clock)
        servers = []
        for number, environment in enumerate(plan.environments):
            folder = self._folder / plan.slug / f"ollama-{number}"
            is_new = not folder.exists()
            server = OllamaServer(
                machine=machine,
                folder=folder,
                upstream=Upstream(version=plan.version, secure={REGISTRY_NAME: self.registry_url}),
                weights=self.weights,
                environment=Environment.read(dict(environment), server=_server_name(number)),
                pace=self._pace,
            )
            for name in plan.installed if is_new else ():
                install(self.registry, server, name)
            servers.append(Hosted(server, port=ports.get(f"{plan.slug}/{number}", 0)))
        return Place(plan=plan, machine=machine, servers=servers)

    def release(self, name: str, change: str) -> None:
        """Publish a name anew, also for the lab's next start. Raises NotPublishedError."""
        release(self.registry, self.weights, name, change)
        told = [*self._read_releases(), [name, change]]
        (self._folder / RELEASES_FILE).write_text(json.dumps(told))

    def _read_releases(self) -> list[list[str]]:
        path = self._folder / RELEASES_FILE
        return list(json.loads(path.read_text())) if path.exists() else []

    async def stop_registry(self) -> None:
        """Close the registry's port: who asks is refused."""
        runner, self._registry_runner = self._registry_runner, None
        if runner:
            await runner.cleanup()

    async def start_registry(self) -> None:
        """Open it again."""
        if self._registry_runner is None:
            app, port = registry_app(self.registry), _port(self.registry_url)
            _, self._registry_runner = await serve(app, port, any_port=False)

    async def serve_control(self, app: web.Application, port: int) -> tuple[str, web.AppRunner]:
        """Listen on ``port``; 0 is that of the run before, or any where somebody else has that."""
        served = await serve(app, port or self._control_port, any_port=not port)
        self._control_port = _port(served[0])
        self._write_ports()
        return served

    async def stop(self) -> None:
        """Close all ports."""
        for place in self.places.values():
            for hosted in place.servers:
                await hosted.stop()
        await self.stop_registry()

    def describe(self, control_url: str) -> dict[str, Any]:
        """Tell where everything listens."""
        return {
            "machines": [
                {
                    "slug": slug,
                    "kind": place.plan.kind,
                    "ollama_urls": [hosted.url for hosted in place.servers],
                    "hardware_url": f"{control_url}/machines/{slug}/hardware",
                }
                for slug, place in self.places.items()
            ],
            "registry_url": self.registry_url,
            "control_url": control_url,
        }

    def _read_ports(self) -> dict[str, int]:
        """Read the ports of the run before: hub and node workers know only those addresses."""
        path = self._folder / PORTS_FILE
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _write_ports(self) -> None:
        ports = {"registry": _port(self.registry_url), "control": self._control_port}
        for slug, place in self.places.items():
            ports |= {f"{slug}/{number}": each.port for number, each in enumerate(place.servers)}
        (self._folder / PORTS_FILE).write_text(json.dumps(ports))


def _server_name(number: int) -> str:
    """Name a server as a node's worker does that was given the addresses of all."""
    return f"ollama-{number + 1}" if number else "ollama"


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def start_hosted(hosted: Hosted) -> None:
    """Start a server on its port of old, or on any where somebody else has that."""
    try:
        await hosted.start()
    except OSError:
        await hosted.stop()
        hosted.port = 0
        await hosted.start()


async def serve(
    app: web.Application, port: int, *, any_port: bool = True
) -> tuple[str, web.AppRunner]:
    """Listen on the loopback address and give the URL.

    Where ``port`` is taken, with ``any_port`` another will do.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError:
        if not port or not any_port:
            raise
        await web.TCPSite(runner, HOST, 0).start()
    return f"http://{HOST}:{runner.addresses[0][1]}", runner
