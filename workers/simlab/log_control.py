"""Logs of the simulated servers, and loads that fail to order."""

from aiohttp import web

from workers.simlab.lab import Lab
from workers.simlab.ollama.host import Hosted

_LAB = web.AppKey("logged_lab", Lab)
# An error of Ollama is a line or two.
_MOST = 1000


def add_log_routes(app: web.Application, lab: Lab) -> None:
    """Let the control API of ``lab`` tell logs and order faults; servers are told by their port."""
    app[_LAB] = lab
    app.router.add_get(r"/machines/{slug}/logs/{port:\d+}", _log)
    app.router.add_post(r"/machines/{slug}/ollama/{index:\d+}/fail-load", _fail)


async def _log(request: web.Request) -> web.Response:
    port = int(request.match_info["port"])
    server = next((each.server for each in _hosted(request) if each.port == port), None)
    if server is None:
        raise web.HTTPNotFound(text=f"no server of it listens on {port}\n")
    return web.Response(text="\n".join(server.log))


async def _fail(request: web.Request) -> web.Response:
    """Let the next load fail with a text."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    text = str(body.get("text", "") if isinstance(body, dict) else "").strip()[:_MOST]
    servers = [each.server for each in _hosted(request)]
    index = int(request.match_info["index"])
    if index >= len(servers) or not text:
        raise web.HTTPBadRequest(text="name a server of the machine, and what it shall say\n")
    servers[index].load_faults.append(text)
    return web.json_response({})


def _hosted(request: web.Request) -> list[Hosted]:
    place = request.app[_LAB].places.get(request.match_info["slug"])
    if place is None:
        raise web.HTTPNotFound(text="there is no such machine\n")
    return place.servers
