"""What sits on the PCI bus: a missing card is told from a missing driver."""

from pathlib import Path

NVIDIA = "0x10de"
# PCI class 03 is a display controller; a card's audio function is class 04.
DISPLAY = "0x03"
DEVICES = Path("/sys/bus/pci/devices")


def nvidia_cards(devices: Path = DEVICES) -> int | None:
    """Count NVIDIA's display devices; ``None`` where the bus cannot be read."""
    if not devices.is_dir():
        return None
    return sum(_is_card(device) for device in devices.iterdir())


def _is_card(device: Path) -> bool:
    return _read(device / "vendor") == NVIDIA and _read(device / "class").startswith(DISPLAY)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
