"""One instance of a node under watch: its state and its inventory, each in a thread of its own."""

import time
from collections.abc import Callable

from workers.engines.instance import InstanceReader, InventoryReader
from workers.engines.ollama import Ollama
from workers.engines.place import Place
from workers.probe import Probe
from workers.shelf import StoreFiles
from workers.wire import DiskReading, InstanceReading, InstanceSpec, Inventory

INVENTORY_EVERY_S = 15.0
# Longer than the time-outs of one reading together: an older one hangs.
STALE_S = 30.0


class InstanceWatch:
    """Reads one instance when asked; ``tell`` gets its inventory whenever there is news."""

    def __init__(
        self, node: str, spec: InstanceSpec, *, place: Place, tell: Callable[[Inventory], None]
    ) -> None:
        self.spec = spec
        self.engine = Ollama(spec.url)
        self.place = place
        self._tell = tell
        self._inventory = InventoryReader(node, spec, self.engine, place)
        name = f"{node}-{spec.name}"
        self._reader = InstanceReader(spec, self.engine, place)
        self._status = Probe(name, self._reader.read)
        self._news = Probe(f"{name}-inventory", self._tell_news)
        self._asked_at = float("-inf")

    def ask(self) -> None:
        """Want a new reading."""
        self._status.ask()

    def read(self, *, wait_s: float = 0.0) -> InstanceReading:
        """Return the reading asked for, or after ``wait_s`` the newest; hanging is a time-out."""
        newest = self._status.newest(wait_s=wait_s)
        if newest is None or newest.age_s > STALE_S:
            reason = "no answer so far"
            return InstanceReading(
                name=self.spec.name,
                url=self.spec.url,
                state="timeout",
                reason=reason,
                disk=self._reader.disk,
            )
        if newest.value.state == "ok":
            self._ask_for_news()
        return newest.value

    @property
    def server_pid(self) -> int | None:
        """The server's process on this machine, as last seen."""
        return self._reader.server_pid

    def disk(self) -> DiskReading | None:
        """Measure the disk under the model store now."""
        return self.place.disk(self.engine.store())

    def files(self) -> StoreFiles | None:
        """Return what reads the model store, where it lies on this machine and is known."""
        return self.place.files(self.engine.store())

    def refresh(self) -> None:
        """Tell the whole inventory now."""
        self._inventory.force()
        self._news.ask()

    def stop(self) -> None:
        """End the threads after what they are about."""
        self._status.stop()
        self._news.stop()

    def _ask_for_news(self) -> None:
        if time.monotonic() - self._asked_at >= INVENTORY_EVERY_S:
            self._asked_at = time.monotonic()
            self._news.ask()

    def _tell_news(self) -> None:
        if inventory := self._inventory.read():
            self._tell(inventory)
