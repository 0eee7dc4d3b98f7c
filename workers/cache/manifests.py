"""Manifests: hostile text that names blobs by digest and size."""

import json
import re
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 2**20
MOST_BLOBS = 512
# No file of a model is as large; what says so is wrong.
MOST_BLOB_BYTES = 4 * 2**40
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class BadManifest(ValueError):  # noqa: N818 - named for what it is
    """Text that is no manifest."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that a manifest names."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it came, and the blobs that it names, each once; the config is the first."""

    raw: bytes
    blobs: tuple[Blob, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size_bytes for blob in self.blobs)


def read_manifest(raw: bytes) -> Manifest:
    """Read and check a manifest. Raises ``BadManifest``."""
    if len(raw) > MOST_BYTES:
        raise BadManifest("a manifest of more than 1 MiB")
    try:
        document: Any = json.loads(raw)
        entries = [document["config"], *document["layers"]]
        blobs = {str(each["digest"]): _size(each["size"]) for each in entries}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadManifest("a damaged manifest") from error
    if len(blobs) > MOST_BLOBS or not all(DIGEST.fullmatch(digest) for digest in blobs):
        raise BadManifest("a damaged manifest")
    return Manifest(raw, tuple(Blob(digest, size) for digest, size in blobs.items()))


def _size(given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 < given <= MOST_BLOB_BYTES:
        raise BadManifest("a damaged manifest")
    return given


def needed_version(config: bytes) -> str | None:
    """Return the version of Ollama that a model's config asks for, if it asks."""
    try:
        needed = json.loads(config)["requires"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return needed if isinstance(needed, str) and len(needed) <= 40 else None  # noqa: PLR2004 - longer than any


def is_too_old(user_agent: str, needed: str) -> bool:
    """Tell whether a client says that it is an Ollama older than ``needed``."""
    has = re.match(r"ollama/v?(\d+(?:\.\d+)*)", user_agent)
    wants = re.match(r"v?(\d+(?:\.\d+)*)", needed)
    return bool(has and wants) and _numbers(has) < _numbers(wants)


def _numbers(match: "re.Match[str] | None") -> tuple[int, ...]:
    return tuple(int(part) for part in match[1].split(".")[:4]) if match else ()
