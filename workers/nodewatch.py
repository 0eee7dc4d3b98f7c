"""One node under watch: a sample every 5 s, every 1 s while somebody looks."""

import logging
import secrets
import threading
import time
from datetime import UTC, datetime

from workers.address import check_address
from workers.config import DEFAULT_OLLAMA_URL, WORKER_VERSION
from workers.engines.names import listed_name
from workers.engines.place import choose_place
from workers.engines.watch import STALE_S, InstanceWatch
from workers.gpus.base import HardwareReading, HardwareSource
from workers.gpus.choose import choose_source
from workers.gpus.processes import BlobNames
from workers.probe import Probe
from workers.store import Store, StoreDown
from workers.wire import (
    DriverReading,
    GpuReading,
    HostReading,
    InstanceReading,
    InstanceSpec,
    Inventory,
    NodeSpec,
    Sample,
)

SAMPLE_EVERY_S = 5.0
SAMPLE_EVERY_WATCHED_S = 1.0
# So that the hub can tell a worker that was started anew from two of them.
WORKER_ID = secrets.token_hex(8)
# So often the store is asked who watches.
TICK_S = 1.0
# A sample goes out without what takes longer; the next one has it.
WAIT_S = 0.5
# The first sample waits longer: a card that was only not read yet would look like a broken driver.
FIRST_WAIT_S = 5.0

log = logging.getLogger(__name__)


