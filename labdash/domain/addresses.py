"""Addresses of Ollama servers: what is one, and which two are the same server."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from labdash.domain.errors import LabDashError
from labdash.hosts import is_loopback
from labdash.models import Instance, Node
from workers import wire

EXAMPLE = "Write it like http://192.168.1.20:11434."
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_NAME = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What ends so is read as an IPv4 address by everybody, and may be one in a way of its own.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_url(text: str) -> str:
    """Return the root of an Ollama server: scheme, host and port, and nothing after them."""
    url = text.strip().rstrip("/")
    # urlsplit() drops line breaks without a word.
    if not url.isprintable():
        raise LabDashError(f"{url[:80]!r} is no address. {EXAMPLE}")
    try:
        parts = urlsplit(url)
        _require_root(parts, url)
        return _root(parts)
    except ValueError as error:
        raise LabDashError(f"{url[:80]} is no address. {EXAMPLE}") from error


def require_distinct(*, node: Node, urls: Iterable[str], others: Iterable[Instance]) -> None:
    """Raise ``LabDashError`` where one server would be listed twice, at ``node`` or at others."""
    known = {_server(other.node, other.url): str(other) for other in others}
    for url in urls:
        server = _server(node, url)
        if server in known:
            raise LabDashError(f"{url} is listed already, as {known[server]}.")
        known[server] = url


def _require_root(parts: SplitResult, url: str) -> None:
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise LabDashError(f"{url[:80]} is no http or https address. {EXAMPLE}")
    if "@" in parts.netloc:
        raise LabDashError(f"Leave out the user name and password. {EXAMPLE}")
    if parts.path or "?" in url or "#" in url:
        raise LabDashError(f"Leave out what follows the host and port. {EXAMPLE}")


def _root(parts: SplitResult) -> str:
    """Write an address anew; raises ``ValueError`` for a host or a port that can be none."""
    host, port = _host(parts.hostname or ""), parts.port
    if port == 0:
        raise ValueError("port 0")
    return f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}"


def _host(text: str) -> str:
    if ":" in text:
        address = ipaddress.IPv6Address(text)
        if address.scope_id is not None:
            raise ValueError("an interface, which no other machine knows")
        return f"[{address}]"
    name = text.encode("idna").decode()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(ipaddress.IPv4Address(name))
    if len(name) > MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("no name of a host")
    # A label that only looks encoded ends whoever decodes it.
    name.encode().decode("idna")
    return name


def _server(node: Node, url: str) -> tuple[str, int]:
    """Tell servers apart: loopback is another place on each machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return (_machine(node) if is_loopback(host) else host), port


def _machine(node: Node) -> str:
    """Name the machine whose worker asks: nodes that start with the hub run on it."""
    return wire.HUB_NODE if node.agentless or node.started_with else f"{node.slug}:"
