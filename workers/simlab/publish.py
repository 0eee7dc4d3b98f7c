"""What the simulated registry offers: the catalog's names with their manifests and blobs."""

import json
from collections.abc import Mapping
from typing import Any

from workers.simlab.catalog import models, offers
from workers.simlab.ollama.manifest import read_manifest
from workers.simlab.ollama.names import parse
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.weights import Weights, from_catalog
from workers.simlab.registry import CONFIG_TYPE, LAYER_TYPE, Blob, Registry, real_blob

_TEMPLATE = "{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}"
_PARAMETERS: Mapping[str, Any] = {"stop": ["<|im_start|>", "<|im_end|>"]}


def publish_catalog(registry: Registry, *, parameters: Mapping[str, Any] = _PARAMETERS) -> None:
    """Publish every name that the catalog knows, with the parameters that all models carry."""
    for offer in offers():
        model = models()[offer.model]
        weights = from_catalog(model, model.variants[offer.quant])
        publish_weights(
            registry, offer.name, weights, license_text=model.license, parameters=parameters
        )


def publish_weights(
    registry: Registry,
    name: str,
    weights: Weights,
    *,
    license_text: str = "",
    parameters: Mapping[str, Any] = _PARAMETERS,
) -> None:
    """Publish one file under a name, with the small layers that models carry."""
    texts = {"template": _TEMPLATE, "license": license_text, "params": json.dumps(parameters)}
    layers = [virtual_blob(weights)]
    layers += [_layer(kind, text) for kind, text in texts.items() if text]
    config = real_blob(CONFIG_TYPE, json.dumps(weights.config()).encode())
    registry.publish(name, config=config, layers=layers)


def virtual_blob(weights: Weights) -> Blob:
    """Give the blob of a file whose bytes exist only as a number."""
    return Blob(
        media_type=f"{LAYER_TYPE}model", digest=weights.digest, size_bytes=weights.size_bytes
    )


def install(registry: Registry, server: OllamaServer, name: str) -> None:
    """Put a published model into a server's store as if it had been pulled. Raises NoSpace."""
    manifest = read_manifest(registry.manifests[registry.key(name)])
    for layer in manifest.all_layers:
        blob = registry.blobs[layer.digest]
        if blob.data is None:
            server.store.put_virtual(blob.digest, blob.size_bytes)
        else:
            server.store.put_blob(blob.data)
    server.store.write(parse(name), manifest)


def _layer(kind: str, text: str) -> Blob:
    return real_blob(LAYER_TYPE + kind, text.encode())
