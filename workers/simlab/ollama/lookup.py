"""What every handler begins with: reading the body, finding the model."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from workers.simlab.ollama.body import BodyError, read_body
from workers.simlab.ollama.gotime import DurationError, keep_alive_ns
from workers.simlab.ollama.http import ApiError
from workers.simlab.ollama.manifest import BrokenManifestError, Installed
from workers.simlab.ollama.names import Name, SourceClashError, parse
from workers.simlab.ollama.server import OllamaServer
from workers.simlab.ollama.show import is_cloud

_SIGN_IN_URL = "https://ollama.com/connect?name=simlab&key=c2ltbGFi"


async def read(request: web.Request, kind: str) -> dict[str, Any]:
    """Read the body as the Go type ``api.<kind>``."""
    try:
        body = read_body(await request.read(), kind)
        keep_alive_ns(body.get("keep_alive"))
    except (BodyError, DurationError) as error:
        raise ApiError(400, str(error)) from error
    return body


def required(body: Mapping[str, Any]) -> str:
    """Give the model's name as it was sent, in either of its two fields."""
    return str(body.get("model") or body.get("name") or "")


def valid_name(text: str, problem: str = "invalid model name") -> Name:
    """Read a name or refuse it with status 400."""
    try:
        name = parse(text)
    except SourceClashError as error:
        raise ApiError(400, str(error)) from error
    if not name.is_valid:
        raise ApiError(400, problem)
    return name


def find(server: OllamaServer, name: Name) -> Installed | None:
    """Look a name up; a broken manifest is an error of the server."""
    try:
        return server.store.find(name)
    except BrokenManifestError as error:
        raise ApiError(500, str(error)) from error


def resolve(server: OllamaServer, text: str, *, missing: str | None) -> Installed:
    """Find a model to run. ``missing``: the text for one that is not there, ``{}`` its name."""
    missing = missing or "model '{}' not found"
    if not text:
        raise ApiError(404, missing.format(text))
    model = find(server, valid_name(text))
    if model is None:
        raise ApiError(404, missing.format(text))
    if is_cloud(server, model):
        if server.environment.no_cloud:
            raise ApiError(403, "ollama cloud is disabled: remote model is unavailable")
        raise ApiError(401, "unauthorized", signin_url=_SIGN_IN_URL)
    return model
