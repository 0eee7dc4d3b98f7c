"""Create, copy, delete and blobs: what changes the store without a registry."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from aiohttp import web

from workers.simlab.machine import NoSpace
from workers.simlab.ollama.body import go_json
from workers.simlab.ollama.http import ApiError, empty, stream
from workers.simlab.ollama.lookup import find, read, required, valid_name
from workers.simlab.ollama.manifest import Installed, Layer, write_manifest
from workers.simlab.ollama.names import Name
from workers.simlab.ollama.pull import Line, PullError, pull
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.show import model_parameters
from workers.simlab.ollama.weights import Weights
from workers.simlab.registry import LAYER_TYPE

_HEX_CHARS = 64
# Layers that a request replaces, in the order in which create writes them.
_TEXTS = ("template", "system", "license")


async def create(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/create`` from an existing model, or as a stub of a cloud model."""
    body = await read(request, "CreateRequest")
    name = valid_name(required(body))
    lines = _create(server, name, body)
    return await stream(request, lines, wanted=body.get("stream", True))


async def copy(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/copy``: the manifest is copied byte by byte."""
    body = await read(request, "CopyRequest")
    source, destination = body.get("source", ""), body.get("destination", "")
    name = valid_name(source, f'source "{source}" is invalid')
    target = valid_name(destination, f'destination "{destination}" is invalid')
    model = find(server, name)
    if model is None:
        raise ApiError(404, f'model "{source}" not found')
    spelled = server.store.spelled(target)
    if spelled != model.name:
        server.store.write(spelled, model.manifest)
    return empty()


async def delete(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``/api/delete``; a loaded copy stays loaded."""
    body = await read(request, "DeleteRequest")
    text = required(body)
    if not text:
        raise ApiError(400, "model is required")
    model = find(server, valid_name(text, f'name "{text}" is invalid'))
    if model is None:
        raise ApiError(404, f"model '{text}' not found")
    server.store.remove(model.name)
    server.store.drop_unused(layer.digest for layer in model.manifest.all_layers)
    return empty()


async def blob_head(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``HEAD /api/blobs/<digest>``."""
    digest = _digest(request)
    if server.store.blob_size(digest) is None:
        raise ApiError(404, f'blob "{digest}" not found')
    return empty()


async def blob_post(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    """Answer ``POST /api/blobs/<digest>``."""
    digest = _digest(request)
    if server.store.blob_size(digest) is not None:
        return empty(200)
    data = await request.read()
    seen = f"sha256:{sha256(data).hexdigest()}"
    if seen != digest:
        raise ApiError(400, f'digest mismatch, expected "{digest}", got "{seen}"')
    try:
        server.store.put_blob(data)
    except NoSpace as error:
        raise ApiError(500, f"write {server.store.shown_path(digest)}: {error}") from error
    server.store.partials.drop(digest)
    return empty(201)


def _digest(request: web.Request) -> str:
    text = request.path.rpartition("/")[2].replace("-", ":", 1)
    kind, _, digits = text.partition(":")
    good = len(digits) == _HEX_CHARS and all(char in "0123456789abcdef" for char in digits)
    if kind != "sha256" or not good:
        raise ApiError(400, "invalid digest format")
    return text


async def _create(
    server: OllamaServer, name: Name, body: Mapping[str, Any]
) -> AsyncGenerator[Line]:
    base_name = None if body.get("remote_host") else _base_name(body)
    if base_name and find(server, base_name) is None:
        async for line in _pull(server, base_name):
            yield line
    made = _quantized(server, base_name, body)
    if made is not None:
        # Nothing is said meanwhile, headers included; who leaves ends it.
        await asyncio.sleep(made.size_bytes / server.pace.quantize_bytes_per_s)
        yield {"status": "verifying conversion"}
    try:
        lines = _made(server, name, base_name, body, made)
    except NoSpace as error:
        raise ApiError(500, f"write {server.store.shown_path('')}: {error}") from error
    for line in lines:
        yield line


def _made(
    server: OllamaServer,
    name: Name,
    base_name: Name | None,
    body: Mapping[str, Any],
    made: Weights | None,
) -> list[Line]:
    if base_name is None:
        config = {"remote_host": body["remote_host"], "remote_model": body.get("from", "")}
        return _write(server, name, config, [])
    base = find(server, base_name)
    if base is None:
        raise ApiError(500, f"model '{base_name.short}' not found")
    return _derive(server, name, base, body, made)


def _base_name(body: Mapping[str, Any]) -> Name:
    if body.get("files"):
        raise ApiError(501, "the simulated server makes models from other models only")
    if not body.get("from"):
        raise ApiError(400, "neither 'from' or 'files' was specified")
    return valid_name(body["from"])


async def _pull(server: OllamaServer, name: Name) -> AsyncGenerator[Line]:
    try:
        async for line in pull(server, name, insecure=False):
            yield line
    except PullError as error:
        raise ApiError(500, str(error)) from error


def _derive(
    server: OllamaServer,
    name: Name,
    base: Installed,
    body: Mapping[str, Any],
    made: Weights | None,
) -> list[Line]:
    given = {kind: body[kind] for kind in _TEXTS if body.get(kind)}
    replaced = set(given) | ({"params"} if base.manifest.layer("params") else set())
    replaced |= {"model"} if made else set()
    kept = [
        replace(layer, origin=base.name.short)
        for layer in base.manifest.layers
        if layer.kind not in replaced
    ]
    lines: list[Line] = []
    layers = [_put_made(server, made, lines)] if made else []
    lines += [_layer_line(layer, is_new=False) for layer in kept]
    layers += kept
    for kind, text in given.items():
        layers.append(_put(server, kind, str(text), lines))
    parameters = model_parameters(server, base) | body.get("parameters", {})
    if parameters:
        layers.append(_put(server, "params", go_json(parameters), lines))
    config = json.loads(server.read_layer(base.manifest.config))
    return lines + _write(server, name, config | (made.config() if made else {}), layers)


def _quantized(
    server: OllamaServer, base_name: Name | None, body: Mapping[str, Any]
) -> Weights | None:
    """Return the file that a request lets be made; None where it asks for none."""
    base = find(server, base_name) if base_name else None
    if not body.get("quantize") or base is None:
        return None
    wanted = str(body["quantize"]).upper()
    supported = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
    weights = server.weights_of(base)
    if weights and weights.quant not in {"F16", "BF16", "F32"}:
        raise ApiError(500, "quantization is only supported for F16, BF16 and F32 models")
    if wanted not in supported:
        text = (
            f"unsupported quantization type {wanted} - supported types are {', '.join(supported)}"
        )
        raise ApiError(500, text)
    if weights and weights.quant == wanted:
        return None
    made = next((each for each in server.weights.values() if _is(each, weights, wanted)), None)
    if made is None:
        raise ApiError(501, f"the simulated server knows no {wanted} of this model")
    return made


def _is(made: Weights, of: Weights | None, quant: str) -> bool:
    return of is not None and (made.model, made.quant) == (of.model, quant)


def _put_made(server: OllamaServer, made: Weights, lines: list[Line]) -> Layer:
    is_new = server.store.blob_size(made.digest) is None
    if is_new:
        server.store.put_virtual(made.digest, made.size_bytes)
    layer = Layer(media_type=f"{LAYER_TYPE}model", digest=made.digest, size_bytes=made.size_bytes)
    lines.append(_layer_line(layer, is_new=is_new))
    return layer


def _write(
    server: OllamaServer, name: Name, config: Mapping[str, Any], layers: list[Layer]
) -> list[Line]:
    """Write config and manifest; the layers of a model of that name go when nothing needs them."""
    data = json.dumps(config, separators=(",", ":")).encode()
    digest = server.store.put_blob(data)
    spelled = server.store.spelled(name)
    old = find(server, spelled)
    entry = Layer(media_type="config", digest=digest, size_bytes=len(data))
    server.store.write(spelled, write_manifest(entry, layers))
    if old and not server.environment.no_prune:
        server.store.drop_unused(layer.digest for layer in old.manifest.all_layers)
    return [{"status": "writing manifest"}, {"status": "success"}]


def _put(server: OllamaServer, kind: str, text: str, lines: list[Line]) -> Layer:
    data = text.encode()
    digest = f"sha256:{sha256(data).hexdigest()}"
    is_new = server.store.blob_size(digest) is None
    server.store.put_blob(data)
    layer = Layer(media_type=LAYER_TYPE + kind, digest=digest, size_bytes=len(data))
    lines.append(_layer_line(layer, is_new=is_new))
    return layer


def _layer_line(layer: Layer, *, is_new: bool) -> Line:
    return {"status": f"{'creating new' if is_new else 'using existing'} layer {layer.digest}"}
