"""A fake model registry: the real protocol, a speed limit, and faults to order.

Small blobs are real bytes. Large ones are *virtual*: HEAD tells their true size and carries
``x-simlab-virtual: 1``; a GET that carries the same header is answered with one decimal number a
line, the bytes that the speed limit let through since the line before. So a pull of 3 GB takes
its true time and costs no traffic.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, get_args

VIRTUAL_HEADER = "x-simlab-virtual"
FAULT_HEADER = "x-simlab-fault"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
TICK_S = 0.05
REQUESTS_KEPT = 1000

NEWER_VERSION_TEXT = (
    "\n\nThe model you are attempting to pull requires a newer version of Ollama.\n\n"
    "Please download the latest version at:\n\n\thttps://ollama.com/download\n"
)

# The ones that end in "-once" vanish when they have struck.
Fault = Literal[
    "manifest-404",
    "manifest-500",
    "manifest-412",
    "manifest-401",
    "manifest-bad-json",
    "blob-404",
    "blob-500",
    "blob-get-404",
    "range-500",
    "blob-302",
    "blob-307",
    "no-location",
    "cut",
    "cut-once",
    "reset-once",
    "corrupt",
    "stall",
    "stall-once",
    "never-success",
]
FAULTS: tuple[str, ...] = get_args(Fault)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A layer or a config. ``data`` is ``None`` where the blob is virtual."""

    media_type: str
    digest: str
    size_bytes: int
    data: bytes | None = None


@dataclass(kw_only=True)
class Registry:
    """What is published, how fast it is given away, and what goes wrong with it.

    ``bytes_per_s`` is shared by all transfers (``None``: no limit) and may change at any time;
    ``requests`` lists ``"METHOD path range"`` of what was asked last; ``given_bytes`` counts all
    that was ever given away.
    """

    bytes_per_s: float | None = None
    head_delay_s: float = 0
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    transfers: int = 0
    given_bytes: int = 0

    @staticmethod
    def key(name: str) -> str:
        """Spell a name as ``manifests`` and ``faults`` do: ``namespace/model:tag``."""
        path, _, tag = name.partition(":")
        return f"{path if '/' in path else f'library/{path}'}:{tag or 'latest'}"

    def publish(self, name: str, *, config: Blob, layers: Sequence[Blob]) -> bytes:
        """Publish ``namespace/model:tag`` (``library/`` may be left out); give its manifest."""
        manifest = manifest_bytes(config, layers)
        self.manifests[self.key(name)] = manifest
        self.blobs |= {blob.digest: blob for blob in (config, *layers)}
        return manifest

    def order(self, name: str, fault: Fault | None) -> None:
        """Let pulls of a model fail in that way until ``None`` is ordered."""
        self.faults.pop(self.key(name), None)
        if fault:
            self.faults[self.key(name)] = fault

    def fault_of(self, repository: str, tag: str | None = None) -> str:
        """Name the fault that strikes; blobs are asked for without a tag."""
        for name, fault in self.faults.items():
            if name == f"{repository}:{tag}" or (not tag and name.startswith(f"{repository}:")):
                return fault
        return ""

    def note(self, request: str) -> None:
        """Add to ``requests``, and forget the oldest of many."""
        self.requests.append(request)
        del self.requests[:-REQUESTS_KEPT]

    def struck(self, repository: str, fault: str) -> None:
        """Take note that a fault has struck, which is the end of those that come once."""
        if fault.endswith("-once"):
            gone = [name for name in self.faults if name.startswith(f"{repository}:")]
            for name in gone:
                del self.faults[name]

    async def grants(self, size_bytes: int) -> AsyncIterator[int]:
        """Give the bytes that may flow, tick by tick, until all have; the first come at once."""
        self.transfers += 1
        try:
            clock = asyncio.get_running_loop().time
            before, elapsed = clock(), TICK_S
            while size_bytes > 0:
                granted = min(size_bytes, self._share(size_bytes, elapsed))
                size_bytes -= granted
                self.given_bytes += granted
                yield granted
                if size_bytes and self.bytes_per_s is not None:
                    await asyncio.sleep(TICK_S)
                elapsed, before = clock() - before, clock()
        finally:
            self.transfers -= 1

    def _share(self, size_bytes: int, elapsed_s: float) -> int:
        if self.bytes_per_s is None:
            return size_bytes
        return int(self.bytes_per_s * elapsed_s / max(self.transfers, 1))


def real_blob(media_type: str, data: bytes) -> Blob:
    """Make a blob of bytes that truly are transferred."""
    digest = f"sha256:{sha256(data).hexdigest()}"
    return Blob(media_type=media_type, digest=digest, size_bytes=len(data), data=data)


def manifest_bytes(config: Blob, layers: Sequence[Blob]) -> bytes:
    """Write a manifest as the real registry does: compact JSON."""
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _entry(config),
        "layers": [_entry(layer) for layer in layers],
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _entry(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes}
