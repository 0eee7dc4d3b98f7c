"""The control API: read the simulated hardware, and make things happen to it."""

from typing import Any

from aiohttp import web

from workers.simlab.hardware import Gpu
from workers.simlab.lab import Lab, Place, start_hosted
from workers.simlab.ollama.host import Hosted
from workers.simlab.registry import FAULTS

LAB = web.AppKey("lab", Lab)


def control_app(lab: Lab) -> web.Application:
    """Build the application that controls ``lab``. It is meant for the loopback address only."""
    app = web.Application()
    app[LAB] = lab
    app.router.add_get("/lab", _lab)
    app.router.add_get("/machines/{slug}/hardware", _hardware)
    gpu = r"/machines/{slug}/gpus/{index:\d+}"
    app.router.add_post(f"{gpu}/desktop", _desktop)
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
    reading = _place(request).machine.reading()
    return web.json_response(
        {
            "driver": reading.driver.model_dump(mode="json"),
            "gpus": [gpu.model_dump(mode="json") for gpu in reading.gpus],
            "host": reading.host.model_dump(mode="json"),
            "disk": reading.disk.model_dump(mode="json") if reading.disk else None,
        }
    )


async def _desktop(request: web.Request) -> web.Response:
    size = await _whole_number(request, "bytes")
    gpu = _gpu(request)
    if size > gpu.free_bytes + gpu.desktop_bytes:
        raise _bad(f"the GPU has only {gpu.free_bytes + gpu.desktop_bytes} bytes for a desktop")
    gpu.desktop_bytes = size
    return web.json_response({})


async def _lose(request: web.Request) -> web.Response:
    _place(request).machine.lose(_gpu(request).index)
    return web.json_response({})


async def _restore(request: web.Request) -> web.Response:
    _place(request).machine.restore(_gpu(request).index)
    return web.json_response({})


async def _disk(request: web.Request) -> web.Response:
    machine = _place(request).machine
    size = await _whole_number(request, "free_bytes")
    if size > machine.disk_bytes:
        raise _bad(f"the disk has {machine.disk_bytes} bytes in all")
    machine.disk_free_bytes = size
    return web.json_response({})


async def _stop(request: web.Request) -> web.Response:
    await _hosted(request).stop()
    return web.json_response({})


async def _start(request: web.Request) -> web.Response:
    await start_hosted(_hosted(request))
    return web.json_response({})


async def _registry(request: web.Request) -> web.Response:
    return web.json_response({"given_bytes": request.app[LAB].registry.given_bytes})


async def _fault(request: web.Request) -> web.Response:
    body = await _body(request)
    model, fault = body.get("model"), body.get("fault")
    fault = None if fault == "null" else fault
    if not isinstance(model, str) or request.app[LAB].registry.key(model) not in _names(request):
        raise _bad(f"the registry does not offer {model}")
    if fault not in (None, *FAULTS):
        raise _bad(f"fault is null or one of {', '.join(FAULTS)}")
    request.app[LAB].registry.order(model, fault)
    return web.json_response({})


async def _speed(request: web.Request) -> web.Response:
    # 0 is no limit, as on the command line.
    request.app[LAB].registry.bytes_per_s = await _whole_number(request, "bytes_per_s") or None
    return web.json_response({})


# --- what a request means -----------------------------------------------------------------------


def _names(request: web.Request) -> set[str]:
    return set(request.app[LAB].registry.manifests)


def _place(request: web.Request) -> Place:
    slug = request.match_info["slug"]
    place = request.app[LAB].places.get(slug)
    if place is None:
        raise web.HTTPNotFound(text=f"there is no machine {slug}\n")
    return place


def _gpu(request: web.Request) -> Gpu:
    return _at(_place(request).machine.gpus, request, "GPU")


def _hosted(request: web.Request) -> Hosted:
    return _at(_place(request).servers, request, "Ollama server")


def _at[T](things: list[T], request: web.Request, what: str) -> T:
    index = int(request.match_info["index"])
    if index >= len(things):
        slug = request.match_info["slug"]
        raise web.HTTPNotFound(text=f"{slug} has no {what} {index}, it has {len(things)}\n")
    return things[index]


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _bad("the body is not an object")
    return body


async def _whole_number(request: web.Request, key: str) -> int:
    value = (await _body(request)).get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _bad(f'"{key}" has to be a whole number, not negative')
    return value


def _bad(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f"{text}\n")
