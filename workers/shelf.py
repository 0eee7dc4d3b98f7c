"""Reads what lies in a server's model store: the files of each name, and what is left over.

The store may be anybody's work. Nothing outside of it is read: links in it are passed over, and
what is read and told is bounded.
"""

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from workers.mirror.limiting import TokenBucket
from workers.mirror.shelf import Blob, FileBlob, open_plain
from workers.values import Count
from workers.wire.shelf import MOST_LAYERS, MOST_PARTIALS, Layer, Partial, ShelfReading

# A model in many small files has a manifest of some hundred kilobytes.
MOST_MANIFEST_BYTES = 4 * 2**20
MOST_MANIFESTS = 10_000
MOST_BLOBS = 100_000
# manifests/<host>/<namespace>/<model>/<tag>
_DEPTH = 4
# Of a download that runs, something is written every second; it stalls for half a minute.
BUSY_S = 60.0
_KIND = re.compile(r"application/vnd\.ollama\.image\.(\w+)")
_BLOB = re.compile(r"sha256-([0-9a-f]{64})((?:-partial.*|\.tmp.*)?)")
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
# Of the entries of a file's description, what a disk really gives it comes in these.
_UNIT_BYTES = 512
_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | _NOT_FOLLOWED | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

type Measure = Callable[[os.DirEntry[str]], tuple[str, int]]


class _Entry(BaseModel):
    mediaType: str = ""  # noqa: N815 - the manifest's own word
    digest: str
    size: Count


class _Manifest(BaseModel):
    config: _Entry | None = None
    layers: tuple[_Entry, ...] | None = None


class StoreFiles:
    """The files of a store that lies on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def measure(self, entry: os.DirEntry[str]) -> tuple[str, int]:
        """Tell the name of a file, and what it takes of the disk: what is not finished has holes.

        Raises ``OSError``.
        """
        described = entry.stat(follow_symlinks=False)
        blocks = getattr(described, "st_blocks", None)
        return entry.name, described.st_size if blocks is None else blocks * _UNIT_BYTES

    def blob(self, digest: str, size_bytes: int, limiter: TokenBucket) -> Blob | None:
        """Return a whole file to be given away; ``None`` where it is not so here, or not to read.

        ``digest`` is in 64 hex digits.
        """
        path = self.folder / "blobs" / f"sha256-{digest}"
        try:
            with open_plain(path) as file:
                is_whole = os.fstat(file.fileno()).st_size == size_bytes
        except OSError:
            return None
        return FileBlob(path=path, size_bytes=size_bytes, limiter=limiter) if is_whole else None

    def clear_partials(self) -> tuple[int, int]:
        """Delete the unfinished downloads that nobody is at.

        Return their bytes, and how many are left because somebody is. Raises ``OSError``.
        """
        folder = self.folder / "blobs"
        require_plain(folder)
        listed = _list_blobs(folder, self.measure)
        idle = {digest for digest, at in listed.written.items() if at < time.time() - BUSY_S}
        freed = 0
        for entry in _plain_files(folder):
            match = _BLOB.fullmatch(entry.name)
            if match and match[2] and match[1] in idle:
                _, size_bytes = self.measure(entry)
                Path(entry.path).unlink(missing_ok=True)
                freed += size_bytes
        return freed, len(listed.written) - len(idle)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What a store holds. ``layers`` are by the digest of the manifest."""

    reading: ShelfReading
    layers: dict[str, tuple[Layer, ...]] = field(default_factory=dict)

    @property
    def signature(self) -> frozenset[str]:
        """What makes it worth telling anew: which downloads are unfinished."""
        return frozenset(each.digest for each in self.reading.partials)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    stamp: tuple[int, int]
    digest: str
    layers: tuple[Layer, ...]


@dataclass(kw_only=True)
class _Blobs:
    whole: dict[str, int] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    is_cut: bool = False


