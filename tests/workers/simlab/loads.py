"""Requests and GPUs for the tests of the simulated hardware."""

from typing import Any

from workers.simlab.loads import LoadRequest
from workers.simlab.memory import MIB
from workers.simlab.splits import Room


def request(model: str = "llama-3.1-8b", **changes: Any) -> LoadRequest:
    """Ask for a model at 8192 tokens, everything else as the server's defaults."""
    settings: dict[str, Any] = {"quant": "Q4_K_M", "context_length": 8192, "name": model} | changes
    return LoadRequest(model=model, blob_digest="sha256:0", **settings)


def rooms(*free_mib: int, context_mib: int = 300) -> list[Room]:
    """Make GPUs with that much free memory."""
    return [
        Room(index=index, free_bytes=free * MIB, context_bytes=context_mib * MIB)
        for index, free in enumerate(free_mib)
    ]
