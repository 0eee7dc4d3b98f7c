"""The control API: read the simulated hardware, and make things happen to it."""

from aiohttp import web

from workers.simlab import asked
from workers.simlab.asked import LAB
from workers.simlab.lab import Lab, start_hosted
from workers.simlab.registry import FAULTS


def control_app(lab: Lab) -> web.Application:
    """Build the application that controls ``lab``. It is meant for the loopback address only."""
    app = web.Application()
    app[LAB] = lab
    app.router.add_get("/lab", _lab)
    app.router.add_get("/machines/{slug}/hardware", _hardware)
    gpu = r"/machines/{slug}/gpus/{index:\d+}"
    app.router.add_post(f"{gpu}/desktop", _desktop)
    app.router.add_post(f"{gpu}/game", _game)
    app.router.add_post(f"{gpu}/lose", _lose)
    app.router.add_post(f"{gpu}/restore", _restore)
    app.router.add_post("/machines/{slug}/disk", _disk)
    app.router.add_post(r"/machines/{slug}/ollama/{index:\d+}/stop", _stop)
    app.router.add_post(r"/machines/{slug}/ollama/{index:\d+}/start", _start)
    app.router.add_get("/registry", _registry)
    app.router.add_post("/registry/faults", _fault)
    app.router.add_post("/registry/speed", _speed)
    return app


async def _lab(request: web.Request) -> web.Response:
    host = f"{request.scheme}://{request.host}"
    return web.json_response(request.app[LAB].describe(host))


async def _hardware(request: web.Request) -> web.Response:
    place = asked.place(request)
    reading = place.machine.reading()
    return web.json_response(
        {
            "driver": reading.driver.model_dump(mode="json"),
            "gpus": [gpu.model_dump(mode="json") for gpu in reading.gpus],
            "host": reading.host.model_dump(mode="json"),
            "disk": reading.disk.model_dump(mode="json") if reading.disk else None,
            "settings": {
                str(hosted.port): dict(environment)
                for hosted, environment in zip(place.servers, place.plan.environments, strict=True)
            },
            "stores": {
                str(hosted.port): str(hosted.server.store.folder.resolve())
                for hosted in place.servers
            },
        }
    )


async def _desktop(request: web.Request) -> web.Response:
    size = await asked.whole_number(request, "bytes")
    gpu = asked.gpu(request)
    if size > gpu.free_bytes + gpu.desktop_bytes:
        raise asked.bad(
            f"the GPU has only {gpu.free_bytes + gpu.desktop_bytes} bytes for a desktop"
        )
    gpu.desktop_bytes = size
    return web.json_response({})


async def _game(request: web.Request) -> web.Response:
    """Let a game take as much of what it wants as is free, and the rest as it becomes so."""
    gpu = asked.gpu(request)
    gpu.play(await asked.whole_number(request, "bytes"))
    return web.json_response({"bytes": gpu.game.size_bytes})


async def _lose(request: web.Request) -> web.Response:
    asked.place(request).machine.lose(asked.gpu(request).index)
    return web.json_response({})


async def _restore(request: web.Request) -> web.Response:
    asked.place(request).machine.restore(asked.gpu(request).index)
    return web.json_response({})


async def _disk(request: web.Request) -> web.Response:
    machine = asked.place(request).machine
    size = await asked.whole_number(request, "free_bytes")
    if size > machine.disk_bytes:
        raise asked.bad(f"the disk has {machine.disk_bytes} bytes in all")
    machine.disk_free_bytes = size
    return web.json_response({})


async def _stop(request: web.Request) -> web.Response:
    await asked.hosted(request).stop()
    return web.json_response({})


async def _start(request: web.Request) -> web.Response:
    await start_hosted(asked.hosted(request))
    return web.json_response({})


async def _registry(request: web.Request) -> web.Response:
    return web.json_response({"given_bytes": request.app[LAB].registry.given_bytes})


async def _fault(request: web.Request) -> web.Response:
    body = await asked.body(request)
    model, fault = body.get("model"), body.get("fault")
    fault = None if fault == "null" else fault
    if not isinstance(model, str) or request.app[LAB].registry.key(model) not in _names(request):
        raise asked.bad(f"the registry does not offer {model}")
    if fault not in (None, *FAULTS):
        raise asked.bad(f"fault is null or one of {', '.join(FAULTS)}")
    request.app[LAB].registry.order(model, fault)
    return web.json_response({})


async def _speed(request: web.Request) -> web.Response:
    # 0 is no limit, as on the command line.
    request.app[LAB].registry.bytes_per_s = await asked.whole_number(request, "bytes_per_s") or None
    return web.json_response({})


def _names(request: web.Request) -> set[str]:
    return set(request.app[LAB].registry.manifests)
