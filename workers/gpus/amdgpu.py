"""AMD GPUs through the files of the amdgpu driver (kernel documentation, "GPU sysfs files")."""

from collections.abc import Mapping
from pathlib import Path

from workers.gpus.amd_processes import AmdProcesses
from workers.gpus.processes import BlobNames, describe
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

    def read(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Read the cards; none without the driver."""
        folders = [path.resolve() for path in self._root.glob("class/drm/card[0-9]*/device")]
        cards = sorted(folder for folder in folders if _text(folder / "vendor") == AMD_VENDOR)
        if not cards:
            return DriverReading(state="missing", reason="no AMD GPU driver is loaded"), ()
        shared = frozenset(folder.name for folder in cards if _shares_ram(folder))
        usage = self._processes.read(shared=shared)
        gpus = [
            self._read_card(folder, index, None if usage is None else usage[folder.name])
            for index, folder in enumerate(cards)
        ]
        version = _text(self._root / "module/amdgpu/version")
        return DriverReading(state="ok", version=version), tuple(gpus)

    def _read_card(self, folder: Path, index: int, usage: Mapping[int, int] | None) -> GpuReading:
        pci_id = folder.name
        serial = _text(folder / "unique_id")
        unified = _shares_ram(folder)
        total, used = _memory(folder, "total", unified), _memory(folder, "used", unified)
        return GpuReading(
            uuid=f"amdgpu-{serial or pci_id}",
            index=index,
            name=_text(folder / "product_name") or "AMD GPU",
            pci_id=pci_id,
            source="amdgpu",
            unified=unified,
            memory_total_bytes=total,
            memory_used_bytes=used,
            memory_free_bytes=None if total is None or used is None else total - used,
            utilization_percent=_number(folder / "gpu_busy_percent"),
            temperature_celsius=_sensor(folder, "temp1_input", _MILLI),
            power_watts=_first(_watts(folder, "power1_average"), _watts(folder, "power1_input")),
            power_limit_watts=_watts(folder, "power1_cap"),
            clock_graphics_mhz=_sensor(folder, "freq1_input", _MICRO),
            clock_memory_mhz=_sensor(folder, "freq2_input", _MICRO),
            processes=None
            if usage is None
            else tuple(describe(pid, size, self._names) for pid, size in sorted(usage.items())),
        )


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
