"""One instance as it is reported: its state, and its inventory when that changes."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from workers.engines.base import Engine, EngineDown
from workers.engines.place import Place
from workers.shelf import Shelf, ShelfReader
from workers.wire import (
    DiskReading,
    InstalledModel,
    InstanceReading,
    InstanceSpec,
    Inventory,
    LoadedModel,
)

# `/api/ps` may time out while an unload probes the GPUs; its last answer holds for so long.
LOADED_KEPT_S = 30.0
# An inventory that did not change is sent again, since a hub that was away may have missed it.
RESEND_S = 300.0

log = logging.getLogger(__name__)


class InstanceReader:
    """Reads one instance. One time-out alone changes nothing: a busy server is not down."""

    def __init__(self, spec: InstanceSpec, engine: Engine, place: Place) -> None:
        self._spec = spec
        self._engine = engine
        self._place = place
        self.disk: DiskReading | None = None
        self.server_pid: int | None = None
        self._last: InstanceReading | None = None
        self._timeouts = 0
        self._loaded: tuple[LoadedModel, ...] | None = None
        self._loaded_at = 0.0

    def read(self) -> InstanceReading:
        """Read version, loaded models, and what its machine tells; never raises for a server.

        ``disk`` is read first, so that it is known while a server keeps one waiting.
        """
        self.disk = None
        self.disk = self._place.disk(self._engine.store())
        try:
            version = self._engine.version()
        except EngineDown as down:
            return self._read_down(down)
        self._timeouts = 0
        self._last = self._reading(version)
        return self._last

    def _read_down(self, down: EngineDown) -> InstanceReading:
        self._timeouts = self._timeouts + 1 if down.state == "timeout" else 0
        if self._timeouts == 1 and self._last is not None and self._last.state == "ok":
            return self._last
        surroundings = self._place.look()
        self._last = InstanceReading(
            name=self._spec.name,
            url=self._spec.url,
            state=down.state,
            reason=down.reason,
            # Where a server of this machine runs is only known while it answers.
            home="remote" if surroundings.home == "remote" else None,
            installed=surroundings.installed,
            disk=self.disk,
        )
        return self._last

    def _reading(self, version: str) -> InstanceReading:
        surroundings = self._place.look()
        self.server_pid = surroundings.server_pid
        return InstanceReading(
            name=self._spec.name,
            url=self._spec.url,
            state="ok",
            version=version,
            home=surroundings.home,
            installed=surroundings.installed,
            listens=surroundings.listens,
            settings=surroundings.settings,
            loaded=self._read_loaded(),
            disk=self.disk,
        )

    def _read_loaded(self) -> tuple[LoadedModel, ...] | None:
        try:
            self._loaded = self._engine.loaded()
        except EngineDown as down:
            log.info("loaded models unknown url=%s reason=%s", self._spec.url, down.reason)
            if time.monotonic() - self._loaded_at > LOADED_KEPT_S:
                return None
        else:
            self._loaded_at = time.monotonic()
        return self._loaded


class InventoryReader:
    """Tells what is installed: at first, when told to, and when a name or its digest changed.

    With it goes what lies in the store, where that can be read; a download that was begun or
    given up is a change too.
    """

    def __init__(self, node: str, spec: InstanceSpec, engine: Engine, place: Place) -> None:
        self._node = node
        self._spec = spec
        self._engine = engine
        self._place = place
        self._shelves = ShelfReader()
        self._unfinished: frozenset[str] = frozenset()
        self._digests: frozenset[tuple[str, str]] | None = None
        self._sent_at = 0.0
        self._forced = threading.Event()

    def force(self) -> None:
        """Make the next reading tell everything, changed or not."""
        self._forced.set()

    def read(self) -> Inventory | None:
        """Return the inventory, or ``None`` when there is no need or no server to tell it."""
        try:
            return self._read()
        except EngineDown as down:
            log.info("inventory unknown url=%s reason=%s", self._spec.url, down.reason)
            return None

    def _read(self) -> Inventory | None:
        digests = self._engine.digests()
        shelf = self._read_shelf()
        unfinished = shelf.signature if shelf else frozenset()
        is_same = (digests, unfinished) == (self._digests, self._unfinished)
        is_old = time.monotonic() - self._sent_at > RESEND_S
        if is_same and not is_old and not self._forced.is_set():
            return None
        self._forced.clear()
        inventory = Inventory(
            node=self._node,
            sent_at=datetime.now(UTC),
            instance=self._spec.name,
            version=self._engine.version(),
            models=tuple(_with_layers(self._engine.installed(), shelf)),
            shelf=shelf.reading if shelf else None,
        )
        self._digests, self._unfinished = digests, unfinished
        self._sent_at = time.monotonic()
        return inventory

    def _read_shelf(self) -> Shelf | None:
        files = self._place.files(self._engine.store())
        return self._shelves.read(files) if files else None


def _with_layers(models: Iterable[InstalledModel], shelf: Shelf | None) -> Iterator[InstalledModel]:
    for model in models:
        layers = shelf.layers.get(model.digest) if shelf else None
        yield model if layers is None else model.model_copy(update={"layers": layers})