class ShelfReader:
    """Reads one store again and again; a manifest that did not change is read once."""

    def __init__(self) -> None:
        self._known: dict[str, _Seen] = {}

    def read(self, files: StoreFiles) -> Shelf:
        """Return what lies there, or why that cannot be told; never raises."""
        store = files.folder
        try:
            return self._read(files)
        except FileNotFoundError:
            return _unknown(store, "there is no store in this folder")
        except PermissionError:
            return _unknown(store, "the worker may not read it: it belongs to another account")
        except OSError as error:
            return _unknown(store, error.strerror or str(error))

    def _read(self, files: StoreFiles) -> Shelf:
        store = files.folder
        require_plain(store / "manifests", store / "blobs")
        seen, is_whole = self._manifests(store / "manifests")
        blobs = _list_blobs(store / "blobs", files.measure)
        needed = {layer.digest for each in seen for layer in each.layers}
        orphans = [size for digest, size in blobs.whole.items() if digest not in needed]
        is_sure = is_whole and not blobs.is_cut
        reading = ShelfReading(
            path=str(store),
            partials=tuple(_partials(blobs)),
            partial_bytes=sum(blobs.partial.values()),
            orphans=len(orphans) if is_sure else None,
            orphan_bytes=sum(orphans) if is_sure else None,
            may_delete=os.access(store / "blobs", os.W_OK | os.X_OK),
            note=None if is_sure else "more lies in it than is told",
        )
        return Shelf(reading=reading, layers=dict(_bounded(seen)))

    def _manifests(self, folder: Path) -> tuple[list[_Seen], bool]:
        """Read all manifests; also tell whether these are all that there are."""
        found: dict[str, _Seen] = {}
        is_whole = True
        for count, entry in enumerate(_files(folder, _DEPTH)):
            if count >= MOST_MANIFESTS:
                is_whole = False
                break
            each = self._manifest(entry)
            if each is None:
                is_whole = False
            else:
                found[entry.path] = each
        self._known = found
        return list(found.values()), is_whole

    def _manifest(self, entry: os.DirEntry[str]) -> _Seen | None:
        try:
            described = entry.stat(follow_symlinks=False)
            stamp = (described.st_mtime_ns, described.st_size)
            known = self._known.get(entry.path)
            if known is not None and known.stamp == stamp:
                return known
            raw = read_manifest(entry.path)
            layers = read_layers(raw)
        except (OSError, ValueError, RecursionError):
            return None
        return _Seen(stamp=stamp, digest=sha256(raw).hexdigest(), layers=layers)


def _unknown(store: Path, note: str) -> Shelf:
    return Shelf(reading=ShelfReading(path=str(store), note=note))


def require_plain(*folders: Path) -> None:
    """Refuse folders that are links. Raises ``OSError``."""
    for folder in folders:
        if folder.is_symlink():
            raise OSError(f"its folder {folder.name} is a link, which is not followed")


def _bounded(seen: Iterable[_Seen]) -> Iterator[tuple[str, tuple[Layer, ...]]]:
    """Leave out the layers of models with very many, once all together are too many to tell."""
    told = 0
    for each in sorted(seen, key=lambda each: len(each.layers)):
        told += len(each.layers)
        if told > MOST_LAYERS:
            return
        yield each.digest, each.layers


def _partials(blobs: _Blobs) -> Iterator[Partial]:
    now = time.time()
    largest = sorted(blobs.partial, key=lambda digest: -blobs.partial[digest])
    for digest in largest[:MOST_PARTIALS]:
        age_s = max(0.0, now - blobs.written[digest])
        yield Partial(digest=digest, size_bytes=blobs.partial[digest], age_s=age_s)


def _list_blobs(folder: Path, measure: Measure) -> _Blobs:
    blobs = _Blobs()
    for count, entry in enumerate(_plain_files(folder)):
        if count >= MOST_BLOBS:
            blobs.is_cut = True
            break
        # A file may go in this moment, as when a download is finished.
        with suppress(FileNotFoundError, ValueError):
            _add(blobs, entry, *measure(entry))
    return blobs


def _add(blobs: _Blobs, entry: os.DirEntry[str], name: str, size_bytes: int) -> None:
    match = _BLOB.fullmatch(name)
    if match is None:
        return
    digest, rest = match.groups()
    if not rest:
        blobs.whole[digest] = size_bytes
        return
    written = entry.stat(follow_symlinks=False).st_mtime
    blobs.partial[digest] = blobs.partial.get(digest, 0) + size_bytes
    blobs.written[digest] = max(written, blobs.written.get(digest, 0.0))


def _files(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    """Yield the files that lie so deep in a folder. Raises ``OSError`` for the folder itself."""
    if depth == 1:
        yield from _plain_files(folder)
        return
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), depth - 1)


def _plain_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(folder) if entry.is_file(follow_symlinks=False))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def read_manifest(path: str) -> bytes:
    """Read a manifest. Raises ``OSError``, and ``ValueError`` for what can be none."""
    number = os.open(path, _READ)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("no file")
        raw = file.read(MOST_MANIFEST_BYTES + 1)
    if len(raw) > MOST_MANIFEST_BYTES:
        raise ValueError("too long")
    return raw


def read_layers(raw: bytes) -> tuple[Layer, ...]:
    """Return the files that a manifest names, each once. Raises ``ValueError``."""
    said: Any = json.loads(raw)
    try:
        manifest = _Manifest.model_validate(said)
    except ValidationError as error:
        raise ValueError("no manifest") from error
    config = [manifest.config] if manifest.config and manifest.config.digest else []
    found: dict[str, Layer] = {}
    for entry in (*(manifest.layers or ()), *config):
        match = _DIGEST.fullmatch(entry.digest)
        if match is None:
            raise ValueError("no digest")
        kind = _KIND.fullmatch(entry.mediaType)
        named = kind[1] if kind else ("config" if entry in config else "")
        found.setdefault(match[1], Layer(digest=match[1], size_bytes=entry.size, kind=named))
    return tuple(found.values())
