"""Logs and remains of the simulated servers, and loads that fail to order."""

from aiohttp import web

from workers.simlab import asked
from workers.simlab.ollama.server import OllamaServer


def add_log_routes(app: web.Application) -> None:
    """Let the control API that ``app`` is tell logs, clear remains, and order faults of loads."""
    app.router.add_get(r"/machines/{slug}/logs/{port:\d+}", _log)
    app.router.add_delete(r"/machines/{slug}/partials/{port:\d+}", _clear)
    app.router.add_post(r"/machines/{slug}/ollama/{index:\d+}/fail-load", _fail)


async def _log(request: web.Request) -> web.Response:
    return web.Response(text="\n".join(_server(request).log))


async def _clear(request: web.Request) -> web.Response:
    """Delete unfinished downloads as a worker would that may write to the store."""
    freed, kept = _server(request).store.clear_partials()
    return web.json_response({"freed_bytes": freed, "kept": kept})


def _server(request: web.Request) -> OllamaServer:
    port = int(request.match_info["port"])
    servers = asked.place(request).servers
    server = next((each.server for each in servers if each.port == port), None)
    if server is None:
        raise web.HTTPNotFound(text=f"no server of it listens on {port}\n")
    return server


async def _fail(request: web.Request) -> web.Response:
    """Let the next load fail with a text."""
    text = await asked.words(request, "text")
    asked.hosted(request).server.load_faults.append(text)
    return web.json_response({})
