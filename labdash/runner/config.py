"""The settings that the runner needs, checked before anything is started."""

import os
import re
import zoneinfo
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from labdash.env import (
    ROOT,
    BadSetting,
    data_dir,
    database_from_url,
    env_bool,
    env_list,
    env_str,
    store_socket,
)
from labdash.runner.ollama_host import DEFAULT_URL, url_from_ollama_host
from labdash.runner.options import Options

# Read by the processes that are started, here only checked and handed on.
SETTINGS = (
    "DATABASE_URL",
    "LABDASH_ALLOWED_HOSTS",
    "LABDASH_DEBUG",
    "LABDASH_SECRET_KEY",
    "REDIS_URL",
    "TZ",
)
# Only the hub's own processes get these; a node worker has no use for them.
HUB_SECRETS = ("DATABASE_URL", "LABDASH_SECRET_KEY")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
URL = re.compile(r"https?://[^\s/@?#]+")
HOST_PATTERN = re.compile(r"\*|\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[?[0-9a-fA-F:]+\]?")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a start needs to know.

    ``own_socket`` is None where ``redis_url`` names a store that somebody else runs.
    """

    options: Options
    data_dir: Path
    redis_url: str
    own_socket: Path | None
    ollama_urls: tuple[str, ...]
    values: dict[str, str]

    def environment(self, *, hub: bool = True) -> dict[str, str]:
        """Return the environment of a process that is started."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LABDASH_", "PYTHON"))
            and name.removesuffix("_FILE") not in SETTINGS
        }
        own = {
            **self.values,
            "LABDASH_DATA_DIR": str(self.data_dir),
            "LABDASH_DEMO": "yes" if self.options.demo else "no",
            "REDIS_URL": self.redis_url,
            "PYTHONUNBUFFERED": "1",
        }
        return inherited | {
            name: value for name, value in own.items() if hub or name not in HUB_SECRETS
        }


def read_config(options: Options) -> Config:
    """Read the environment; raises ``BadSetting`` with what to write instead."""
    folder = data_dir(demo=options.demo)
    values = {name: value for name in SETTINGS if (value := env_str(name))}
    if options.demo:
        values.pop("DATABASE_URL", None)
        values.pop("REDIS_URL", None)
    _check(values)
    given = values.get("REDIS_URL")
    socket = None if given else store_socket(folder)
    values["TZ"] = values.get("TZ") or _zone_of_this_machine()
    return Config(
        options=options,
        data_dir=folder,
        redis_url=given or f"unix://{socket}?db=0",
        own_socket=socket,
        ollama_urls=_ollama_urls(),
        values=values,
    )


def _check(values: dict[str, str]) -> None:
    database_from_url(values.get("DATABASE_URL"), ROOT)
    _check_redis_url(values.get("REDIS_URL"))
    _check_zone(values.get("TZ"))
    env_bool("LABDASH_DEBUG", default=False)
    for host in env_list("LABDASH_ALLOWED_HOSTS"):
        if not HOST_PATTERN.fullmatch(host):
            raise BadSetting(
                f"LABDASH_ALLOWED_HOSTS: {host!r} is not a host name: write names without "
                "http:// and port, separated by commas"
            )


def _check_redis_url(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in {"redis", "rediss", "unix"} or not place:
        raise BadSetting("REDIS_URL: write redis://:password@host:6379/0 or unix:///path.sock?db=0")
    try:
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise BadSetting(f"REDIS_URL: {error}") from error


def _check_zone(name: str | None) -> None:
    if name is None:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSetting(f"TZ={name}: write the name of a time zone, as Europe/Berlin") from error


def _zone_of_this_machine() -> str:
    """Return the zone that /etc/localtime points to, or UTC where it cannot be told."""
    name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def _ollama_urls() -> tuple[str, ...]:
    """Return where the Ollama servers of this machine listen."""
    urls = tuple(url.rstrip("/") for url in env_list("LABDASH_OLLAMA_URLS"))
    for url in urls:
        if not URL.fullmatch(url):
            raise BadSetting(f"LABDASH_OLLAMA_URLS: {url!r}: write http://host:port")
    if urls:
        return urls
    given = env_str("OLLAMA_HOST")
    return (url_from_ollama_host(given) if given else DEFAULT_URL,)


def local_slug(folder: Path, hostname: str) -> str:
    """Return the local node's name: LABDASH_NODE, or the one that the first start wrote down.

    It is written down so that the node stays the same when the machine gets another name.
    """
    path = folder / "local-node"
    slug = env_str("LABDASH_NODE") or (path.read_text().strip() if path.is_file() else None)
    slug = slug or slug_from(hostname)
    if not SLUG.fullmatch(slug):
        raise BadSetting(
            f"LABDASH_NODE={slug}: write small letters, digits and hyphens, at most 50"
        )
    if not path.is_file() or path.read_text().strip() != slug:
        path.write_text(f"{slug}\n")
    return slug


def slug_from(hostname: str) -> str:
    """Make a node's name from a machine's."""
    slug = re.sub(r"[^a-z0-9]+", "-", hostname.partition(".")[0].lower()).strip("-")[:50]
    return slug if slug and slug != "localhost" else "hub"
