"""Which cards sleep, and when to leave the others alone so that they can fall asleep.

What is known of NVIDIA cards that the kernel suspends while nobody uses them (``power/control`` is
"auto", as on laptops with two GPUs; the default is "on", and such a card never sleeps):

- The files in ``/sys/bus/pci/devices/<address>/power`` are answered from the kernel's memory.
- ``nvmlInit`` initializes no card (NVML's documentation), but to ask for a card's handle does, and
  so wakes it; so does ``/proc/driver/nvidia/gpus/<address>/information``, while it is read.
- The library keeps the device open until it is shut down, and an open device is not suspended.
  People saw their cards fall asleep some 6 to 10 seconds after the last program closed them.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workers.wire import GpuReading

DRIVER = "nvidia"
# Cards are not plugged in while a machine runs; a driver may be loaded, though.
LOOK_EVERY_S = 60.0
# Longer than the driver waits until it lets an unused card sleep.
REST_S = 15.0
# A card that something else keeps awake is not left unread again before that.
REST_EVERY_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card at its address on the bus, such as ``0000:01:00.0``."""

    pci_id: str
    sleeps: bool
    may_sleep: bool


class Bus:
    """The cards that NVIDIA's driver serves; one that waits for a virtual machine is none."""

    def __init__(self, devices: Path) -> None:
        self._devices = devices
        self._cards: list[Path] = []
        self._look_again_at = float("-inf")

    def look(self) -> tuple[Card, ...]:
        """Return the cards in the order of the bus; none where there is no such bus."""
        if time.monotonic() >= self._look_again_at:
            folders = self._devices.glob("*/driver")
            self._cards = sorted(link.parent for link in folders if link.resolve().name == DRIVER)
            self._look_again_at = time.monotonic() + LOOK_EVERY_S
        return tuple(card_at(folder) for folder in self._cards)


class Rest:
    """Spans in which no card is asked anything."""

    def __init__(self) -> None:
        self._ends_at = self._next_at = float("-inf")

    @property
    def is_on(self) -> bool:
        """Whether cards are to be left alone."""
        return time.monotonic() < self._ends_at

    @property
    def is_due(self) -> bool:
        """Whether a rest may begin."""
        return time.monotonic() >= self._next_at

    def begin(self) -> None:
        """Leave the cards alone from now on."""
        self._ends_at = time.monotonic() + REST_S
        self._next_at = self._ends_at + REST_EVERY_S

    def reset(self) -> None:
        """Note that the cards fell asleep: once they are awake and idle, they may do so again."""
        self._ends_at = self._next_at = float("-inf")


def card_at(device: Path) -> Card:
    """Ask the kernel about a device; one that is about to sleep counts as asleep."""
    return Card(
        pci_id=device.name,
        sleeps=_read(device / "power/runtime_status").startswith("suspend"),
        may_sleep=_read(device / "power/control") == "auto",
    )


def may_rest(cards: Iterable[Card], gpus: Iterable[GpuReading]) -> bool:
    """Tell whether an awake card could sleep, and no model or work needs any of them."""
    can = any(card.may_sleep and not card.sleeps for card in cards)
    return can and all(_is_idle(gpu) for gpu in gpus)


def _is_idle(gpu: GpuReading) -> bool:
    runs_model = any(process.model for process in gpu.processes or ())
    return gpu.state == "ok" and not gpu.utilization_percent and not runs_model


def is_at(gpu: GpuReading, pci_id: str) -> bool:
    """Compare addresses: NVML writes the domain with eight digits, the kernel with four."""
    return (gpu.pci_id or "").lower().lstrip("0") == pci_id.lower().lstrip("0")


def asleep(gpu: GpuReading) -> GpuReading:
    """Keep who a card is; what it holds and how warm it is cannot be known without waking it."""
    return GpuReading(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        pci_id=gpu.pci_id,
        source=gpu.source,
        asleep=True,
        unified=gpu.unified,
        memory_total_bytes=gpu.memory_total_bytes,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
