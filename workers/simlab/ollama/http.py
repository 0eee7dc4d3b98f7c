"""The outside of the server: routes as Go's gin answers them, Host and Origin checks, errors."""

import ipaddress
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from workers.simlab.ollama.settings import Environment

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json; charset=utf-8"
_PLAIN, _HTML = "text/plain", "text/html; charset=utf-8"
_NEAR_ORIGINS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - names, nothing binds
_APP_SCHEMES = ("app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")
_CORS_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,"
    "X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_CORS_METHODS = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"


class ApiError(Exception):
    """Ends a request with a status and ``{"error": …}``, with ``more`` beside it."""

    def __init__(self, status: int, text: str, **more: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.more = more


def reply(body: object, *, status: int = 200, content_type: str = JSON) -> web.Response:
    """Answer with one JSON value."""
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(body=data, status=status, headers={"Content-Type": content_type})


def failure(error: ApiError, *, content_type: str = JSON) -> web.Response:
    """Answer with an error."""
    return reply({"error": error.text} | error.more, status=error.status, content_type=content_type)


def empty(status: int = 200) -> web.Response:
    """Answer with nothing."""
    return web.Response(status=status)


async def stream(
    request: web.Request, lines: AsyncGenerator[dict[str, Any]], *, wanted: bool
) -> web.StreamResponse:
    """Send lines as they come, or only the last one.

    An error before the first line has a status of its own; after it, it is one more line.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    last: dict[str, Any] = {}
    try:
        async with aclosing(lines) as each:
            async for last in each:
                if wanted:
                    await _line(request, response, last)
    except ApiError as error:
        if not response.prepared:
            return failure(error, content_type="application/json")
        await _line(request, response, {"error": error.text})
    if not wanted:
        return reply(last, content_type="application/json")
    await response.write_eof()
    return response


async def _line(request: web.Request, response: web.StreamResponse, line: dict[str, Any]) -> None:
    if not response.prepared:
        await response.prepare(request)
    await response.write(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    )


class Front:
    """Finds the handler of a request. ``routes``: path pattern → method → handler.

    A pattern's last part may be ``*``. The order of methods is that of the ``Allow`` header.
    """

    def __init__(
        self, routes: Mapping[str, Mapping[str, Handler]], environment: Environment
    ) -> None:
        self._routes = routes
        self._environment = environment

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        methods = self._methods(request.path)
        origin = request.headers.get("Origin")
        checked = self._check(request, origin, methods)
        response = checked or await self._route(request, methods)
        if origin and response.status != web.HTTPForbidden.status_code and not response.prepared:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers.setdefault("Vary", "Origin")
        return response

    def _check(
        self, request: web.Request, origin: str | None, methods: Mapping[str, Handler]
    ) -> web.Response | None:
        """Refuse what comes from elsewhere, and answer a browser's question in advance."""
        if origin is not None and not self._origin_ok(origin, request.host):
            allow = {"Allow": ", ".join(methods)} if request.method == "OPTIONS" else None
            return web.Response(status=403, headers=allow)
        if origin is not None and request.method == "OPTIONS":
            return _preflight(methods)
        if not self._host_ok(request.host):
            return web.Response(status=403)
        return None

    async def _route(
        self, request: web.Request, methods: Mapping[str, Handler]
    ) -> web.StreamResponse:
        if not methods:
            return self._lost(request)
        handler = methods.get(request.method)
        if handler is None:
            allow = {"Allow": ", ".join(methods), "Content-Type": _PLAIN}
            return web.Response(status=405, body=b"405 method not allowed", headers=allow)
        try:
            return await handler(request)
        except ApiError as error:
            return failure(error)

    def _methods(self, path: str) -> Mapping[str, Handler]:
        stem = path.rpartition("/")[0]
        found = self._routes.get(path)
        return found if found is not None else self._routes.get(f"{stem}/*", {})

    def _lost(self, request: web.Request) -> web.Response:
        clean = f"/{'/'.join(part for part in request.path.split('/') if part)}"
        if clean != request.path and self._methods(clean):
            slash_only = request.path == f"{clean}/" and request.method == "GET"
            status, text = (301, "Moved Permanently") if slash_only else (307, "Temporary Redirect")
            body = f'<a href="{clean}">{text}</a>.\n\n'.encode()
            headers = {"Location": clean, "Content-Type": _HTML}
            return web.Response(status=status, body=body, headers=headers)
        headers = {"Content-Type": _PLAIN}
        return web.Response(status=404, body=b"404 page not found", headers=headers)

    def _host_ok(self, host: str) -> bool:
        if not _is_loopback(self._environment.host):
            return True
        name, is_split = _split_host(host)
        if name.lower() in {"", "localhost", socket.gethostname().lower()}:
            return True
        if name.lower().endswith((".localhost", ".local", ".internal")):
            return True
        return (is_split or ":" not in name) and _is_near(name)

    def _origin_ok(self, origin: str, host: str) -> bool:
        if origin in {f"http://{host}", f"https://{host}", *self._environment.origins}:
            return True
        if origin.startswith(_APP_SCHEMES) or "*" in self._environment.origins:
            return True
        scheme, _, rest = origin.partition("://")
        return scheme in {"http", "https"} and rest.partition(":")[0] in _NEAR_ORIGINS


def _preflight(methods: Mapping[str, Handler]) -> web.Response:
    asked = "Access-Control-Request-Method, Access-Control-Request-Headers"
    headers = {
        "Access-Control-Allow-Headers": _CORS_HEADERS,
        "Access-Control-Allow-Methods": _CORS_METHODS,
        "Access-Control-Max-Age": "43200",
        "Allow": ", ".join(methods),
        "Vary": f"Origin, {asked}",
    }
    return web.Response(status=204, headers=headers)


def _split_host(host: str) -> tuple[str, bool]:
    """Cut a port off as Go does: ``[::1]`` without one stays as it is, and is no address."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return name.strip("[]"), True
    return host, False


def _is_near(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    private = address.is_private and not address.is_link_local
    return address.is_loopback or address.is_unspecified or private


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
