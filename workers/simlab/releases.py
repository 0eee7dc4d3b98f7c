"""New versions of what is published: what a registry has after somebody pushed a model again."""

import json
from collections.abc import MutableMapping
from dataclasses import replace
from hashlib import sha256
from typing import Literal, get_args

from workers.simlab.ollama.manifest import Layer, read_manifest
from workers.simlab.ollama.weights import Weights
from workers.simlab.registry import LAYER_TYPE, Blob, Registry, real_blob

Change = Literal["weights", "template", "parameters", "withdraw"]
CHANGES: tuple[str, ...] = get_args(Change)
REQUIRES = "requires="


class NotPublishedError(ValueError):
    """There is no such name, or no such change."""


def release(
    registry: Registry, weights: MutableMapping[str, Weights], name: str, change: str
) -> None:
    """Publish a name anew with one thing changed, or no more. Raises NotPublishedError.

    ``change`` is one of ``CHANGES``, or ``requires=0.40.0``. The same changes in the same order
    give the same digests.
    """
    key = registry.key(name)
    if key not in registry.manifests:
        raise NotPublishedError(f"the registry does not offer {name}")
    if change == "withdraw":
        del registry.manifests[key]
        return
    manifest = read_manifest(registry.manifests[key])
    blobs = {layer.kind: registry.blobs[layer.digest] for layer in manifest.layers}
    config = registry.blobs[manifest.config.digest]
    if change == "weights":
        blobs["model"] = _retrained(registry.blobs[_model(manifest.layers, name).digest], weights)
    elif change == "template":
        blobs["template"] = _text("template", blobs.get("template"), "{{- /* again */}}")
    elif change == "parameters":
        blobs["params"] = _warmer(blobs.get("params"))
    elif change.startswith(REQUIRES):
        told = json.loads(config.data or b"{}") | {"requires": change.removeprefix(REQUIRES)}
        config = real_blob(config.media_type, json.dumps(told).encode())
    else:
        raise NotPublishedError(f"a change is one of {', '.join(CHANGES)}, {REQUIRES}0.40.0")
    registry.publish(key, config=config, layers=list(blobs.values()))


def requires_of(registry: Registry, body: bytes) -> str:
    """Tell which Ollama a manifest's model needs at least, nothing where it does not say."""
    blob = registry.blobs.get(read_manifest(body).config.digest)
    return str(json.loads(blob.data).get("requires", "")) if blob and blob.data else ""


def _model(layers: tuple[Layer, ...], name: str) -> Layer:
    for layer in layers:
        if layer.kind == "model":
            return layer
    raise NotPublishedError(f"{name} has no weights")


def _retrained(old: Blob, weights: MutableMapping[str, Weights]) -> Blob:
    """Make a file of the same shape and size with other bytes."""
    digest = f"sha256:{sha256(f'{old.digest} again'.encode()).hexdigest()}"
    weights[digest] = replace(weights[old.digest], digest=digest)
    return replace(old, digest=digest)


def _text(kind: str, old: Blob | None, more: str) -> Blob:
    return real_blob(LAYER_TYPE + kind, (old.data if old and old.data else b"") + more.encode())


def _warmer(old: Blob | None) -> Blob:
    parameters = json.loads(old.data) if old and old.data else {}
    told = parameters | {"temperature": round(parameters.get("temperature", 0.6) + 0.1, 1)}
    return real_blob(f"{LAYER_TYPE}params", json.dumps(told).encode())
