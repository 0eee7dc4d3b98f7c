"""The HTTP side of the fake registry."""

import asyncio
import re
import socket
import struct
from contextlib import suppress
from hashlib import sha256

from aiohttp import web

from workers.simlab.registry import (
    FAULT_HEADER,
    MANIFEST_TYPE,
    NEWER_VERSION_TEXT,
    VIRTUAL_HEADER,
    Blob,
    Registry,
)
from workers.simlab.releases import requires_of

REGISTRY = web.AppKey("registry", Registry)

# Lingering for no time at all turns the end of a connection into a reset.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_AGENT = re.compile(r"ollama/(\d+)\.(\d+)\.(\d+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_MANIFEST_FAULTS = {
    "manifest-404": (404, "manifest unknown"),
    "manifest-500": (500, "internal error"),
    "manifest-412": (412, NEWER_VERSION_TEXT),
    "manifest-401": (401, "unauthorized"),
    "manifest-bad-json": (200, "<html>not json</html>"),
}
_HEAD_FAULTS = {"blob-404": 404, "blob-500": 500}


def registry_app(registry: Registry) -> web.Application:
    """Build the application that serves ``registry``."""
    app = web.Application()
    app[REGISTRY] = registry
    blob = r"/v2/{repository:[^/]+/[^/]+}/{kind:blobs|direct}/{digest}"
    app.router.add_route("HEAD", blob, _head)
    app.router.add_get(blob, _get, allow_head=False)
    app.router.add_get(r"/v2/{repository:[^/]+/[^/]+}/manifests/{tag}", _manifest)
    return app


async def _manifest(request: web.Request) -> web.Response:
    registry, repository, tag = _begin(request), _repository(request), request.match_info["tag"]
    fault = registry.fault_of(repository, tag)
    if fault in _MANIFEST_FAULTS:
        status, text = _MANIFEST_FAULTS[fault]
        return web.Response(status=status, text=text)
    body = registry.manifests.get(f"{repository}:{tag}")
    if body is None:
        return web.Response(status=404, text="manifest unknown")
    if _is_too_old(request.headers.get("User-Agent", ""), requires_of(registry, body)):
        return web.Response(status=412, text=NEWER_VERSION_TEXT)
    headers = {"ollama-content-digest": sha256(body).hexdigest(), "Content-Type": MANIFEST_TYPE}
    if fault == "never-success":
        headers[FAULT_HEADER] = fault
    return web.Response(body=body, headers=headers)


async def _head(request: web.Request) -> web.Response:
    registry, repository = _begin(request), _repository(request)
    await asyncio.sleep(registry.head_delay_s)
    blob = registry.blobs.get(request.match_info["digest"])
    status = _HEAD_FAULTS.get(registry.fault_of(repository), 200 if blob else 404)
    if blob is None or status != 200:  # noqa: PLR2004 - the plain success
        return web.Response(status=status)
    headers = {"Content-Length": str(blob.size_bytes)} | _mark(blob)
    return web.Response(headers=headers)


async def _get(request: web.Request) -> web.StreamResponse:
    registry, repository = _begin(request), _repository(request)
    blob = registry.blobs.get(request.match_info["digest"])
    if blob is None:
        return web.Response(status=404)
    if "Range" not in request.headers:
        return _direct(request, registry.fault_of(repository), blob)
    return await _part(request, registry, blob)


def _direct(request: web.Request, fault: str, blob: Blob) -> web.Response:
    """Answer the GET by which Ollama looks for the direct address; it reads no body."""
    here = {"Location": request.path} | _mark(blob)
    elsewhere = {"Location": f"http://localhost:{request.url.port}{request.path}"}
    match fault:
        case "blob-get-404":
            return web.Response(status=404)
        case "blob-302":
            return web.Response(status=302, headers=elsewhere)
        case "blob-307":
            return web.Response(status=307, headers=elsewhere)
        case "no-location":
            return web.Response(headers=_mark(blob))
    return web.Response(body=blob.data, headers=here)


async def _part(request: web.Request, registry: Registry, blob: Blob) -> web.StreamResponse:
    if registry.fault_of(_repository(request)) == "range-500":
        return web.Response(status=500)
    start, end = _range(request.headers["Range"], blob.size_bytes)
    if blob.data is None and VIRTUAL_HEADER not in request.headers:
        return web.Response(status=501, text="this blob is virtual: its bytes exist as a number")
    response = web.StreamResponse(status=206, headers=_mark(blob))
    response.headers["Content-Range"] = f"bytes {start}-{end}/{blob.size_bytes}"
    await response.prepare(request)
    # A client that leaves in the middle is nothing special: pulls are cancelled that way.
    with suppress(ConnectionResetError):
        await _send(request, registry, blob, (start, end), response)
    return response


async def _send(
    request: web.Request,
    registry: Registry,
    blob: Blob,
    span: tuple[int, int],
    response: web.StreamResponse,
) -> None:
    repository = _repository(request)
    # The small layers of a model always arrive whole.
    fault = registry.fault_of(repository) if blob.media_type.endswith(".model") else ""
    start, end = span
    stop = start + (end + 1 - start) // 3 if fault.startswith(("cut", "reset", "stall")) else None
    at = start
    async for granted in registry.grants((end + 1 if stop is None else stop) - start):
        await response.write(_piece(blob, at, granted, corrupt=fault == "corrupt"))
        at += granted
    if stop is not None:
        await _break_off(request, registry, fault)
    await response.write_eof()


async def _break_off(request: web.Request, registry: Registry, fault: str) -> None:
    registry.struck(_repository(request), fault)
    if fault.startswith("stall"):
        # Longer than any client's patience; the end of the connection cancels it.
        await asyncio.sleep(3600)
    if request.transport is None:
        return
    if fault.startswith("reset"):
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    request.transport.abort()


def _piece(blob: Blob, at: int, size: int, *, corrupt: bool) -> bytes:
    if blob.data is None:
        return f"{size}{' corrupt' if corrupt else ''}\n".encode()
    data = blob.data[at : at + size]
    return bytes(byte ^ 0xFF for byte in data) if corrupt else data


def _is_too_old(agent: str, requires: str) -> bool:
    """Tell by its name whether an Ollama asks for what it cannot run; others may read it."""
    asks, needs = _AGENT.match(agent), _NUMBERS.match(requires)
    if not asks or not needs:
        return False
    return [int(part) for part in asks.groups()] < [int(part) for part in needs.groups()]


def _begin(request: web.Request) -> Registry:
    registry = request.app[REGISTRY]
    span = request.headers.get("Range", "")
    registry.note(f"{request.method} {request.path} {span}".strip())
    return registry


def _repository(request: web.Request) -> str:
    return request.match_info["repository"]


def _mark(blob: Blob) -> dict[str, str]:
    return {} if blob.data is not None else {VIRTUAL_HEADER: "1"}


def _range(text: str, size_bytes: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if not match:
        raise web.HTTPRequestRangeNotSatisfiable
    start, end = int(match[1]), int(match[2] or size_bytes - 1)
    if start >= size_bytes:
        raise web.HTTPRequestRangeNotSatisfiable
    return start, min(end, size_bytes - 1)
