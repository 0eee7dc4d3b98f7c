"""What befalls the simulated servers and their registry, as it was seen on real ones."""

import re

from aiohttp import web

from workers.simlab import asked
from workers.simlab.asked import LAB
from workers.simlab.lab import start_hosted
from workers.simlab.releases import NotPublishedError

_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){2}(-[a-z0-9]{1,20})?")


def add_fault_routes(app: web.Application) -> None:
    """Let the control API that ``app`` is break servers."""
    server = r"/machines/{slug}/ollama/{index:\d+}"
    app.router.add_get(r"/machines/{slug}/runners/{port:\d+}", _runners)
    app.router.add_post("/machines/{slug}/end-orphans", _end_orphans)
    app.router.add_post(f"{server}/kill", _kill)
    app.router.add_post(f"{server}/spoil", _spoil)
    app.router.add_post(f"{server}/replace", _replace)
    app.router.add_post(f"{server}/kill-runner", _kill_runner)
    app.router.add_post(f"{server}/damage", _damage)
    app.router.add_post(f"{server}/rot", _rot)
    app.router.add_post("/registry/head-delay", _head_delay)
    app.router.add_post("/registry/{wish:stop|start}", _registry)
    app.router.add_post("/registry/publish", _publish)


async def _runners(request: web.Request) -> web.Response:
    """Tell what the process list of the machine would tell of a server's children."""
    port = int(request.match_info["port"])
    servers = [each for each in asked.place(request).servers if each.port == port]
    alive = [digest for each in servers for digest in each.server.scheduler.alive]
    return web.json_response({"blobs": [digest.removeprefix("sha256:") for digest in alive]})


async def _end_orphans(request: web.Request) -> web.Response:
    asked.place(request).machine.end_orphans()
    return web.json_response({})


async def _kill(request: web.Request) -> web.Response:
    """End a server as SIGKILL does; its runners live on, and how far pulls were is forgotten."""
    await asked.hosted(request).stop(kill=True, leave_runners=True)
    return web.json_response({})


async def _spoil(request: web.Request) -> web.Response:
    """Stop a server in the moment in which it leaves an empty part of each pull under way."""
    await asked.hosted(request).stop(spoil=True)
    return web.json_response({})


async def _replace(request: web.Request) -> web.Response:
    """Start a server anew as another version, with all others of its machine."""
    version = await asked.words(request, "version")
    if not _VERSION.fullmatch(version):
        raise asked.bad("a version is three numbers with dots between, such as 0.32.15")
    hosted = asked.hosted(request)
    await hosted.stop()
    hosted.server.version = hosted.server.machine.version = version
    await start_hosted(hosted)
    return web.json_response({})


async def _kill_runner(request: web.Request) -> web.Response:
    """End the process of a loaded model; its server goes on listing it."""
    scheduler = asked.hosted(request).server.scheduler
    digest = await _blob(request)
    if digest not in scheduler.alive:
        raise asked.bad("no process of this model runs")
    scheduler.kill(digest)
    return web.json_response({})


async def _damage(request: web.Request) -> web.Response:
    """Cut the weights of a model off, so that it counts as present and cannot be loaded."""
    asked.hosted(request).server.store.damage(await _blob(request))
    return web.json_response({})


async def _rot(request: web.Request) -> web.Response:
    """Change a byte of the weights of a model, which only who reads all of them notices."""
    asked.hosted(request).server.store.rot(await _blob(request))
    return web.json_response({})


async def _blob(request: web.Request) -> str:
    """Return the digest of the weights of the model that is named."""
    model, server = await asked.words(request, "model"), asked.hosted(request).server
    found = [each for each in server.store.installed() if each.name.short == model]
    weights = server.weights_of(found[0]) if found else None
    if weights is None:
        raise asked.bad(f"{model} is not installed there")
    return weights.digest


async def _head_delay(request: web.Request) -> web.Response:
    """Let the registry take its time to tell the size of a blob."""
    request.app[LAB].registry.head_delay_s = await asked.whole_number(request, "seconds")
    return web.json_response({})


async def _registry(request: web.Request) -> web.Response:
    lab = request.app[LAB]
    await (lab.stop_registry() if request.match_info["wish"] == "stop" else lab.start_registry())
    return web.json_response({})


async def _publish(request: web.Request) -> web.Response:
    name, change = await asked.words(request, "model"), await asked.words(request, "change")
    try:
        request.app[LAB].release(name, change)
    except NotPublishedError as error:
        raise asked.bad(str(error)) from error
    return web.json_response({})
