"""What a request to the control API means: which machine, which server, which words."""

from typing import Any

from aiohttp import web

from workers.simlab.hardware import Gpu
from workers.simlab.lab import Lab, Place
from workers.simlab.ollama.host import Hosted

LAB = web.AppKey("lab", Lab)


def place(request: web.Request) -> Place:
    """Return the machine that is meant; there may be none, which is answered with 404."""
    slug = request.match_info["slug"]
    found = request.app[LAB].places.get(slug)
    if found is None:
        raise web.HTTPNotFound(text=f"there is no machine {slug}\n")
    return found


def gpu(request: web.Request) -> Gpu:
    """Return the GPU that is meant."""
    return _at(place(request).machine.gpus, request, "GPU")


def hosted(request: web.Request) -> Hosted:
    """Return the server that is meant."""
    return _at(place(request).servers, request, "Ollama server")


def _at[T](things: list[T], request: web.Request, what: str) -> T:
    index = int(request.match_info["index"])
    if index >= len(things):
        slug = request.match_info["slug"]
        raise web.HTTPNotFound(text=f"{slug} has no {what} {index}, it has {len(things)}\n")
    return things[index]


async def body(request: web.Request) -> dict[str, Any]:
    """Return the object that was sent."""
    try:
        sent = await request.json()
    except ValueError as error:
        raise bad(f"the body is not JSON: {error}") from error
    if not isinstance(sent, dict):
        raise bad("the body is not an object")
    return sent


async def whole_number(request: web.Request, key: str) -> int:
    """Return a number of the object that was sent."""
    value = (await body(request)).get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad(f'"{key}" has to be a whole number, not negative')
    return value


async def words(request: web.Request, key: str, *, most: int = 1000) -> str:
    """Return a text of the object that was sent; it may not be empty."""
    value = (await body(request)).get(key)
    if not isinstance(value, str) or not value.strip():
        raise bad(f'"{key}" has to be a text')
    return value.strip()[:most]


def bad(text: str) -> web.HTTPBadRequest:
    """Make the answer to a request that makes no sense."""
    return web.HTTPBadRequest(text=f"{text}\n")
