"""The nodes that are started here: this machine, or the five of the simulated lab."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from labdash.runner.config import Config, local_slug


@dataclass(frozen=True, kw_only=True)
class LocalNode:
    """A node whose worker runs on this machine. ``hardware`` is LABDASH_HARDWARE."""

    slug: str
    kind: str
    ollama_urls: tuple[str, ...]
    hardware: str = "auto"


def this_machine(config: Config) -> list[LocalNode]:
    """Return this machine as a node, unless the user wants only the hub here."""
    if not config.options.local_node:
        return []
    slug = local_slug(config.data_dir, socket.gethostname())
    return [LocalNode(slug=slug, kind="linux", ollama_urls=config.ollama_urls)]


def simulated(ready_file: Path) -> list[LocalNode]:
    """Return the machines that the simulated lab wrote down when it was ready."""
    machines = json.loads(ready_file.read_text())["machines"]
    return [
        LocalNode(
            slug=machine["slug"],
            kind=machine["kind"],
            ollama_urls=tuple(machine["ollama_urls"]),
            hardware=f"simulated:{machine['hardware_url']}",
        )
        for machine in machines
    ]


def registry_url(ready_file: Path) -> str:
    """Return where the simulated registry answers."""
    return str(json.loads(ready_file.read_text())["registry_url"])


def prepare_arguments(nodes: list[LocalNode]) -> list[str]:
    """Return how ``manage.py prepare`` is told of the nodes."""
    return [
        argument
        for node in nodes
        for argument in (
            *("--node", f"{node.slug}={','.join(node.ollama_urls)}"),
            *("--kind", node.kind),
        )
    ]
