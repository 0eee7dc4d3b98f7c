"""What the cache has on disk: manifests by name, blobs by digest, and what is on its way.

``manifests/<host>/<namespace>/<model>/<tag>`` holds a manifest byte by byte; its date is when the
model was last asked for. ``blobs/sha256-<hex>`` is whole and was verified before it got that name.
``partial/`` holds the rest, each with a note of what has arrived. One process writes here.
"""

import fcntl
import json
import logging
import os
import shutil
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from workers.cache.addresses import Address, BadAddress, address_at
from workers.cache.manifests import DIGEST, BadManifest, Blob, Manifest, read_manifest

DRAFT = ".new"
NOTE = ".json"

log = logging.getLogger(__name__)


class InUse(Exception):  # noqa: N818 - named for the state
    """Another process keeps this folder."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model. ``used_at`` is in seconds since 1970."""

    address: Address
    manifest: Manifest
    used_at: float


class Files:
    """The folder of a cache; safe to use from many threads. Raises ``InUse``, ``OSError``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        for name in ("blobs", "partial", "manifests"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _hold(folder / "lock")
        self._entries: dict[Address, Entry] = {}
        self._whole: dict[str, int] = {}
        self._partial: dict[str, int] = {}
        self._read_manifests()
        self._read_blobs()

    def close(self) -> None:
        """Let another process keep the folder."""
        self._held.close()

    # --- models --------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return all models, the one that was asked for last first."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda each: each.used_at, reverse=True)

    def find(self, address: Address) -> Manifest | None:
        """Return the manifest of a model."""
        entry = self._entries.get(address)
        return entry.manifest if entry else None

    def keep(self, address: Address, manifest: Manifest, *, now: float) -> None:
        """Bind a name to a manifest, and note that it was asked for. Raises ``OSError``."""
        path = self._manifest_path(address)
        with self._lock:
            known = self._entries.get(address)
            if known is None or known.manifest.raw != manifest.raw:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(path, manifest.raw)
            os.utime(path, (now, now))
            self._entries[address] = Entry(address=address, manifest=manifest, used_at=now)

    def forget(self, address: Address, *, spared: Collection[str] = ()) -> int:
        """Delete a model and the blobs that it alone needs; return how many bytes that frees.

        ``spared`` are digests that stay.
        """
        with self._lock:
            entry = self._entries.pop(address, None)
            if entry is None:
                return 0
            path = self._manifest_path(address)
            path.unlink(missing_ok=True)
            for parent in list(path.parents)[:3]:
                with suppress(OSError):
                    parent.rmdir()
            needed = self._needed() | set(spared)
            gone = [each.digest for each in entry.manifest.blobs if each.digest not in needed]
            return sum(self.delete(digest) for digest in gone)

    # --- blobs ---------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> Path:
        """Return where a whole blob lies."""
        return self.folder / "blobs" / digest.replace(":", "-")

    def partial_path(self, digest: str) -> Path:
        """Return where a blob lies that is on its way."""
        return self.folder / "partial" / digest.replace(":", "-")

    def note_path(self, digest: str) -> Path:
        """Return where it stands which parts of a blob have arrived."""
        return self.partial_path(digest).with_suffix(NOTE)

    def has(self, blob: Blob) -> bool:
        """Tell whether a blob is whole and has the size that a manifest gives it."""
        return self._whole.get(blob.digest) == blob.size_bytes

    def here_bytes(self, blob: Blob) -> int:
        """Return how much of a blob has arrived."""
        with self._lock:
            found = self._whole.get(blob.digest, self._partial.get(blob.digest, 0))
        return min(found, blob.size_bytes)

    def arrived(self, digest: str, so_many: int) -> None:
        """Count what has arrived of a blob that is not whole."""
        with self._lock:
            self._partial[digest] = so_many

    def finish(self, blob: Blob) -> None:
        """Give a blob, which must be verified and synced, the name of a whole one."""
        with self._lock:
            self.partial_path(blob.digest).replace(self.blob_path(blob.digest))
            _sync_folder(self.folder / "blobs")
            self.note_path(blob.digest).unlink(missing_ok=True)
            self._partial.pop(blob.digest, None)
            self._whole[blob.digest] = blob.size_bytes

    def delete(self, digest: str) -> int:
        """Delete a blob, whole or not; return how many bytes that frees."""
        with self._lock:
            freed = self._whole.pop(digest, 0) + self._partial.pop(digest, 0)
            self.blob_path(digest).unlink(missing_ok=True)
            self.partial_path(digest).unlink(missing_ok=True)
            self.note_path(digest).unlink(missing_ok=True)
            return freed

    # --- room ----------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Return what all blobs take."""
        with self._lock:
            return sum(self._whole.values()) + sum(self._partial.values())

    def disk_free_bytes(self) -> int:
        """Return what the disk has left for us. Raises ``OSError``."""
        return shutil.disk_usage(self.folder).free

    def spare_bytes(self, spared: Iterable[Address]) -> int:
        """Return what clearing up could free at most."""
        with self._lock:
            kept = self._needed(set(spared))
            every = self._whole | self._partial
            return sum(size for digest, size in every.items() if digest not in kept)

    def clear_up(self, need_bytes: int, *, spared: Collection[Address], busy: set[str]) -> int:
        """Free at least so much where that can be: first what no model needs, then models.

        Those that were not asked for the longest go first, those in ``spared`` and the digests
        in ``busy`` stay. Returns how many bytes are free by that.
        """
        with self._lock:
            freed = 0
            for digest in set(self._whole | self._partial) - self._needed() - busy:
                freed += self.delete(digest) if freed < need_bytes else 0
            for entry in reversed(self.entries()):
                if freed < need_bytes and entry.address not in spared:
                    freed += self.forget(entry.address, spared=busy)
                    log.info("cleared up model=%s", entry.address.shown)
            return freed

    def _needed(self, of: Collection[Address] | None = None) -> set[str]:
        entries = self._entries.values()
        chosen = [each for each in entries if of is None or each.address in of]
        return {blob.digest for each in chosen for blob in each.manifest.blobs}

    # --- as it is found at the start -------------------------------------------------------------

    def _read_manifests(self) -> None:
        root = self.folder / "manifests"
        for path in sorted(root.glob("*/*/*/*")):
            try:
                address = address_at(PurePosixPath(path.relative_to(root)))
                manifest, used_at = read_manifest(path.read_bytes()), path.stat().st_mtime
            except (BadAddress, BadManifest, OSError):
                log.warning("not a manifest: %s deleted", path.name)
                path.unlink(missing_ok=True)
            else:
                entry = Entry(address=address, manifest=manifest, used_at=used_at)
                self._entries[address] = entry

    def _read_blobs(self) -> None:
        """Take up what is as it should be, and delete the rest: a crash leaves such."""
        sizes = {b.digest: b.size_bytes for e in self._entries.values() for b in e.manifest.blobs}
        for path in sorted((self.folder / "blobs").iterdir()):
            digest, size = path.name.replace("-", ":", 1), path.stat().st_size
            if DIGEST.fullmatch(digest) and sizes.get(digest, size) == size:
                self._whole[digest] = size
            else:
                path.unlink()
        for path in sorted((self.folder / "partial").iterdir()):
            digest = path.name.replace("-", ":", 1)
            if path.suffix == NOTE and path.with_suffix("").exists():
                continue
            if DIGEST.fullmatch(digest) and (note := read_note(path.with_suffix(NOTE))):
                self._partial[digest] = sum(note)
            else:
                path.unlink(missing_ok=True)
                path.with_suffix(NOTE).unlink(missing_ok=True)

    def _manifest_path(self, address: Address) -> Path:
        return self.folder / "manifests" / address.path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    # No name of a model begins with a dot: a draft that a crash left is none.
    draft = path.with_name(f".{path.name}{DRAFT}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_note(path: Path, filled: list[int]) -> None:
    """Note how much of each segment has arrived."""
    write_whole(path, json.dumps(filled).encode())


def read_note(path: Path) -> list[int]:
    """Return how much of each segment has arrived; nothing where that is not known."""
    try:
        filled = json.loads(path.read_bytes())
        return filled if all(isinstance(each, int) and each >= 0 for each in filled) else []
    except (OSError, ValueError, TypeError):
        return []


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _hold(path: Path) -> BinaryIO:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InUse(f"{path.parent} is kept by another process") from error
    return file
