"""What a node worker is told by its environment, read and checked once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import redis
from pydantic import TypeAdapter, ValidationError

from workers.address import check_address
from workers.wire import HUB_NODE, InstanceSpec, InstanceUrl, NodeSpec
from workers.wire.sharing import MIRROR_PORT

# Sent with every sample, so that the hub can tell which node is behind.
WORKER_VERSION = "0.1.0"

MOST_PORT = 65535

# Where Ollama listens unless OLLAMA_HOST says otherwise.
DEFAULT_OLLAMA_URL = "http://127.0.0.1:11434"

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_URL: TypeAdapter[str] = TypeAdapter(InstanceUrl)
_DATABASE = re.compile(r"/?|/[0-9]{1,6}")


class BadConfig(Exception):  # noqa: N818 - it is said to the user, not caught by kind
    """A setting that cannot be used; the text is one line that says what to write."""


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Which node this worker serves, where the store is, and what the hub need not tell it.

    ``instances`` hold until the hub has written a ``NodeSpec``. ``simulated_url`` replaces this
    machine's hardware by a simulated one's. ``simulated_servers`` are the Ollama servers of the
    demo, the only ones that it looks for; ``None`` outside of the demo. ``mirror_port`` is where
    neighbours get models, 0 for any; a simulated machine serves only its own machine.
    """

    slug: str
    store_url: str
    instances: tuple[InstanceSpec, ...] = ()
    simulated_url: str | None = None
    simulated_servers: tuple[tuple[str, int], ...] | None = None
    mirror_port: int = MIRROR_PORT

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, node: str | None = None) -> Self:
        """Read and check all settings; ``node`` wins over LABDASH_NODE. Raises ``BadConfig``."""
        slug = _slug(node or environ.get("LABDASH_NODE", ""))
        simulated_url = _simulated_url(environ.get("LABDASH_HARDWARE", "auto"))
        return cls(
            slug=slug,
            store_url=_store_url(_from_env_or_file(environ, "REDIS_URL")),
            instances=() if slug == HUB_NODE else _instances(environ),
            simulated_url=simulated_url,
            simulated_servers=_simulated_servers(environ),
            # Of many simulated machines on this one, each takes the port that is free.
            mirror_port=_port(environ, usual=0 if simulated_url else MIRROR_PORT),
        )

    @property
    def serves_agentless(self) -> bool:
        """Whether this is the worker on the hub that serves all agentless nodes."""
        return self.slug == HUB_NODE

    @property
    def mirror_host(self) -> str | None:
        """Where neighbours are served: ``None`` for every address of this machine."""
        return "127.0.0.1" if self.simulated_url else None

    @property
    def own_spec(self) -> NodeSpec:
        """The node as the environment describes it, for as long as the hub has said nothing."""
        return NodeSpec(slug=self.slug, instances=self.instances)

    @property
    def broker_url(self) -> str:
        """The store's address in Celery's words."""
        return broker_url(self.store_url)


def broker_url(store_url: str) -> str:
    """Turn redis-py's ``unix:///path?db=0`` into kombu's form; other addresses are the same."""
    parts = urlsplit(store_url)
    if parts.scheme != "unix":
        return store_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


def _from_env_or_file(environ: Mapping[str, str], name: str) -> str:
    path = environ.get(f"{name}_FILE")
    if environ.get(name) or not path:
        return environ.get(name, "")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise BadConfig(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadConfig(f"{name}_FILE: {path!r} is no file of text") from error


def _slug(text: str) -> str:
    if text == HUB_NODE or _SLUG.fullmatch(text):
        return text
    wanted = f"write small letters, digits and '-' (at most 50), or {HUB_NODE}"
    raise BadConfig(f"--node or LABDASH_NODE: {text!r}: {wanted}")


def _store_url(text: str) -> str:
    try:
        _check_store_url(text)
    # TypeError: redis-py hands an option that it does not know to a connection.
    except (ValueError, TypeError) as error:
        wanted = "write redis://host:port/0, rediss://… or unix:///path.sock?db=0"
        raise BadConfig(f"REDIS_URL: {wanted}") from error
    return text


def _check_store_url(text: str) -> None:
    parts = urlsplit(text)
    # Each client reads the address in its own way, and tells what is wrong only when it connects.
    redis.Redis.from_url(text).connection_pool.make_connection()
    if not text.isprintable() or (parts.scheme == "unix" and not parts.path.strip("/")):
        raise ValueError("no socket")
    if parts.scheme != "unix":
        check_address(text)
        if not _DATABASE.fullmatch(parts.path):
            raise ValueError("no number of a database")


def _port(environ: Mapping[str, str], *, usual: int) -> int:
    text = environ.get("LABDASH_MIRROR_PORT", "").strip()
    if not text:
        return usual
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) <= MOST_PORT:
        return int(text)
    raise BadConfig(f"LABDASH_MIRROR_PORT: {_shown(text)}: write a number from 1 to {MOST_PORT}")


def _instances(environ: Mapping[str, str]) -> tuple[InstanceSpec, ...]:
    text = environ.get("LABDASH_OLLAMA_URLS") or DEFAULT_OLLAMA_URL
    urls = [_http_url("LABDASH_OLLAMA_URLS", part) for part in text.split(",") if part.strip()]
    names = ["ollama", *(f"ollama-{number}" for number in range(2, len(urls) + 1))]
    return tuple(InstanceSpec(name=name, url=url) for name, url in zip(names, urls, strict=False))


def _simulated_servers(environ: Mapping[str, str]) -> tuple[tuple[str, int], ...] | None:
    if environ.get("LABDASH_DEMO", "no").lower() in {"", "0", "no", "false"}:
        return None
    if not environ.get("LABDASH_OLLAMA_URLS"):
        return ()
    parts = [urlsplit(spec.url) for spec in _instances(environ)]
    return tuple((str(each.hostname), each.port or 80) for each in parts)


def _http_url(name: str, text: str) -> str:
    url = text.strip().rstrip("/")
    try:
        _URL.validate_python(url)
        check_address(url)
    except (ValidationError, ValueError) as error:
        raise BadConfig(
            f"{name}: {_shown(text.strip())}: write an address like {DEFAULT_OLLAMA_URL}"
        ) from error
    return url


def _shown(text: str) -> str:
    """Quote a value; one that may hold a password is not told."""
    return "…" if "@" in text else repr(text)


def _simulated_url(text: str) -> str | None:
    kind, _, url = text.partition(":")
    if text == "auto":
        return None
    if kind == "simulated" and re.fullmatch(r"https?://[^\s@?#]+", url):
        return url
    raise BadConfig(
        f"LABDASH_HARDWARE: {_shown(text)}: write auto or simulated:http://host:port/path"
    )