class NodeWatch:
    """Samples one node's hardware and instances in threads of its own until it is stopped."""

    def __init__(self, spec: NodeSpec, *, store: Store, simulated_url: str | None) -> None:
        self.spec = spec
        self._store = store
        self._names = BlobNames()
        self._source = choose_source(spec, simulated_url=simulated_url, names=self._names)
        self._simulation: HardwareSource | None = self._source if simulated_url else None
        self._hardware = Probe(f"{spec.slug}-hardware", self._source.read)
        self._instances: dict[str, InstanceWatch] = {}
        self._unwatched: tuple[InstanceReading, ...] = ()
        self._was_read = False
        self._sampled_at = float("-inf")
        self._stopped = threading.Event()
        self.update(spec)
        self._thread = threading.Thread(target=self._run, name=f"node-{spec.slug}", daemon=True)
        self._thread.start()

    def update(self, spec: NodeSpec) -> None:
        """Serve the instances of ``spec`` from now on; those that did not change go on."""
        self.spec = spec
        old, new = self._instances, dict[str, InstanceWatch]()
        unwatched = []
        for instance in spec.instances:
            try:
                new[instance.name] = _same(old.get(instance.name), instance) or self._watch(
                    instance
                )
            except Exception:  # whatever is wrong with one, the others are watched
                log.exception("instance not watched node=%s url=%r", spec.slug, instance.url)
                unwatched.append(_unusable(instance))
        self._instances, self._unwatched = new, tuple(unwatched)
        for watch in old.values():
            if watch not in new.values():
                watch.stop()

    def find(self, url: str) -> InstanceWatch | None:
        """Return the instance with this address."""
        watches = self._instances.values()
        return next((watch for watch in watches if watch.spec.url == url.rstrip("/")), None)

    @property
    def instance_names(self) -> frozenset[str]:
        """The names of the instances under watch."""
        return frozenset(self._instances)

    def gpus(self, *, wait_s: float) -> tuple[GpuReading, ...]:
        """Return the GPUs as they are now, or after ``wait_s`` as they were last."""
        self._hardware.ask()
        return self._read_hardware(wait_s=wait_s).gpus

    def same_weights(self, instance: str, model: str) -> frozenset[str]:
        """Return the names on an instance that stand for the same weights, this one included."""
        listed = listed_name(model)
        return self._names.sharing(instance, listed) | {listed}

    def note_name(self, instance: str, model: str, *, like: str) -> None:
        """Take in a new name for the weights of another before the next inventory tells of it."""
        self._names.add_name(instance, listed_name(model), like=listed_name(like))

    def refresh(self) -> None:
        """Tell the inventory of all instances now."""
        for watch in self._instances.values():
            watch.refresh()

    def stop(self) -> None:
        """End the node's threads after what they are about."""
        self._stopped.set()
        self._hardware.stop()
        for watch in self._instances.values():
            watch.stop()

    def _watch(self, instance: InstanceSpec) -> InstanceWatch:
        check_address(instance.url)
        place = choose_place(
            instance.url,
            is_agentless=self.spec.declared is not None,
            simulation=self._simulation,
        )
        return InstanceWatch(self.spec.slug, instance, place=place, tell=self._tell)

    def _tell(self, inventory: Inventory) -> None:
        digests = {model.name: model.blob_digest for model in inventory.models if model.blob_digest}
        self._names.set_installed(inventory.instance, digests)
        self._store.send(inventory)

    def _run(self) -> None:
        while not self._stopped.wait(_to_next_tick_s()):
            try:
                self._tick()
            except Exception:  # a fault of ours in one cycle must not end all later ones
                log.exception("no sample node=%s", self.spec.slug)

    def _tick(self) -> None:
        # A tick may come a little early; waiting for the next one would halve the rate.
        if time.monotonic() - self._sampled_at >= self._interval_s() - TICK_S / 10:
            self._sampled_at = time.monotonic()
            self._store.send(self._sample())

    def _interval_s(self) -> float:
        try:
            is_watched = self._store.is_watched(self.spec.slug)
        except StoreDown:
            is_watched = False
        return SAMPLE_EVERY_WATCHED_S if is_watched else SAMPLE_EVERY_S

    def _sample(self) -> Sample:
        deadline = time.monotonic() + WAIT_S
        watches = list(self._instances.values())
        self._hardware.ask()
        for watch in watches:
            watch.ask()
        hardware = self._read_hardware(wait_s=WAIT_S if self._was_read else FIRST_WAIT_S)
        instances = [watch.read(wait_s=max(0, deadline - time.monotonic())) for watch in watches]
        self._note_loaded(instances)
        for watch in watches:
            self._names.set_server(watch.spec.name, watch.server_pid)
        return Sample(
            node=self.spec.slug,
            sent_at=datetime.now(UTC),
            worker_version=WORKER_VERSION,
            worker_id=WORKER_ID,
            driver=hardware.driver,
            gpus=hardware.gpus,
            host=hardware.host,
            instances=(*instances, *self._unwatched),
        )

    def _note_loaded(self, instances: list[InstanceReading]) -> None:
        for instance in instances:
            self._names.set_loaded(instance.name, (model.name for model in instance.loaded or ()))

    def _read_hardware(self, *, wait_s: float) -> HardwareReading:
        newest = self._hardware.newest(wait_s=wait_s)
        if newest is None:
            return _silent(())
        self._was_read = True
        return newest.value if newest.age_s <= STALE_S else _silent(newest.value.gpus)


def _same(watch: InstanceWatch | None, spec: InstanceSpec) -> InstanceWatch | None:
    return watch if watch is not None and watch.spec == spec else None


def _unusable(spec: InstanceSpec) -> InstanceReading:
    reason = f"this address cannot be used; write one like {DEFAULT_OLLAMA_URL}"
    return InstanceReading(name=spec.name, url=spec.url, state="error", reason=reason)


def _to_next_tick_s() -> float:
    return TICK_S - time.monotonic() % TICK_S


def _silent(gpus: tuple[GpuReading, ...]) -> HardwareReading:
    """Say that the driver hangs: a call into it has not come back."""
    reason = "the GPU driver does not answer"
    return HardwareReading(
        driver=DriverReading(state="error", reason=reason),
        gpus=tuple(
            GpuReading(
                uuid=gpu.uuid,
                index=gpu.index,
                name=gpu.name,
                pci_id=gpu.pci_id,
                source=gpu.source,
                memory_total_bytes=gpu.memory_total_bytes,
                state="error",
                reason=reason,
            )
            for gpu in gpus
        ),
        host=HostReading(),
    )
