"""AMD GPUs through the files of the amdgpu driver (kernel documentation, "GPU sysfs files")."""

from pathlib import Path

from workers.wire import DriverReading, GpuReading

AMD_VENDOR = "0x1002"
_MICRO = 1_000_000
_MILLI = 1000


class AmdgpuSource:
    """Reads all AMD GPUs below ``root``, the folder that holds ``class/drm``."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def read(self) -> tuple[DriverReading, tuple[GpuReading, ...]]:
        """Read the cards that have memory of their own to tell of; none without the driver."""
        folders = sorted(self._root.glob("class/drm/card[0-9]*/device"))
        cards = [folder for folder in folders if _text(folder / "vendor") == AMD_VENDOR]
        gpus = tuple(_read_card(folder, index) for index, folder in enumerate(cards))
        if not gpus:
            return DriverReading(state="missing", reason="no AMD GPU driver is loaded"), ()
        version = _text(self._root / "module/amdgpu/version")
        return DriverReading(state="ok", version=version), gpus


def _read_card(folder: Path, index: int) -> GpuReading:
    pci_id = folder.resolve().name
    total = _number(folder / "mem_info_vram_total")
    used = _number(folder / "mem_info_vram_used")
    serial = _text(folder / "unique_id")
    return GpuReading(
        uuid=f"amdgpu-{serial or pci_id}",
        index=index,
        name=_text(folder / "product_name") or "AMD GPU",
        pci_id=pci_id,
        source="amdgpu",
        memory_total_bytes=total,
        memory_used_bytes=used,
        memory_free_bytes=None if total is None or used is None else total - used,
        utilization_percent=_number(folder / "gpu_busy_percent"),
        temperature_celsius=_sensor(folder, "temp1_input", _MILLI),
        power_watts=_first(_watts(folder, "power1_average"), _watts(folder, "power1_input")),
        power_limit_watts=_watts(folder, "power1_cap"),
        clock_graphics_mhz=_sensor(folder, "freq1_input", _MICRO),
        clock_memory_mhz=_sensor(folder, "freq2_input", _MICRO),
    )


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
    return int(text) if text and text.lstrip("-").isdigit() else None


def _text(path: Path) -> str | None:
    """Return a file's line; ``None`` where the card has no such file or will not tell now."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
