"""NVIDIA GPUs through NVML: the driver may appear, vanish and return, and so may each card."""

import contextlib
import logging
from itertools import count as count_from
from pathlib import Path
from typing import Any, Literal

import pynvml

from workers.backoff import Backoff
from workers.gpus.nvml_metrics import (
    CardLost,
    CardNeedsReset,
    DriverGone,
    ask,
    mig_parts,
    read_figures,
    read_memory,
    read_processes,
)
from workers.gpus.pci import DEVICES
from workers.gpus.processes import BlobNames, describe
from workers.gpus.sleep import Bus, Card, Rest, asleep, is_at, may_rest
from workers.wire import DriverReading, GpuReading

# Pauses between attempts to start the library again: it costs up to a second on some machines.
RETRY_FIRST_S = 2.0
RETRY_MOST_S = 60.0

type _DriverState = Literal["missing", "not_loaded", "mismatch", "error"]

_STATES: dict[int, tuple[_DriverState, str]] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("missing", "no NVIDIA driver is installed"),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "not_loaded",
        "the NVIDIA driver is installed but its kernel module is not loaded",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "mismatch",
        "the NVIDIA driver was updated; restart the machine",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "error",
        "this user may not use the NVIDIA driver; add it to the groups video and render",
    ),
}

log = logging.getLogger(__name__)


