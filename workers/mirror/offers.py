"""The models that a node gives away now, each to who knows its secret, until its lease ends."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from workers.engines.names import canonical_name
from workers.mirror.limiting import TokenBucket
from workers.mirror.shelf import UNKNOWN, Asked, Blob, Manifest, Refusal, find_secret
from workers.shelf import StoreFiles, read_layers, read_manifest, require_plain

# A secret is for one copy; orders of an hour ago may come in any order when a machine wakes.
ENDED_KEPT = 500


class CannotGive(Exception):  # noqa: N818 - named for what became of the order
    """A model that is not given; the text is a sentence without its first word, the node."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One model for one other server. ``blobs`` are by digest, as a registry names them."""

    model: str
    tag: str
    manifest: bytes
    blobs: Mapping[str, Blob]
    limiter: TokenBucket


@dataclass(frozen=True, kw_only=True)
class _Lease:
    offer: Offer
    ends_at: float


class Offers:
    """What a ``MirrorServer`` serves; changed from other threads by whole replacement."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_KEPT)

    def put(self, secret: str, offer: Offer, *, lease_s: float) -> None:
        """Offer it from now on, or longer."""
        lease = _Lease(offer=offer, ends_at=self._clock() + lease_s)
        self._leases = self._leases | {secret: lease}

    def find(self, secret: str) -> Offer | None:
        """Return what is offered by a secret."""
        lease = find_secret(secret, self._leases.items())
        is_on = lease is not None and lease.ends_at > self._clock()
        return lease.offer if lease and is_on else None

    def end(self, secret: str) -> None:
        """Offer it no longer, and never again."""
        self._ended.append(secret)
        self._leases = {key: each for key, each in self._leases.items() if key != secret}

    def has_ended(self, secret: str) -> bool:
        """Tell whether the hub ended it: what still asks to go on was sent before that."""
        return secret in self._ended

    @property
    def are_none(self) -> bool:
        """Whether nothing is offered any more; what has ended is forgotten."""
        now = self._clock()
        self._leases = {key: each for key, each in self._leases.items() if each.ends_at > now}
        return not self._leases

    async def manifest(self, asked: Asked, tag: str) -> Manifest | Refusal:
        """Return the manifest of the one model that the secret stands for."""
        offer = self._asked(asked)
        if offer is None or offer.tag.lower() != tag.lower():
            return UNKNOWN
        return Manifest(body=offer.manifest)

    async def blob(self, asked: Asked, digest: str) -> Blob | Refusal:
        """Return a file of that model."""
        offer = self._asked(asked)
        return offer.blobs.get(digest, UNKNOWN) if offer else UNKNOWN

    def _asked(self, asked: Asked) -> Offer | None:
        offer = self.find(asked.namespace)
        is_it = offer is not None and offer.model.lower() == asked.model.lower()
        return offer if is_it else None


def make_offer(files: StoreFiles, name: str, *, digest: str, bytes_per_s: float | None) -> Offer:
    """Read what a name stands for, and all that belongs to it. Raises ``CannotGive``."""
    path, _, tag = canonical_name(name).rpartition(":")
    try:
        require_plain(files.folder / "manifests", files.folder / "blobs")
        raw = read_manifest(str(_find(files.folder / "manifests", [*path.split("/"), tag])))
        layers = read_layers(raw)
    except FileNotFoundError as error:
        raise CannotGive(f"does not have {name} any more") from error
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotGive(f"cannot read its copy of {name}: {why}") from error
    if sha256(raw).hexdigest() != digest:
        raise CannotGive(f"has another version of {name} by now")
    limiter = TokenBucket(bytes_per_s)
    blobs = {}
    for layer in layers:
        blob = files.blob(layer.digest, layer.size_bytes, limiter)
        if blob is None:
            raise CannotGive(f"lacks a file of {name}, or may not read it")
        blobs[f"sha256:{layer.digest}"] = blob
    model = path.rpartition("/")[2]
    return Offer(model=model, tag=tag, manifest=raw, blobs=blobs, limiter=limiter)


def _find(folder: Path, parts: list[str]) -> Path:
    """Walk down, whatever the case, through folders that are none but folders."""
    for part in parts[:-1]:
        folder = _entry(folder, part)
        if folder.is_symlink():
            raise OSError(f"its folder {folder.name} is a link, which is not followed")
    return _entry(folder, parts[-1])


def _entry(folder: Path, wanted: str) -> Path:
    found = next((each for each in folder.iterdir() if each.name.lower() == wanted), None)
    if found is None:
        raise FileNotFoundError(wanted)
    return found
