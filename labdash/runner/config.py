"""The settings that the runner needs, checked before anything is started."""

import ipaddress
import os
import re
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

from labdash.env import (
    ROOT,
    BadSetting,
    check_store_url,
    data_dir,
    database_from_url,
    env_list,
    env_networks,
    env_port,
    env_str,
    env_web_url,
    given_secret_key,
    own_store_url,
    shown,
    split_address,
    store_socket,
    time_zone,
    zone_at,
)
from labdash.runner.ollama_host import DEFAULT_URL, url_from_ollama_host
from labdash.runner.options import Options

# Read by the processes that are started, here only checked and handed on.
SETTINGS = (
    "DATABASE_URL",
    "LABDASH_ALLOWED_HOSTS",
    "LABDASH_PROXIES",
    "LABDASH_REGISTRY_URL",
    "LABDASH_SECRET_KEY",
    "REDIS_URL",
    "TZ",
)
# Only the hub's own processes get these; a node worker has no use for them.
HUB_SECRETS = ("DATABASE_URL", "LABDASH_SECRET_KEY")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
URL = re.compile(r"https?://[^\s/@?#]+")
# As long as an address of an Ollama may be between hub and nodes.
URL_MAX = 300
# As in workers.wire.caching.
CACHE_PORT = 11481
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
# Any name, a name and what ends with it, or the name with the root's dot.
HOST_PATTERN = re.compile(rf"\*|\.?{_LABEL}(\.{_LABEL})*\.?")


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
    cache_port: int = CACHE_PORT
    mirror_port: int | None = None

    def environment(self, *, hub: bool = True) -> dict[str, str]:
        """Return the environment of a process that is started."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            # The library of Ollama reads OLLAMA_HOST when it is imported, and ends at a wrong one.
            if not name.startswith(("LABDASH_", "PYTHON", "OLLAMA_HOST"))
            and name.removesuffix("_FILE") not in SETTINGS
        }
        own = {
            **self.values,
            "LABDASH_DATA_DIR": str(self.data_dir),
            "LABDASH_DEMO": "yes" if self.options.demo else "no",
            "REDIS_URL": self.redis_url,
            "LABDASH_HOST": self.options.host or "",
            "LABDASH_TLS_PORT": str(self.options.https_port),
            "LABDASH_STORE_PORT": str(self.options.node_port),
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
    if options.host and not is_address(options.host):
        # The name that was listened on is printed, so it must be answered to.
        allowed = values.get("LABDASH_ALLOWED_HOSTS")
        values["LABDASH_ALLOWED_HOSTS"] = ",".join(filter(None, (allowed, options.host)))
    values["TZ"] = time_zone() or _zone_of_this_machine()
    return Config(
        options=options,
        data_dir=folder,
        redis_url=given or own_store_url(folder),
        own_socket=socket,
        ollama_urls=_ollama_urls(),
        values=values,
        cache_port=env_port("LABDASH_CACHE_PORT") or CACHE_PORT,
        mirror_port=env_port("LABDASH_MIRROR_PORT"),
    )


def _check(values: dict[str, str]) -> None:
    database_from_url(values.get("DATABASE_URL"), ROOT)
    if url := values.get("REDIS_URL"):
        check_store_url(url)
    _check_hosts("LABDASH_ALLOWED_HOSTS")
    env_networks("LABDASH_PROXIES")
    env_web_url("LABDASH_REGISTRY_URL")
    given_secret_key()


def _check_hosts(name: str) -> None:
    for host in env_list(name):
        if not (HOST_PATTERN.fullmatch(host) or is_address(host.strip("[]"))):
            raise BadSetting(
                f"{name}: '{shown(host, within=env_str(name) or '')}' is not a host name: "
                "write names without http:// and port, separated by commas"
            )


def is_address(text: str) -> bool:
    """Tell whether this is an address of the Internet Protocol."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _zone_of_this_machine() -> str:
    """Return the zone that /etc/localtime points to, or UTC where it cannot be told."""
    try:
        return zoneinfo.ZoneInfo(zone_at("/etc/localtime")).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def _ollama_urls() -> tuple[str, ...]:
    """Return where the Ollama servers of this machine listen."""
    name = "LABDASH_OLLAMA_URLS"
    if urls := tuple(url.rstrip("/") for url in env_list(name)):
        for url in urls:
            if not _can_be_asked(url):
                part = shown(url, within=env_str(name) or "")
                raise BadSetting(f"{name}: '{part}': write http://host:port, without a password")
        return urls
    given = env_str("OLLAMA_HOST")
    url = url_from_ollama_host(given) if given else DEFAULT_URL
    if not _can_be_asked(url):
        raise BadSetting(f"OLLAMA_HOST={shown(given or '')}: write host:port or http://host:port")
    return (url,)


def _can_be_asked(url: str) -> bool:
    try:
        return len(url) <= URL_MAX and bool(URL.fullmatch(url) and split_address(url).hostname)
    except ValueError:
        return False


def local_slug(folder: Path, hostname: str) -> str:
    """Return the local node's name: LABDASH_NODE, or the one that the first start wrote down.

    It is written down so that the node stays the same when the machine gets another name.
    """
    path = folder / "local-node"
    slug = env_str("LABDASH_NODE") or (path.read_text().strip() if path.is_file() else None)
    slug = slug or slug_from(hostname)
    if not SLUG.fullmatch(slug):
        raise BadSetting(
            f"LABDASH_NODE={shown(slug)}: write small letters, digits and hyphens, at most 50"
        )
    if not path.is_file() or path.read_text().strip() != slug:
        path.write_text(f"{slug}\n")
    return slug


def slug_from(hostname: str) -> str:
    """Make a node's name from a machine's."""
    slug = re.sub(r"[^a-z0-9]+", "-", hostname.partition(".")[0].lower()).strip("-")[:50]
    return slug if slug and slug != "localhost" else "hub"
