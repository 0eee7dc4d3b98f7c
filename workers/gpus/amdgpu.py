"""AMD GPUs through the files of the amdgpu driver (kernel documentation, "GPU sysfs files").

Older kernels wake a card to read a sensor, newer ones refuse, and with all of them a read begins
anew the seconds after which an idle card sleeps. Who a card is and what it holds the driver answers
from its memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.gpus.amd_processes import AmdProcesses
from workers.gpus.processes import BlobNames, describe
from workers.gpus.sleep import Card, Rest, asleep, card_at, may_rest
from workers.wire import DriverReading, GpuReading

AMD_VENDOR = "0x1002"
_MICRO = 1_000_000
_MILLI = 1000


class AmdgpuSource:
    """Reads all AMD GPUs below ``root``, the folder that holds ``class/drm``."""

    def __init__(
        self, names: BlobNames, *, root: Path = Path("/sys"), proc: Path = Path("/proc")
    ) -> None:
        self._names = names
        self._root = root
        self._processes = AmdProcesses(sysfs=root, proc=proc)
        self._rest = Rest()
        self._sensed: dict[Path, dict[str, Any]] = {}

    def read(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Read the cards; none without the driver."""
        folders = [path.resolve() for path in self._root.glob("class/drm/card[0-9]*/device")]
        folders = sorted(folder for folder in folders if _text(folder / "vendor") == AMD_VENDOR)
        if not folders:
            return DriverReading(state="missing", reason="no AMD GPU driver is loaded"), ()
        shared = frozenset(folder.name for folder in folders if _shares_ram(folder))
        usage = self._processes.read(shared=shared)
        cards = [card_at(folder) for folder in folders]
        gpus = tuple(
            self._read_card(folder, card, index, None if usage is None else usage[folder.name])
            for index, (folder, card) in enumerate(zip(folders, cards, strict=True))
        )
        self._rest_if_due(cards, gpus)
        version = _text(self._root / "module/amdgpu/version")
        return DriverReading(state="ok", version=version), gpus

    def _rest_if_due(self, cards: list[Card], gpus: tuple[GpuReading, ...]) -> None:
        if all(card.sleeps for card in cards):
            self._rest.reset()
        elif self._rest.is_due and may_rest(cards, gpus):
            self._rest.begin()

    def _read_card(
        self, folder: Path, card: Card, index: int, usage: Mapping[int, int] | None
    ) -> GpuReading:
        serial = _text(folder / "unique_id")
        unified = _shares_ram(folder)
        total, used = _memory(folder, "total", unified), _memory(folder, "used", unified)
        reading = GpuReading(
            uuid=f"amdgpu-{serial or folder.name}",
            index=index,
            name=_text(folder / "product_name") or "AMD GPU",
            pci_id=folder.name,
            source="amdgpu",
            unified=unified,
            memory_total_bytes=total,
            memory_used_bytes=used,
            memory_free_bytes=None if total is None or used is None else total - used,
            processes=None
            if usage is None
            else tuple(describe(pid, size, self._names) for pid, size in sorted(usage.items())),
            **({} if card.sleeps else self._sense(folder)),
        )
        return asleep(reading) if card.sleeps else reading

    def _sense(self, folder: Path) -> dict[str, Any]:
        """Read the sensors; during a rest they are as they were before."""
        if folder not in self._sensed or not self._rest.is_on:
            self._sensed[folder] = _sensors(folder)
        return self._sensed[folder]


def _sensors(folder: Path) -> dict[str, Any]:
    return {
        "utilization_percent": _number(folder / "gpu_busy_percent"),
        "temperature_celsius": _sensor(folder, "temp1_input", _MILLI),
        "power_watts": _first(_watts(folder, "power1_average"), _watts(folder, "power1_input")),
        "power_limit_watts": _watts(folder, "power1_cap"),
        "clock_graphics_mhz": _sensor(folder, "freq1_input", _MICRO),
        "clock_memory_mhz": _sensor(folder, "freq2_input", _MICRO),
    }


def _shares_ram(folder: Path) -> bool:
    """Tell a processor's own GPU: of all parts, only these have a voltage of the northbridge."""
    return (_hwmon(folder) / "in1_label").exists()


def _memory(folder: Path, what: str, unified: bool) -> int | None:  # noqa: FBT001 - read by name
    """Return total or used bytes; of a GPU without memory of its own with the RAM it may take."""
    own = _number(folder / f"mem_info_vram_{what}")
    if own is None or not unified:
        return own
    taken = _number(folder / f"mem_info_gtt_{what}")
    return None if taken is None else own + taken


def _watts(folder: Path, name: str) -> float | None:
    microwatts = _number(_hwmon(folder) / name)
    return None if microwatts is None else microwatts / _MICRO


def _sensor(folder: Path, name: str, divisor: int) -> int | None:
    value = _number(_hwmon(folder) / name)
    return None if value is None else round(value / divisor)


def _hwmon(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("hwmon/hwmon*"))), folder / "hwmon")


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.removeprefix("-").isdecimal() else None


def _text(path: Path) -> str | None:
    """Return a file's line; ``None`` where the card has no such file or will not tell now."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
