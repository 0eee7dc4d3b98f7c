"""Orders to delete what downloads left unfinished."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from workers.engines.watch import InstanceWatch
from workers.store import Store, StoreDown
from workers.telemetry import Telemetry
from workers.wire import ClearOrder, ClearProgress
from workers.wire.shelf import ClearPhase

_UNREADABLE = "The files of this server are not to be seen from here, so none was deleted."
_BUSY = "A pull runs on this server: pause or cancel it first."

log = logging.getLogger(__name__)


class Clearings:
    """Carries them out. ``is_pulling`` tells of an address whether this worker pulls there."""

    def __init__(
        self, *, telemetry: Telemetry, store: Store, is_pulling: Callable[[str], bool]
    ) -> None:
        self._telemetry, self._store, self._is_pulling = telemetry, store, is_pulling

    def carry_out(self, order: ClearOrder) -> None:
        """Delete what nobody is at, and tell the hub."""
        end = self._end_of(order)
        self._store.send(end)
        log.info("clearing ended job=%d phase=%s", order.job_id, end.phase)

    def _end_of(self, order: ClearOrder) -> ClearProgress:
        try:
            if self._store.is_name_cancelled(order.job_id):
                return _progress(order, "cancelled", meaning="Cancelled before it began.")
        except StoreDown:
            log.info("cancel flag unknown job=%d", order.job_id)
        node = self._telemetry.find(order.node)
        watch = node.find(order.instance_url) if node else None
        if watch is None:
            text = f"This node has no Ollama server at {order.instance_url}."
            return _progress(order, "failed", meaning=text)
        if self._is_pulling(watch.spec.url):
            return _progress(order, "failed", meaning=_BUSY)
        return _clear(order, watch)


def _clear(order: ClearOrder, watch: InstanceWatch) -> ClearProgress:
    files = watch.files()
    if files is None:
        return _progress(order, "failed", meaning=_UNREADABLE)
    try:
        freed_bytes, kept = files.clear_partials()
    except PermissionError as error:
        text = f"The worker may not delete files in {files.folder}."
        return _progress(order, "failed", reason=str(error), meaning=text)
    except OSError as error:
        text = f"Not all could be deleted in {files.folder}."
        return _progress(order, "failed", reason=str(error), meaning=text)
    finally:
        watch.refresh()
    left = f"{kept} left: a download was at it within the last minute." if kept else None
    return _progress(order, "done", freed_bytes=freed_bytes, meaning=left)


def _progress(order: ClearOrder, phase: ClearPhase, **told: Any) -> ClearProgress:
    now = datetime.now(UTC)
    return ClearProgress(node=order.node, sent_at=now, job_id=order.job_id, phase=phase, **told)
