"""A real hub that real node workers of ten simulated machines report to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labdash.env import ROOT, own_store_url
from tests.deploy.running import Running, environment
from tests.e2e.live_lab import order
from tests.processes import free_port, processes_of
from tests.workers.node_process import Node, node_process

COMMAND_TIMEOUT_S = 60
OWNER, PASSWORD = "owner", "correct horse battery"
HUB = ("web", "hub-worker", "scheduler", "store")


@dataclass
class BigLab:
    """The running hub, its node workers by name, and what the simulation tells of itself."""

    running: Running
    folder: Path
    workers: dict[str, Node]
    simulation: dict[str, Any]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.running.port}"

    def pids(self) -> dict[str, int]:
        """Return the hub's processes by the names of their logs."""
        return {log: pid for pid, log in processes_of(self.folder).items()}

    def order(self, path: str, **body: object) -> None:
        """Make something happen to a simulated machine."""
        order(f"{self.simulation['control_url']}{path}", body)


def manage(folder: Path, *arguments: str) -> None:
    """Run a command of ``manage.py`` on the hub of a data folder."""
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(folder, DJANGO_SUPERUSER_PASSWORD=PASSWORD),
        stdout=subprocess.DEVNULL,
        timeout=COMMAND_TIMEOUT_S,
        check=True,
    )


@contextmanager
def big_lab(folder: Path) -> Iterator[BigLab]:
    """Run it all, until the last node has reported."""
    with ExitStack() as stack:
        simulation = stack.enter_context(simulated(folder / "simlab"))
        data = folder / "var"
        registry = str(simulation["registry_url"])
        running = Running.start(
            data, "--no-local-node", "--host", "127.0.0.1", LABDASH_REGISTRY_URL=registry
        )
        stack.callback(running.end)
        running.wait()
        machines = simulation["machines"]
        pairs = [f"{each['slug']}={each['ollama_urls'][0]}" for each in machines]
        manage(data, "prepare", *(word for pair in pairs for word in ("--node", pair)))
        manage(
            data, "createsuperuser", "--noinput", "--username", OWNER, "--email", "owner@lab.lan"
        )
        workers = {
            each["slug"]: stack.enter_context(
                node_process(
                    each["slug"],
                    store_url=own_store_url(data),
                    folder=folder,
                    LABDASH_OLLAMA_URLS=each["ollama_urls"][0],
                    LABDASH_HARDWARE=f"simulated:{each['hardware_url']}",
                    LABDASH_MIRROR_PORT=str(free_port()),
                )
            )
            for each in machines
        }
        for worker in workers.values():
            worker.wait_until_ready()
        yield BigLab(running, data, workers, simulation)


@contextmanager
def simulated(folder: Path) -> Iterator[dict[str, Any]]:
    """Run the machines, with their models loaded; yields where they are."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.benchmarks.simulation", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
