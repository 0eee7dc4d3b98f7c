"""The model store on disk: manifests by name, blobs by digest, partial downloads.

It lies as Ollama's own does (``manifests/<host>/<ns>/<model>/<tag>``, ``blobs/sha256-<hex>``,
``…-partial-<n>``) with one difference: of a virtual blob there is only a small file that ends in
``.virtual`` and tells its size. What is stored takes the machine's simulated disk.
"""

import os
import re
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from workers.shelf import BUSY_S
from workers.simlab.machine import Machine
from workers.simlab.ollama.manifest import (
    BrokenManifestError,
    Installed,
    Manifest,
    read_manifest,
)
from workers.simlab.ollama.names import Name, from_path, recase
from workers.simlab.ollama.partials import Partials

# Start-up pruning leaves what is younger.
PRUNE_AGE_S = 3600
_PARTIAL = re.compile(r"(sha256-[0-9a-f]{64})-partial.*")


class Store:
    """Everything that one server keeps. ``shown_at`` is the folder that clients are told."""

    def __init__(
        self, folder: Path, machine: Machine, *, shown_at: str = "/usr/share/ollama/.ollama/models"
    ) -> None:
        self.machine = machine
        self.folder = folder
        self.shown_at = shown_at
        self._manifests = folder / "manifests"
        self._blobs = folder / "blobs"
        self._cache: dict[Path, tuple[int, Manifest]] = {}
        self.was_new = not self._manifests.exists()
        """Whether nothing was ever stored here before."""
        self._manifests.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.partials = Partials(self._blobs, machine)
        used = sum(self.blob_size(digest) or 0 for digest in self._digests())
        used += self.partials.total_bytes()
        machine.take_disk(min(used, machine.disk_free_bytes))

    # --- manifests ---------------------------------------------------------------------------

    def names(self) -> list[Name]:
        """List every name, those with a broken manifest too."""
        files = self._manifests.glob("*/*/*/*")
        return [from_path(str(path.relative_to(self._manifests))) for path in files]

    def installed(self) -> list[Installed]:
        """List what can be read, newest first; broken manifests are passed over."""
        found = [each for name in self.names() if (each := self._try(name))]
        return sorted(found, key=lambda each: each.modified_ns, reverse=True)

    def spelled(self, name: Name) -> Name:
        """Spell a name as what is there already spells its parts."""
        return recase(name, self.names())

    def find(self, name: Name) -> Installed | None:
        """Look a name up, whatever its case. Raises BrokenManifestError."""
        path = self._manifests / self.spelled(name).path
        return self._read(path) if path.is_file() else None

    def write(self, name: Name, manifest: Manifest) -> None:
        """Bind a name, which must be spelled already, to a manifest."""
        path = self._manifests / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest.raw)

    def remove(self, name: Name) -> None:
        """Forget a name and the folders that it leaves empty; blobs stay."""
        path = self._manifests / name.path
        path.unlink()
        for parent in list(path.parents)[:3]:
            if any(parent.iterdir()):
                break
            parent.rmdir()

    def _try(self, name: Name) -> Installed | None:
        try:
            return self._read(self._manifests / name.path)
        except BrokenManifestError:
            return None

    def _read(self, path: Path) -> Installed:
        modified_ns = path.stat().st_mtime_ns
        cached = self._cache.get(path)
        if not cached or cached[0] != modified_ns:
            cached = (modified_ns, read_manifest(path.read_bytes()))
            self._cache[path] = cached
        name = from_path(str(path.relative_to(self._manifests)))
        return Installed(name=name, manifest=cached[1], modified_ns=modified_ns)

    # --- blobs -------------------------------------------------------------------------------

    def blob_size(self, digest: str) -> int | None:
        """Tell the true size of a blob in bytes; ``None``: not here."""
        path = self._path(digest)
        if path.is_file():
            return path.stat().st_size
        virtual = self._path(digest, ".virtual")
        return int(virtual.read_text()) if virtual.is_file() else None

    def read_blob(self, digest: str) -> bytes | None:
        """Give the bytes of a real blob; ``None``: not here, or virtual."""
        path = self._path(digest)
        return path.read_bytes() if path.is_file() else None

    def put_blob(self, data: bytes) -> str:
        """Store bytes, if they are new, and give their digest. Raises NoSpace."""
        digest = f"sha256:{sha256(data).hexdigest()}"
        if self.blob_size(digest) is None:
            self.machine.take_disk(len(data))
            self._path(digest).write_bytes(data)
        return digest

    def put_virtual(self, digest: str, size_bytes: int, *, taken_bytes: int = 0) -> None:
        """Note a virtual blob; ``taken_bytes`` of its disk are taken already. Raises NoSpace."""
        if self.blob_size(digest) is None:
            self.machine.take_disk(size_bytes - taken_bytes)
            self._path(digest, ".virtual").write_text(str(size_bytes))

    def drop_blob(self, digest: str) -> None:
        """Remove a blob and give its disk back."""
        self.machine.give_disk(self.blob_size(digest) or 0)
        self._path(digest).unlink(missing_ok=True)
        self._path(digest, ".virtual").unlink(missing_ok=True)
        self._path(digest, ".rotten").unlink(missing_ok=True)

    def damage(self, digest: str) -> None:
        """Cut a blob off in its middle, which no later pull notices."""
        size, virtual = self.blob_size(digest) or 0, self._path(digest, ".virtual")
        if virtual.is_file():
            virtual.write_text(str(size // 2))
        else:
            os.truncate(self._path(digest), size // 2)

    def rot(self, digest: str) -> None:
        """Let a virtual blob be another than its name says, at the same size."""
        self._path(digest, ".rotten").touch()

    def drop_unused(self, digests: Iterable[str]) -> None:
        """Remove those blobs that no manifest needs."""
        used = {layer.digest for each in self.installed() for layer in each.manifest.all_layers}
        for digest in set(digests) - used:
            self.drop_blob(digest)

    def shown_path(self, digest: str) -> str:
        """Give the path of a blob that clients are told."""
        return f"{self.shown_at}/blobs/{digest.replace(':', '-')}"

    def prune(self) -> None:
        """Do what a starting server does: drop orphans and partials older than an hour."""
        oldest = time.time() - PRUNE_AGE_S
        old = {path for path in self._blobs.iterdir() if path.stat().st_mtime < oldest}
        for digest in {_digest(match[1]) for path in old if (match := _PARTIAL.match(path.name))}:
            self.partials.drop(digest)
        self.drop_unused(_digest(path.name[:71]) for path in old if "-partial" not in path.name)

    def clear_partials(self) -> tuple[int, int]:
        """Drop the unfinished downloads that nobody is at; give their bytes and how many stay."""
        paths = [path for path in self._blobs.iterdir() if "-partial" in path.name]
        written: dict[str, float] = {}
        for path in paths:
            digest = _digest(path.name.partition("-partial")[0])
            written[digest] = max(written.get(digest, 0.0), path.stat().st_mtime)
        idle = [digest for digest, at in written.items() if at < time.time() - BUSY_S]
        freed = sum(self.partials.taken_bytes(digest) for digest in idle)
        for digest in idle:
            self.partials.drop(digest)
        return freed, len(written) - len(idle)

    def _digests(self) -> set[str]:
        names = (path.name for path in self._blobs.iterdir())
        return {_digest(name[:71]) for name in names if "-partial" not in name}

    def _path(self, digest: str, ending: str = "") -> Path:
        return self._blobs / f"{digest.replace(':', '-')}{ending}"


def _digest(file_name: str) -> str:
    return file_name.replace("-", ":", 1)
