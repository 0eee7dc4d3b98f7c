"""Who holds a GPU's memory: a process's name, and the model that a runner of Ollama serves."""

import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise

import psutil

from workers.wire import GpuProcess

SERVERS = frozenset({"ollama", "ollama.exe"})
# As many as Ollama itself shows.
DIGEST_SHOWN = 12
# `llama-server --model …/blobs/sha256-<hex>` from 0.30 on, `ollama runner --model …` before.
_BLOB = re.compile(r"sha256-([0-9a-f]{64})")


class BlobNames:
    """Names of models by the digest of their weights, gathered over a node's instances."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._installed: dict[str, dict[str, str]] = {}
        self._loaded: dict[str, frozenset[str]] = {}
        self._servers: dict[str, int | None] = {}

    def set_installed(self, instance: str, digests: Mapping[str, str]) -> None:
        """Replace what is known of one instance: the weights' digest of each name."""
        with self._lock:
            self._installed[instance] = dict(digests)

    def add_name(self, instance: str, name: str, *, like: str) -> None:
        """Add a name for the weights of ``like``, where those are known."""
        with self._lock:
            digests = self._installed.get(instance, {})
            if like in digests:
                digests[name] = digests[like]

    def set_loaded(self, instance: str, names: Iterable[str]) -> None:
        """Replace the names that an instance has in memory."""
        with self._lock:
            self._loaded[instance] = frozenset(names)

    @property
    def is_any_loaded(self) -> bool:
        """Whether a server has a model in memory, as far as it was asked."""
        with self._lock:
            return any(self._loaded.values())

    def set_server(self, instance: str, pid: int | None) -> None:
        """Replace what is known of the process of an instance."""
        with self._lock:
            self._servers[instance] = pid

    def instance_of(self, server_pid: int) -> str | None:
        """Return the instance of a server process; the only one where none is known by process."""
        with self._lock:
            known = {pid: instance for instance, pid in self._servers.items() if pid is not None}
            if server_pid in known:
                return known[server_pid]
            return next(iter(self._servers)) if len(self._servers) == 1 and not known else None

    def name(self, digest: str, *, instance: str | None = None) -> str | None:
        """Return the model that uses a blob: of several names, the one that is loaded there.

        Where the instance is known and has the blob, only its names count.
        """
        with self._lock:
            found = [
                (where != instance, name not in self._loaded.get(where, ()), name)
                for where, digests in self._installed.items()
                for name, blob in digests.items()
                if blob == digest
            ]
        return min(found)[-1] if found else None

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
        command = process.cmdline()
        digest = blob_of(command)
        if digest is None:
            return GpuProcess(pid=pid, name=name, used_bytes=used_bytes)
        server = _server_of(process)
    except psutil.Error:
        return GpuProcess(pid=pid, used_bytes=used_bytes)
    instance = None if server is None else names.instance_of(server)
    return GpuProcess(
        pid=pid,
        name=name,
        used_bytes=used_bytes,
        model=names.name(digest, instance=instance) or digest[:DIGEST_SHOWN],
        instance=instance,
        is_orphan=server is None and _is_left_behind(process),
        context_tokens=_number_after(command, {"--ctx-size", "-c"}),
        slots=_number_after(command, {"--parallel", "-np"}),
    )


def _server_of(process: psutil.Process) -> int | None:
    """Return the Ollama server among those that started a runner."""
    with suppress(psutil.Error):  # one of them may end in this moment
        while parent := process.parent():
            if parent.name() in SERVERS:
                return parent.pid
            process = parent
    return None


def _is_left_behind(process: psutil.Process) -> bool:
    """Tell by who looks after a process whose parent is gone: the first one, or systemd's."""
    try:
        parent = process.parent()
        return parent is None or parent.pid == 1 or parent.name() == "systemd"
    except psutil.Error:
        return False


def _number_after(command: list[str], options: set[str]) -> int | None:
    values = (value for option, value in pairwise(command) if option in options)
    return next((int(value) for value in values if value.isdecimal()), None)
