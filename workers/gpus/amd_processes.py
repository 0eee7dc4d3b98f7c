"""Memory of AMD GPUs by process, as the kernel counts it.

Graphics and Vulkan: ``/proc/<pid>/fdinfo`` (kernel documentation, "DRM client usage stats"), which
only root and the process's own user may read. ROCm: the files of the compute driver, amdkfd, which
everybody may read. Both are sums that the drivers keep: to read them wakes no card.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

# To find those of a GPU, all open files of all processes are looked through.
LOOK_EVERY_S = 15.0
_UNITS = {"KiB": 2**10, "MiB": 2**20}

# PCI address → process → bytes.
type Usage = defaultdict[str, Counter[int]]


class AmdProcesses:
    """Tells who holds memory of AMD cards; ``shared`` are cards that use RAM as theirs."""

    def __init__(self, *, sysfs: Path, proc: Path) -> None:
        self._kfd = sysfs / "class/kfd/kfd"
        self._proc = proc
        self._files: list[Path] = []
        self._cards: dict[str, str] = {}
        self._look_again_at = float("-inf")

    def read(self, *, shared: frozenset[str]) -> Usage | None:
        """Return used bytes; ``None`` where the kernel tells this user of no process at all."""
        if time.monotonic() >= self._look_again_at:
            self._files = list(_gpu_files(self._proc))
            self._cards = _cards_by_id(self._kfd / "topology/nodes")
            self._look_again_at = time.monotonic() + LOOK_EVERY_S
        if not self._files and not self._cards:
            return None
        drawn, computed = self._drawn(shared), self._computed()
        # Where both tell of a process, the memory of ROCm is in both.
        return defaultdict(
            Counter, {card: drawn[card] | computed[card] for card in {*drawn, *computed}}
        )

    def _drawn(self, shared: frozenset[str]) -> Usage:
        found: Usage = defaultdict(Counter)
        # A client may have its file open several times, and so may a child of its process.
        clients = set()
        for file in self._files:
            told = _told(file)
            card, client = told.get("drm-pdev", ""), told.get("drm-client-id", str(file))
            if told.get("drm-driver") != "amdgpu" or (card, client) in clients:
                continue
            clients.add((card, client))
            used = _own_bytes(told, "vram") + (_own_bytes(told, "gtt") if card in shared else 0)
            found[card][int(file.parts[-3])] += used
        return found

    def _computed(self) -> Usage:
        found: Usage = defaultdict(Counter)
        for file in self._kfd.glob("proc/*/vram_*"):
            card = self._cards.get(file.name.removeprefix("vram_"))
            if card and file.parts[-2].isdecimal():
                found[card][int(file.parts[-2])] += int(_text(file) or 0)
        return found


def _gpu_files(proc: Path) -> Iterator[Path]:
    """Yield what tells of each open file of a GPU that this user may see."""
    for process in proc.glob("[0-9]*"):
        try:
            with os.scandir(process / "fd") as files:
                names = [file.name for file in files if _is_gpu(file.path)]
        except OSError:
            continue  # another user's, or ended meanwhile
        yield from (process / "fdinfo" / name for name in names)


def _is_gpu(file: str) -> bool:
    try:
        return os.readlink(file).startswith("/dev/dri/")  # noqa: PTH115 - for thousands of files
    except OSError:
        return False  # closed meanwhile


def _told(file: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(file).splitlines())
    return {key: value.strip() for key, _, value in lines}


def _own_bytes(told: dict[str, str], region: str) -> int:
    """Return what one client holds alone: what it shares with others would be counted twice."""
    held = told.get(f"drm-resident-{region}") or told.get(f"drm-memory-{region}")
    return max(0, _bytes(held) - _bytes(told.get(f"drm-shared-{region}")))


def _bytes(text: str | None) -> int:
    amount, _, unit = (text or "").partition(" ")
    return int(amount) * _UNITS.get(unit.strip(), 1) if amount.isdecimal() else 0


def _cards_by_id(nodes: Path) -> dict[str, str]:
    """Return the PCI address of each GPU by the number that amdkfd gives it."""
    found = {}
    for node in nodes.glob("*"):
        lines = (line.split() for line in _text(node / "properties").splitlines())
        facts = dict(line for line in lines if len(line) == 2)  # noqa: PLR2004 - name and value
        number, place = _text(node / "gpu_id"), int(facts.get("location_id", 0))
        if number not in {"", "0"}:  # 0 is a processor
            domain, bus, device = int(facts.get("domain", 0)), place >> 8, place >> 3 & 31
            # The lowest bits are the part of a card that is split; the card is function 0.
            found[number] = f"{domain:04x}:{bus:02x}:{device:02x}.0"
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