class NvmlSource:
    """Reads all NVIDIA GPUs. A card that was seen once stays in the reading, lost if need be.

    One that sleeps is not asked, and the library is closed while idle cards could fall asleep.
    """

    def __init__(self, names: BlobNames, *, devices: Path = DEVICES) -> None:
        self._names = names
        self._bus = Bus(devices)
        self._rest = Rest()
        self._newest: tuple[DriverReading, tuple[GpuReading, ...]] | None = None
        self._is_started = False
        self._start_again = Backoff(first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._look_again = Backoff(first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._failure = DriverReading(state="missing")
        self._seen: dict[str, GpuReading] = {}

    def read(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Read driver and cards; never raises for what a driver or a card does."""
        cards = self._bus.look()
        if cards and all(card.sleeps for card in cards):
            self._rest.reset()
            self._shut_down()
            return self._asleep(cards)
        is_needed = self._names.is_any_loaded
        if self._newest is not None and self._rest.is_on and not is_needed:
            return self._newest
        self._newest = self._ask(cards)
        can_rest = self._is_started and not is_needed and may_rest(cards, self._newest[1])
        if can_rest and self._rest.is_due:
            self._rest.begin()
            self._shut_down()
        return self._newest

    def _ask(self, cards: tuple[Card, ...]) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        if not self._is_started and not self._start():
            return self._failure, self._all_gone(self._failure.reason)
        try:
            return self._read_all(cards)
        except pynvml.NVMLError as error:
            self._stop(error)
        except DriverGone as gone:
            self._stop(gone.error)
        return self._failure, self._all_gone(self._failure.reason)

    def _read_all(self, cards: tuple[Card, ...]) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        count = pynvml.nvmlDeviceGetCount()
        some_sleep = any(card.sleeps for card in cards)
        found, silent = self._read_awake(cards) if some_sleep else self._read_cards(count)
        gpus = self._with_lost(found, count)
        driver = self._driver(silent, cards)
        self._renew_if_due(is_whole=not silent and all(gpu.state == "ok" for gpu in gpus))
        return driver, gpus

    # --- the library ---------------------------------------------------------------------------

    def _start(self) -> bool:
        if not self._start_again.is_due:
            return False
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._failed(error)
            return False
        self._start_again.reset()
        self._is_started = True
        return True

    def _failed(self, error: pynvml.NVMLError) -> None:
        state, reason = _STATES.get(error.value, ("error", f"NVML says: {error}"))
        if self._failure.reason != reason:
            log.warning("driver unavailable state=%s reason=%s", state, reason)
        self._failure = DriverReading(state=state, reason=reason)
        self._start_again.put_off()

    def _stop(self, error: pynvml.NVMLError) -> None:
        self._shut_down()
        self._failed(error)

    def _renew_if_due(self, *, is_whole: bool) -> None:
        """Stop the library while a card is lost: only a new start sees that it has come back."""
        if is_whole:
            self._look_again.reset()
        elif self._look_again.is_due:
            self._look_again.put_off()
            self._shut_down()

    def _shut_down(self) -> None:
        if not self._is_started:
            return
        self._is_started = False
        # A library whose driver has gone refuses this too; there is nothing left to free.
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def _driver(self, silent: list[int], cards: tuple[Card, ...]) -> DriverReading:
        reason = None
        if silent:
            indexes = ", ".join(map(str, silent))
            reason = f"the driver counts GPU {indexes} and cannot read it"
        version = ask(pynvml.nvmlSystemGetDriverVersion)
        return DriverReading(
            state="ok", version=version, reason=reason, cards_asleep=self._never_awake(cards)
        )

    # --- sleep ---------------------------------------------------------------------------------

    def _asleep(self, cards: tuple[Card, ...]) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Tell of cards that all sleep without starting the library."""
        version = self._newest[0].version if self._newest else None
        driver = DriverReading(state="ok", version=version, cards_asleep=self._never_awake(cards))
        known = filter(None, map(self._known_at, cards))
        return driver, self._with_lost({gpu.uuid: asleep(gpu) for gpu in known}, len(cards))

    def _never_awake(self, cards: tuple[Card, ...]) -> int | None:
        """Count cards of which only their place is known, as they have slept since the start."""
        return sum(card.sleeps and self._known_at(card) is None for card in cards) or None

    def _known_at(self, card: Card) -> GpuReading | None:
        return next((gpu for gpu in self._seen.values() if is_at(gpu, card.pci_id)), None)

    def _read_awake(self, cards: tuple[Card, ...]) -> tuple[dict[str, GpuReading], list[int]]:
        """Read by their places the cards that do not sleep."""
        found: dict[str, GpuReading] = {}
        silent = []
        for position, card in enumerate(cards):
            known = self._known_at(card)
            index = known.index if known else position
            if card.sleeps:
                reading = asleep(known) if known else None
            elif (reading := self._read_card(index, card.pci_id)) is None:
                silent.append(index)
            if reading is not None:
                found[reading.uuid] = reading
        return found, silent

    # --- the cards -----------------------------------------------------------------------------

    def _read_cards(self, count: int) -> tuple[dict[str, GpuReading], list[int]]:
        """Read the cards that say who they are, and list the indexes of those that do not."""
        found: dict[str, GpuReading] = {}
        silent = []
        for index in range(count):
            reading = self._read_card(index)
            if reading is not None:
                found[reading.uuid] = reading
            elif not any(gpu.index == index for gpu in self._seen.values()):
                silent.append(index)
        return found, silent

    def _read_card(self, index: int, pci_id: str | None = None) -> GpuReading | None:
        uuid = next((gpu.uuid for gpu in self._seen.values() if gpu.index == index), None)
        try:
            handle = _handle(index, pci_id)
            uuid = ask(pynvml.nvmlDeviceGetUUID, handle) if handle else None
            return self._measure(handle, index=index, uuid=uuid) if uuid else None
        except CardLost:
            return self._troubled(uuid, index, "lost", "the GPU has fallen off the bus")
        except CardNeedsReset:
            return self._troubled(uuid, index, "error", "the GPU must be reset")

    def _measure(self, handle: Any, *, index: int, uuid: str) -> GpuReading:
        memory = read_memory(handle)
        processes = read_processes(handle)
        parts = mig_parts(handle)
        self._seen[uuid] = GpuReading(
            uuid=uuid,
            index=index,
            source="nvml",
            reason=f"split into {len(parts)} MIG instances" if parts else None,
            unified=memory.unified,
            memory_total_bytes=memory.total,
            memory_used_bytes=memory.used,
            memory_free_bytes=memory.free,
            memory_reserved_bytes=memory.reserved,
            processes=None
            if processes is None
            else tuple(describe(pid, used, self._names) for pid, used in processes.items()),
            **read_figures(handle),
        )
        return self._seen[uuid]

    def _with_lost(self, found: dict[str, GpuReading], count: int) -> tuple[GpuReading, ...]:
        """Add the cards that are gone, none of them under the number of another card."""
        taken = {gpu.index for gpu in found.values()}
        for gpu in [gpu for uuid, gpu in self._seen.items() if uuid not in found]:
            index = gpu.index
            if index in taken:
                # NVML numbers the cards that are left from 0: one of them has moved here.
                index = next(free for free in count_from(count) if free not in taken)
            taken.add(index)
            self._seen[gpu.uuid] = gpu.model_copy(update={"index": index})
        missing = [
            _gone(gpu, "lost", "the driver no longer sees this GPU")
            for uuid, gpu in self._seen.items()
            if uuid not in found
        ]
        return tuple(sorted([*found.values(), *missing], key=lambda gpu: gpu.index))

    def _troubled(
        self, uuid: str | None, index: int, state: Literal["lost", "error"], reason: str
    ) -> GpuReading | None:
        """Return a card in trouble as it was known; of one never seen there is nothing to say."""
        if uuid is None:
            return None
        known = self._seen.get(uuid, GpuReading(uuid=uuid, index=index, source="nvml"))
        self._seen[uuid] = known.model_copy(update={"index": index})
        return _gone(self._seen[uuid], state, reason)

    def _all_gone(self, reason: str | None) -> tuple[GpuReading, ...]:
        return tuple(_gone(gpu, "lost", reason) for gpu in self._seen.values())


def _handle(index: int, pci_id: str | None) -> Any:
    """Find a card by its place where others sleep: that touches no other card."""
    if pci_id is None:
        return ask(pynvml.nvmlDeviceGetHandleByIndex, index)
    return ask(pynvml.nvmlDeviceGetHandleByPciBusId, pci_id)


def _gone(gpu: GpuReading, state: Literal["lost", "error"], reason: str | None) -> GpuReading:
    """Keep who a card is and drop every figure: an old one would look like a measurement."""
    return GpuReading(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        pci_id=gpu.pci_id,
        source=gpu.source,
        unified=gpu.unified,
        memory_total_bytes=gpu.memory_total_bytes,
        state=state,
        reason=reason,
    )
