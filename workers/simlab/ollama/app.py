"""The HTTP API of the fake server: every route, and the answers that only read."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from aiohttp import web

from workers.simlab.ollama import embed, manage, run
from workers.simlab.ollama.http import ApiError, Front, Handler, reply, stream
from workers.simlab.ollama.lookup import find, read, required, valid_name
from workers.simlab.ollama.manifest import Installed
from workers.simlab.ollama.pull import PullError, pull
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.show import is_cloud, show, tag_entry

type ServerHandler = Callable[[OllamaServer, web.Request], Awaitable[web.StreamResponse]]

# A cut of 1.5 MB would refuse the blobs that clients post.
_MAX_BODY_BYTES = 64 * 2**20


def ollama_app(server: OllamaServer) -> web.Application:
    """Build the application of one server."""
    front = Front(_routes(server), server.environment)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", front.handle)
    app.on_response_prepare.append(_drop_server_header)
    return app


async def _drop_server_header(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


def _routes(server: OllamaServer) -> dict[str, dict[str, Handler]]:
    def bound(handler: ServerHandler) -> Handler:
        async def call(request: web.Request) -> web.StreamResponse:
            return await handler(server, request)

        return call

    def both(handler: ServerHandler) -> dict[str, Handler]:
        return {"HEAD": bound(handler), "GET": bound(handler)}

    routes = {
        "/": both(_root),
        "/api/version": both(_version),
        "/api/tags": both(_tags),
        "/api/ps": {"GET": bound(_ps)},
        "/api/show": {"POST": bound(_show)},
        "/api/pull": {"POST": bound(_pull)},
        "/api/create": {"POST": bound(manage.create)},
        "/api/copy": {"POST": bound(manage.copy)},
        "/api/delete": {"DELETE": bound(manage.delete)},
        "/api/blobs/*": {"HEAD": bound(manage.blob_head), "POST": bound(manage.blob_post)},
        "/api/generate": {"POST": bound(run.generate)},
        "/api/chat": {"POST": bound(run.chat)},
        "/api/embed": {"POST": bound(embed.embed)},
        "/api/embeddings": {"POST": bound(embed.embeddings)},
        "/v1/models": {"GET": bound(_openai_models)},
        "/v1/models/*": {"GET": bound(_openai_model)},
    }
    if server.at_least("0.16.2"):
        routes["/api/status"] = {"GET": bound(_status)}
    return routes


async def _root(_server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    return web.Response(text="Ollama is running")


async def _version(server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    return reply({"version": server.version})


async def _status(server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    disabled = server.environment.no_cloud
    return reply({"cloud": {"disabled": disabled, "source": "env" if disabled else "none"}})


async def _tags(server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    return reply({"models": [tag_entry(server, model) for model in server.store.installed()]})


async def _ps(server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(server.quirks.ps_delay_s)
    return reply({"models": server.scheduler.ps()})


async def _show(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    body = await read(request, "ShowRequest")
    if not required(body):
        raise ApiError(400, "model is required")
    name = valid_name(required(body))
    model = find(server, name)
    if model is None or not _has_weights(server, model):
        raise ApiError(404, f"model '{name.short}' not found")
    if is_cloud(server, model) and server.environment.no_cloud:
        raise ApiError(403, "ollama cloud is disabled: remote model details are unavailable")
    return reply(show(server, model, body))


async def _pull(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    body = await read(request, "PullRequest")
    name = valid_name(required(body))

    async def lines() -> AsyncGenerator[dict[str, Any]]:
        try:
            async for line in pull(server, name, insecure=body.get("insecure", False)):
                yield line
        except PullError as error:
            raise ApiError(500, str(error)) from error

    return await stream(request, lines(), wanted=body.get("stream", True))


async def _openai_models(server: OllamaServer, _request: web.Request) -> web.StreamResponse:
    entries = [_openai_entry(model) for model in server.store.installed()]
    body = {"object": "list", "data": entries or None}
    return reply(body, content_type="application/json")


async def _openai_model(server: OllamaServer, request: web.Request) -> web.StreamResponse:
    name = valid_name(request.path.rpartition("/")[2])
    model = find(server, name)
    if model:
        return reply(_openai_entry(model), content_type="application/json")
    error = {"message": f"model '{name.short}' not found", "type": "not_found_error"}
    body = {"error": error | {"param": None, "code": None}}
    return reply(body, status=404, content_type="application/json")


def _openai_entry(model: Installed) -> dict[str, Any]:
    return {
        "id": model.name.short,
        "object": "model",
        "created": model.modified_ns // 10**9,
        "owned_by": model.name.namespace,
    }


def _has_weights(server: OllamaServer, model: Installed) -> bool:
    layer = model.manifest.layer("model")
    return layer is None or server.store.blob_size(layer.digest) is not None
