"""What is published under names, asked of their registries politely and kept for a while."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import httpx
from django.core.cache import cache

from labdash.planner.errors import PlannerError
from labdash.queries.registries import may_be_asked, ollama_registry
from labdash.sources.ranges import NotPublishedError, Service, UnreachableError
from labdash.sources.registry import HEADERS, Manifest, address_of, read_manifest

KEPT_S = 3600
GONE_KEPT_S = 600
# A registry that gave no answer is left alone for so long.
DEAD_KEPT_S = 60
TIMEOUT = httpx.Timeout(5, connect=3)
DEADLINE_S = 6.0
AT_ONCE = 4
# More names than a family has quants.
MOST_NAMES = 24

type State = Literal["there", "gone", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a registry said of a name. ``manifest`` where it has one, ``reason`` where unknown."""

    state: State
    manifest: Manifest | None = None
    reason: str = ""

    @property
    def bytes(self) -> int | None:
        """Tell what all files of the name take together."""
        return self.manifest.bytes if self.manifest else None


def remembered(names: Iterable[str]) -> dict[str, Published]:
    """Return what was said of names lately, without asking."""
    keys = {_key(name): name for name in names}
    return {keys[key]: each for key, each in cache.get_many(keys).items()}


def look_up(names: Iterable[str]) -> dict[str, Published]:
    """Ask for the names of which nothing is remembered, a few at once.

    A registry that is down is asked once; all its names are then unknown, with its reason.
    """
    wanted = list(dict.fromkeys(filter(can_be_asked, names)))[:MOST_NAMES]
    found = remembered(wanted)
    ollama = ollama_registry()
    missing = [name for name in wanted if name not in found]
    if missing:
        with (
            httpx.Client(headers=HEADERS) as client,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            asked = pool.map(lambda name: _ask(name, client, ollama), missing)
            found.update(zip(missing, asked, strict=True))
    return found


def can_be_asked(name: str) -> bool:
    """Tell whether a name has a registry that this hub may ask."""
    service = _service(name, ollama_registry())
    return service is not None and may_be_asked(service.name)


def dead_reason(names: Iterable[str]) -> str:
    """Say why the registry of any of the names was given up a moment ago, nothing if none was."""
    return next(iter(cache.get_many(_dead_keys(names)).values()), "")


def forget_dead(names: Iterable[str]) -> None:
    """Let the registries of names be asked again at once."""
    cache.delete_many(_dead_keys(names))


def _dead_keys(names: Iterable[str]) -> set[str]:
    services = {_service(name, ollama_registry()) for name in names}
    return {_dead_key(service) for service in services if service}


def _ask(name: str, client: httpx.Client, ollama: Service) -> Published:
    service = _service(name, ollama)
    if service is None:
        return Published(state="unknown", reason=f"{name[:60]} is no name that can be published")
    if reason := cache.get(_dead_key(service)):
        return Published(state="unknown", reason=str(reason))
    try:
        manifest = read_manifest(
            name, client=client, ollama=ollama, timeout=TIMEOUT, deadline_s=DEADLINE_S
        )
    except NotPublishedError as error:
        return _keep(name, Published(state="gone", reason=str(error)), GONE_KEPT_S)
    except UnreachableError as error:
        cache.set(_dead_key(service), str(error), DEAD_KEPT_S)
        return Published(state="unknown", reason=str(error))
    except PlannerError as error:
        return _keep(name, Published(state="unknown", reason=str(error)), GONE_KEPT_S)
    return _keep(name, Published(state="there", manifest=manifest), KEPT_S)


def _keep(name: str, found: Published, seconds: int) -> Published:
    cache.set(_key(name), found, seconds)
    return found


def _service(name: str, ollama: Service) -> Service | None:
    try:
        return address_of(name, ollama=ollama).service
    except PlannerError:
        return None


def _key(name: str) -> str:
    return f"manifest:{sha256(name.lower().encode()).hexdigest()}"


def _dead_key(service: Service) -> str:
    return f"dead:{service.name}"
