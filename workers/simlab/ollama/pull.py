"""``/api/pull``: the stream of a pull, and what it leaves in the store."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from workers.simlab.ollama.download import DownloadError
from workers.simlab.ollama.manifest import BrokenManifestError, Layer, Manifest, read_manifest
from workers.simlab.ollama.names import Name
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.upstream import Source, UpstreamError

Line = dict[str, Any]


class PullError(Exception):
    """The pull has failed; the message is its last line."""


async def pull(server: OllamaServer, name: Name, *, insecure: bool) -> AsyncIterator[Line]:
    """Pull a model and give the lines of the stream. Raises PullError."""
    # Whatever is there already says how a name is spelled, to the registry too.
    name = server.store.spelled(name)
    yield {"status": "pulling manifest"}
    source, manifest, fault = await _manifest(server, name, insecure=insecure)
    fresh: list[Layer] = []
    for layer in manifest.all_layers:
        async for line in _layer(server, source, layer, fresh):
            yield line
    # From here on the pull runs to its end even if the client leaves.
    lines: asyncio.Queue[Line | PullError | None] = asyncio.Queue()
    server.spawn(_finish(server, name, manifest, fresh, lines))
    while line_or_end := await lines.get():
        if isinstance(line_or_end, PullError):
            raise line_or_end
        if fault != "never-success" or line_or_end != {"status": "success"}:
            yield line_or_end


async def _manifest(
    server: OllamaServer, name: Name, *, insecure: bool
) -> tuple[Source, Manifest, str]:
    try:
        source, body, fault = await server.upstream.manifest(name, insecure=insecure)
        return source, read_manifest(body), fault
    except (UpstreamError, BrokenManifestError) as error:
        raise PullError(f"pull model manifest: {error}") from error


async def _layer(
    server: OllamaServer, source: Source, layer: Layer, fresh: list[Layer]
) -> AsyncIterator[Line]:
    size = server.store.blob_size(layer.digest)
    if size is not None:
        yield {
            "status": f"pulling {layer.digest[7:19]}",
            "digest": layer.digest,
            "total": size,
            "completed": size,
        }
        return
    try:
        async for line in server.downloads.fetch(source, layer.digest):
            yield line
    except DownloadError as error:
        raise PullError(str(error)) from error
    fresh.append(layer)


async def _finish(
    server: OllamaServer,
    name: Name,
    manifest: Manifest,
    fresh: list[Layer],
    lines: asyncio.Queue[Line | PullError | None],
) -> None:
    try:
        lines.put_nowait({"status": "verifying sha256 digest"})
        for layer in fresh:
            await _verify(server, layer)
        lines.put_nowait({"status": "writing manifest"})
        orphans = _write(server, name, manifest)
        if orphans and not server.environment.no_prune:
            lines.put_nowait({"status": "removing unused layers"})
            server.store.drop_unused(orphans)
        lines.put_nowait({"status": "success"})
        lines.put_nowait(None)
    except PullError as error:
        lines.put_nowait(error)


async def _verify(server: OllamaServer, layer: Layer) -> None:
    """Hash one new layer, which takes its time and says nothing. Raises PullError."""
    size = server.store.blob_size(layer.digest) or 0
    await asyncio.sleep(size / server.pace.verify_bytes_per_s)
    came = server.downloads.corrupt.pop(layer.digest, None)
    if came is None:
        return
    if server.store.blob_size(layer.digest) is not None:
        server.store.drop_blob(layer.digest)
    raise PullError(
        f"digest mismatch, file must be downloaded again: want {layer.digest}, got {came}"
    )


def _write(server: OllamaServer, name: Name, manifest: Manifest) -> set[str]:
    """Bind the name to its new manifest; give the digests that only the old one had."""
    old = server.store.find(name)
    server.store.write(name, manifest)
    if not old:
        return set()
    kept = {layer.digest for layer in manifest.all_layers}
    return {layer.digest for layer in old.manifest.all_layers} - kept
