"""NVIDIA GPUs through NVML: the driver may appear, vanish and return, and so may each card."""

import contextlib
import logging
from itertools import count as count_from
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
from workers.gpus.processes import BlobNames, describe
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
    """Reads all NVIDIA GPUs. A card that was seen once stays in the reading, lost if need be."""

    def __init__(self, names: BlobNames) -> None:
        self._names = names
        self._is_started = False
        self._start_again = Backoff(first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._look_again = Backoff(first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._failure = DriverReading(state="missing")
        self._seen: dict[str, GpuReading] = {}

    def read(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Read driver and cards; never raises for what a driver or a card does."""
        if not self._is_started and not self._start():
            return self._failure, self._all_gone(self._failure.reason)
        try:
            return self._read_all()
        except pynvml.NVMLError as error:
            self._stop(error)
        except DriverGone as gone:
            self._stop(gone.error)
        return self._failure, self._all_gone(self._failure.reason)

    def _read_all(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        count = pynvml.nvmlDeviceGetCount()
        found, silent = self._read_cards(count)
        gpus = self._with_lost(found, count)
        driver = self._driver(silent)
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
        self._is_started = False
        # A library whose driver has gone refuses this too; there is nothing left to free.
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def _driver(self, silent: list[int]) -> DriverReading:
        reason = None
        if silent:
            indexes = ", ".join(map(str, silent))
            reason = f"the driver counts GPU {indexes} and cannot read it"
        version = ask(pynvml.nvmlSystemGetDriverVersion)
        return DriverReading(state="ok", version=version, reason=reason)

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

    def _read_card(self, index: int) -> GpuReading | None:
        uuid = next((gpu.uuid for gpu in self._seen.values() if gpu.index == index), None)
        try:
            handle = ask(pynvml.nvmlDeviceGetHandleByIndex, index)
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
