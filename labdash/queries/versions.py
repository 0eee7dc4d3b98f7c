"""What differs between the version of a model that is here and the one that is published. Pure.

Manifests of what Ollama pulled before 0.19 were written anew, so their digests tell nothing: then
the weights alone are compared, as is said in Ollama's own terms.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

# From here on the manifest is kept as it was published.
RAW_MANIFESTS = (0, 19)
# It came out in the spring of 2026: what was pulled before was pulled by an older one.
NONE_BEFORE = datetime(2026, 3, 1, tzinfo=UTC)
# What the kinds of files are called; what is not named here counts as weights.
WORDS: Mapping[str, str] = {
    "template": "template",
    "prompt": "template",
    "system": "system prompt",
    "params": "parameters",
    "messages": "example messages",
    "license": "licence",
    "config": "description",
}
# What is in no way part of what a model answers.
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"

type What = Literal["same", "weights", "texts", "unknown"]


@dataclass(frozen=True, slots=True)
class File:
    """A file of a version: ``kind`` is the end of its media type, ``digest`` 64 hex digits."""

    kind: str
    digest: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Here:
    """A name as it is installed. ``files`` are empty, ``weights`` too, where they are not known.

    ``is_raw``: its digest can be compared with what is published.
    """

    digest: str
    weights: str = ""
    size_bytes: int | None = None
    files: tuple[File, ...] = ()
    is_raw: bool = True


@dataclass(frozen=True, kw_only=True)
class There:
    """A version as it is published."""

    digest: str
    files: tuple[File, ...]
    requires: str = ""

    @property
    def weights(self) -> str:
        """Return the digest of the weights, nothing where it has none in one file."""
        return next((file.digest for file in self.files if file.kind == "model"), "")

    @property
    def size_bytes(self) -> int:
        """Sum up as servers do, which list the files of a name one by one."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed, and in ``parts`` the words for it.

    ``bytes`` are to be fetched, at most that many where not ``is_exact``; None where nothing is.
    """

    what: What
    parts: tuple[str, ...] = ()
    bytes: int | None = None
    is_exact: bool = False

    @property
    def is_newer(self) -> bool:
        """Whether what is published is not what is here."""
        return self.what in {"weights", "texts"}


def difference(
    here: Here, there: There, *, present: Iterable[str], is_whole: bool = False
) -> Difference:
    """Compare a name with what is published under it.

    ``present`` are the digests of files that its server has, all of them where ``is_whole``.
    """
    what, parts = _changed(here, there)
    if what in {"same", "unknown"}:
        return Difference(what=what, parts=parts)
    known = {*present, *(file.digest for file in here.files), here.weights}
    missing = {file.digest: file.bytes for file in there.files if file.digest not in known}
    is_exact = is_whole or bool(here.files)
    return Difference(what=what, parts=parts, bytes=sum(missing.values()), is_exact=is_exact)


def _changed(here: Here, there: There) -> tuple[What, tuple[str, ...]]:
    if here.digest == there.digest:
        return "same", ()
    if here.files:
        return _by_files(here.files, there.files)
    if not here.weights or not there.weights:
        return ("texts", ()) if here.is_raw and here.weights == there.weights else _blindly(here)
    if here.weights != there.weights:
        return "weights", ("weights",)
    # The weights are the same: something small differs, or nothing but how it was written down.
    if not here.is_raw and here.size_bytes in {None, there.size_bytes}:
        return "same", ()
    return "texts", ()


def _blindly(here: Here) -> tuple[What, tuple[str, ...]]:
    return ("weights", ()) if here.is_raw else ("unknown", ())


def _by_files(here: tuple[File, ...], there: tuple[File, ...]) -> tuple[What, tuple[str, ...]]:
    old = {(file.kind, file.digest) for file in here}
    new = {(file.kind, file.digest) for file in there}
    changed = {kind for kind, _ in old ^ new}
    words = tuple(dict.fromkeys(WORDS.get(kind, "weights") for kind in sorted(changed)))
    if not changed:
        return "same", ()
    return ("weights" if "weights" in words else "texts"), words


def is_raw(*, version: str, modified_at: datetime) -> bool:
    """Tell whether what a server of this version wrote then is as it was published."""
    if modified_at < NONE_BEFORE:
        return False
    found = numbers(version)
    # What was built from source calls itself 0.0.0, whatever it is.
    return found is None or found == (0, 0, 0) or found >= RAW_MANIFESTS


def is_too_old(version: str, requires: str) -> bool:
    """Tell whether a server cannot run what needs ``requires``; of one that does not tell, no."""
    has, needs = numbers(version), numbers(requires)
    return has is not None and needs is not None and has != (0, 0, 0) and has < needs


def numbers(version: str) -> tuple[int, ...] | None:
    """Read the numbers of a version; what follows them, as ``-rc1``, counts for nothing."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def files_of(layers: Iterable[Iterable[object]]) -> tuple[File, ...]:
    """Read stored layers: lists of digest, bytes and kind."""
    found = []
    for layer in layers:
        digest, size, kind = layer
        found.append(
            File(kind=kind_of(str(kind)), digest=hex_of(str(digest)), bytes=int(str(size)))
        )
    return tuple(found)


def kind_of(media_type: str) -> str:
    """Return the end of a media type; that of the description has another form."""
    return "config" if media_type in {CONFIG_TYPE, "config"} else media_type.rpartition(".")[2]


def hex_of(digest: str) -> str:
    """Return a digest without what it begins with."""
    return digest.removeprefix("sha256:")
