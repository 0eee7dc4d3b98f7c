"""The hub's cache of models: what is in it, and what it saved."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from pydantic import ValidationError

from labdash import live
from labdash.models import PullSettings
from workers.wire.caching import PLAIN_PORT, CachedModel, CacheState, state_key

# What is being deleted has this in the name of its folder.
GONE = "-gone-"


@dataclass(frozen=True, kw_only=True)
class CacheRow:
    """A model in the cache. ``fraction`` is how much of it is there."""

    model: CachedModel
    used_at: datetime | None
    fraction: float


@dataclass(frozen=True, kw_only=True)
class CacheView:
    """The cache. ``state`` is ``None`` where it does not run.

    ``left_bytes`` lie there while it is off. ``is_away``: the store does not answer.
    """

    is_on: bool
    limit_bytes: int
    keep_free_bytes: int
    state: CacheState | None = None
    is_away: bool = False
    left_bytes: int = 0
    rows: tuple[CacheRow, ...] = ()
    since: datetime | None = None

    @property
    def port_error(self) -> str:
        """Say why its own port is not open."""
        return port_error(self.state)

    @property
    def plain_error(self) -> str:
        """Say why Windows machines cannot use it."""
        return self.state.errors.get(str(PLAIN_PORT), "") if self.state else ""


def read_cache() -> CacheView:
    """Return how the cache stands."""
    wanted = PullSettings.read()
    try:
        state, is_away = (read_state() if wanted.cache else None), False
    except live.StoreDown:
        state, is_away = None, True
    return CacheView(
        is_on=wanted.cache,
        limit_bytes=wanted.cache_limit_bytes,
        keep_free_bytes=wanted.keep_free_bytes,
        state=state,
        is_away=is_away,
        left_bytes=0 if wanted.cache else sum(map(_size_of, [cache_folder(), *left_folders()])),
        rows=tuple(_rows(state.models)) if state else (),
        since=datetime.fromtimestamp(state.since, UTC) if state else None,
    )


def read_state() -> CacheState | None:
    """Return what the cache told last; ``None`` where it does not run. ``live.StoreDown``."""
    with live.store_errors():
        text = live.store().get(state_key())
    try:
        return CacheState.model_validate_json(str(text)) if text else None
    except ValidationError:
        return None


def port_error(state: CacheState | None) -> str:
    """Say why the cache's own port is not open; nothing where it is."""
    errors = state.errors if state else {}
    return next((f"port {port}: {why}" for port, why in errors.items() if not _is_plain(port)), "")


def cached_as(model: str) -> str:
    """Return the name by which the cache tells of a model: Hugging Face has two."""
    path = model.removeprefix("huggingface.co/")
    return model if path == model else f"hf.co/{path}"


def cache_folder() -> Path:
    """Return where the files of the cache lie."""
    return Path(settings.DATA_DIR) / "cache"


def left_folders() -> list[Path]:
    """Return what is left of folders that were being deleted."""
    folder = cache_folder()
    return sorted(folder.parent.glob(f"{folder.name}{GONE}*"))


def _rows(models: Iterable[CachedModel]) -> Iterable[CacheRow]:
    for each in models:
        used_at = datetime.fromtimestamp(each.used_at, UTC) if each.used_at else None
        fraction = each.here_bytes / each.total_bytes if each.total_bytes else 0.0
        yield CacheRow(model=each, used_at=used_at, fraction=fraction)


def _is_plain(port: str) -> bool:
    return port == str(PLAIN_PORT)


def _size_of(folder: Path) -> int:
    """Return what files take on disk; what goes away meanwhile counts for nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(place) / name).stat()
            except OSError:
                continue
            # What is on its way has its whole size and takes only what has come.
            total += found.st_size if Path(place).name == "blobs" else found.st_blocks * 512
    return total
