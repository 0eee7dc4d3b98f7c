"""Who holds a GPU's memory: a process's name, and the model that a runner of Ollama serves."""

import re
import threading
from collections.abc import Iterable, Mapping
from itertools import pairwise

import psutil

from workers.wire import GpuProcess

# `llama-server --model …/blobs/sha256-<hex>` from 0.30 on, `ollama runner --model …` before.
_BLOB = re.compile(r"sha256-([0-9a-f]{64})")


class BlobNames:
    """Names of models by the digest of their weights, gathered over a node's instances."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._installed: dict[str, dict[str, str]] = {}
        self._loaded: dict[str, frozenset[str]] = {}

    def set_installed(self, instance: str, digests: Mapping[str, str]) -> None:
        """Replace what is known of one instance: the weights' digest of each name."""
        with self._lock:
            self._installed[instance] = dict(digests)

    def set_loaded(self, instance: str, names: Iterable[str]) -> None:
        """Replace the names that an instance has in memory."""
        with self._lock:
            self._loaded[instance] = frozenset(names)

    def name(self, digest: str) -> str | None:
        """Return the model that uses a blob: of several names, the one that is loaded."""
        with self._lock:
            loaded = frozenset[str]().union(*self._loaded.values())
            names = [
                name
                for digests in self._installed.values()
                for name, found in digests.items()
                if found == digest
            ]
        return min(names, key=lambda name: (name not in loaded, name), default=None)

    def sharing(self, instance: str, model: str) -> frozenset[str]:
        """Return the names on an instance that use the same blob as ``model``."""
        with self._lock:
            digests = self._installed.get(instance, {})
            digest = digests.get(model)
            return frozenset(name for name, found in digests.items() if found == digest)


def blob_of(command_line: list[str]) -> str | None:
    """Return the digest of the blob after ``--model``, where there is one."""
    pairs = pairwise(command_line)
    paths = [value for option, value in pairs if option in {"--model", "-m"}]
    paths += [part.partition("=")[2] for part in command_line if part.startswith("--model=")]
    matches = (_BLOB.search(path) for path in paths)
    return next((match[1] for match in matches if match), None)


def describe(pid: int, used_bytes: int | None, names: BlobNames) -> GpuProcess:
    """Describe a process of this machine; in a container only number and memory are known."""
    try:
        process = psutil.Process(pid)
        name = process.name()
        digest = blob_of(process.cmdline())
    except psutil.Error:
        return GpuProcess(pid=pid, used_bytes=used_bytes)
    model = names.name(digest) if digest else None
    return GpuProcess(pid=pid, name=name, used_bytes=used_bytes, model=model)
