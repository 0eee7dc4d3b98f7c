"""Manifests: the small JSON documents that bind a name to its blobs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from workers.simlab.ollama.body import go_json_error
from workers.simlab.ollama.names import Name
from workers.simlab.registry import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE


class BrokenManifestError(ValueError):
    """The manifest is no JSON of its kind; the message is Go's."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A blob in its role. ``origin``: the name that a derived model took it from."""

    media_type: str
    digest: str
    size_bytes: int
    origin: str = ""

    @property
    def kind(self) -> str:
        """``model``, ``template``, ``params`` and so on; ``config`` for the config."""
        return self.media_type.removeprefix(LAYER_TYPE)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest as it was read. ``digest`` is the 64 hex digits of its own bytes."""

    raw: bytes
    config: Layer
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        """What ``/api/tags`` shows: no ``sha256:`` before it."""
        return sha256(self.raw).hexdigest()

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """Every blob that it needs, the config last."""
        return (*self.layers, *([self.config] if self.config.digest else []))

    @property
    def size_bytes(self) -> int:
        """The sum that ``/api/tags`` shows: by the manifest's own numbers."""
        return sum(layer.size_bytes for layer in self.all_layers)

    def layer(self, kind: str) -> Layer | None:
        """Find the first layer of a kind."""
        return next((layer for layer in self.layers if layer.kind == kind), None)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A name in the store with its manifest. ``modified_ns``: since 1970."""

    name: Name
    manifest: Manifest
    modified_ns: int


def read_manifest(raw: bytes) -> Manifest:
    """Read a manifest. Raises BrokenManifestError."""
    try:
        body = json.loads(raw)
        layers = tuple(_layer(entry) for entry in body.get("layers") or [])
        return Manifest(raw=raw, config=_layer(body["config"], "config"), layers=layers)
    except json.JSONDecodeError as error:
        raise BrokenManifestError(go_json_error(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BrokenManifestError("json: cannot unmarshal into Go value") from error


def write_manifest(config: Layer, layers: Sequence[Layer]) -> Manifest:
    """Write a manifest as ``ollama create`` does: compact JSON and a line feed."""
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _entry(replace(config, media_type=CONFIG_TYPE)),
        "layers": [_entry(layer) for layer in layers],
    }
    return read_manifest(json.dumps(body, separators=(",", ":")).encode() + b"\n")


def _layer(entry: dict[str, Any], kind: str = "") -> Layer:
    return Layer(
        media_type=kind or entry["mediaType"],
        digest=entry["digest"],
        size_bytes=entry["size"],
        origin=entry.get("from", ""),
    )


def _entry(layer: Layer) -> dict[str, Any]:
    entry = {
        "mediaType": layer.media_type,
        "digest": layer.digest,
        "size": layer.size_bytes,
    }
    return entry | ({"from": layer.origin} if layer.origin else {})
