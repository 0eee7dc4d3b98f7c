"""A simulated machine: where the fake Ollama servers meet the simulated hardware.

The fake server decides *when* a model is loaded or evicted; the machine decides *where* it goes,
what it takes there, and whether it fits.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from workers.gpus.base import HardwareReading
from workers.simlab import placement
from workers.simlab.catalog import models
from workers.simlab.hardware import CARDS, Gpu, Held
from workers.simlab.loads import Loaded, LoadRefused, LoadRequest, NoSpace
from workers.simlab.memory import MIB
from workers.simlab.splits import Room
from workers.wire import DiskReading, DriverReading, HostReading

__all__ = ["LoadRefused", "LoadRequest", "Loaded", "Machine", "NoSpace"]

GIB = 1024 * MIB
RAM_GBS = 60
# Share of a memory's bandwidth that generation reaches.
EFFICIENCY = 0.7
STORE_PATH = "/usr/share/ollama/.ollama/models"
DRIVER_VERSION = "580.105.08"


@dataclass(frozen=True, kw_only=True)
class _Running:
    loaded: Loaded
    placement: placement.Placement
    request: LoadRequest


@dataclass(kw_only=True)
class Machine:
    """One machine of the lab. Not safe to use from several threads.

    ``version`` is that of all its Ollama servers. ``cards`` are keys of ``hardware.CARDS``.
    ``fit`` is ``LLAMA_ARG_FIT`` in the servers' environment. ``clock`` gives seconds; with the
    same clock and slug, two machines read alike.
    """

    slug: str
    kind: Literal["linux", "windows", "mac"]
    version: str
    cards: Sequence[str] = ()
    fit: bool = True
    ram_bytes: int = 64 * GIB
    ram_base_bytes: int = 5 * GIB
    disk_bytes: int = 1000 * GIB
    disk_free_bytes: int = 600 * GIB
    disk_bytes_per_s: float = 2.4e9
    clock: Callable[[], float] = time.monotonic
    gpus: list[Gpu] = field(init=False)
    _running: dict[int, _Running] = field(init=False, default_factory=dict)
    _working: dict[int, int] = field(init=False, default_factory=dict)
    _orphans: set[int] = field(init=False, default_factory=set)
    _next_pid: int = field(init=False, default=2311)

    def __post_init__(self) -> None:
        self.gpus = [
            Gpu(card=CARDS[card], index=index, seed=self.slug)
            for index, card in enumerate(self.cards)
        ]

    def count_gpus(self, gpus: tuple[int, ...] | None) -> int:
        """Count what a server sees that may see ``gpus``, ``None`` for all, a Mac's included."""
        return len(self._rooms(gpus))

    def total_bytes(self, gpus: tuple[int, ...] | None) -> int:
        """Memory of all GPUs of a server together, by which Ollama picks its default context."""
        return sum(self.gpus[room.index].total_bytes for room in self._rooms(gpus))

    @property
    def ram_free_bytes(self) -> int:
        """RAM that a process may still take. Unified memory is part of it."""
        held = sum(running.loaded.ram_bytes for running in self._running.values())
        unified = sum(gpu.used_bytes for gpu in self.gpus if gpu.card.unified)
        return self.ram_bytes - self.ram_base_bytes - held - unified

    def load(self, request: LoadRequest) -> Loaded:
        """Place the model and take its memory, or raise ``LoadRefused``."""
        rooms = self._rooms(request.gpus)
        placed = placement.place(request, rooms, self.version, fit=self.fit)
        if placed.host_bytes > self.ram_free_bytes:
            need, have = placed.host_bytes / GIB, self.ram_free_bytes / GIB
            text = f"model requires more system memory ({need:.1f} GiB) than is available"
            raise LoadRefused(500, f"{text} ({have:.1f} GiB)")
        self._next_pid += 17
        loaded = self._take(request, placed, self._next_pid)
        running = _Running(loaded=loaded, placement=placed, request=request)
        self._running[loaded.pid] = running
        return loaded

    def _take(self, request: LoadRequest, placed: placement.Placement, pid: int) -> Loaded:
        old = placement.is_old(self.version)
        name = "ollama_llama_server" if old else "llama-server"
        for index, size in placed.by_gpu.items():
            gpu = self.gpus[index]
            total = size + gpu.card.context_mib * MIB
            gpu.held[pid] = Held(
                size_bytes=total, name=name, model=request.name, server=request.server
            )
        taken = [gpu.held[pid].size_bytes if pid in gpu.held else 0 for gpu in self.gpus]
        return Loaded(
            pid=pid,
            size_bytes=placed.size_bytes,
            size_vram_bytes=placed.size_vram_bytes,
            context_length=request.context_length,
            bytes_by_gpu=tuple(taken),
            ram_bytes=placed.host_bytes,
            gpu_layers=placed.gpu_layers,
            layers=placed.layers,
        )

    def unload(self, pid: int) -> None:
        """End a process and give its memory back. An unknown ``pid`` is ignored."""
        self._running.pop(pid, None)
        self._orphans.discard(pid)
        for gpu in self.gpus:
            gpu.advance(self.clock())
            gpu.held.pop(pid, None)
            gpu.working.discard(pid)

    def orphan(self, pid: int) -> None:
        """Let a process outlive its server, with the memory that it holds."""
        for gpu in self.gpus:
            if pid in gpu.held:
                gpu.held[pid].is_orphan = True
        self._orphans.add(pid)

    def end_orphans(self) -> None:
        """End what outlived its server, as somebody does by hand."""
        for pid in tuple(self._orphans):
            self.unload(pid)

    def runs(self, pid: int) -> bool:
        """Whether a process is alive; those on a GPU that is lost are not."""
        return pid in self._running

    def pid_of(self, name: str) -> int | None:
        """Find the process that was started for a model's name."""
        found = (pid for pid, each in self._running.items() if each.request.name == name)
        return next(found, None)

    def must_evict(self, request: LoadRequest) -> bool:
        """Whether this version would first evict another model (its 80 % rule) for this load.

        True also where nothing is left to evict; the server then loads all the same.
        """
        if placement.is_old(self.version):
            return self._old_must_evict(request)
        return placement.must_evict(request, self._rooms(request.gpus))

    def _old_must_evict(self, request: LoadRequest) -> bool:
        """Up to 0.24 a model is evicted where the new one does not fit whole beside it."""
        rooms = self._rooms(request.gpus)
        if not rooms or request.num_gpu == 0:
            return False
        try:
            placed = placement.place(request, rooms, self.version)
        except LoadRefused:
            return True
        return placed.gpu_layers < placed.layers

    def load_s(self, request: LoadRequest) -> float:
        """Seconds that a load takes: starting a process and reading the file from disk."""
        file_bytes = models()[request.model].variants[request.quant].file_bytes
        return 0.3 + file_bytes / self.disk_bytes_per_s

    def tokens_per_s(self, pid: int) -> float:
        """Generation speed of a loaded model: each token reads all of its memory once.

        Of experts only those in use are read. 1.0 for an unknown ``pid``.
        """
        running = self._running.get(pid)
        if running is None:
            return 1.0
        share, placed = _active_share(running.request), running.placement
        on_host = placed.host_bytes if placed.gpu_layers < placed.layers else 0
        seconds = on_host * share / (RAM_GBS * 1e9)
        for index, size in placed.by_gpu.items():
            seconds += size * share / (self.gpus[index].card.bandwidth_gbs * 1e9)
        return EFFICIENCY / seconds

    @contextmanager
    def working(self, pid: int) -> Iterator[None]:
        """Keep the devices of ``pid`` busy while the block runs (a request being answered)."""
        self._work(pid, 1)
        try:
            yield
        finally:
            self._work(pid, -1)

    def _work(self, pid: int, change: int) -> None:
        self._working[pid] = self._working.get(pid, 0) + change
        for gpu in self.gpus:
            gpu.advance(self.clock())
            if pid in gpu.held and self._working[pid]:
                gpu.start_work(pid)
            else:
                gpu.working.discard(pid)
        if not self._working[pid]:
            del self._working[pid]

    def lose(self, index: int) -> None:
        """Let a GPU fall off the bus; what ran on it is gone, and new loads go to the CPU."""
        gpu = self.gpus[index]
        gpu.lost = True
        for pid in tuple(gpu.held):
            self.unload(pid)

    def restore(self, index: int) -> None:
        """Bring a lost GPU back, as a reload of the driver does."""
        self.gpus[index].lost = False

    def take_disk(self, size_bytes: int) -> None:
        """Use that much of the disk, or raise ``NoSpace`` and use nothing."""
        if size_bytes > self.disk_free_bytes:
            raise NoSpace(f"no space left on device: {self.slug}")
        self.disk_free_bytes -= size_bytes

    def give_disk(self, size_bytes: int) -> None:
        """Give back what ``take_disk`` took."""
        self.disk_free_bytes = min(self.disk_free_bytes + size_bytes, self.disk_bytes)

    def _rooms(self, gpus: tuple[int, ...] | None) -> list[Room]:
        """List the GPUs that a new process finds; one that is lost makes CUDA find none."""
        if any(gpu.lost for gpu in self.gpus):
            return []
        seen = self.gpus if gpus is None else [self.gpus[index] for index in gpus]
        return [
            Room(
                index=gpu.index,
                free_bytes=gpu.free_bytes,
                context_bytes=gpu.card.context_mib * MIB,
            )
            for gpu in seen
        ]

    def reading(self) -> HardwareReading:
        """Tell what the driver and the system would tell now."""
        now = self.clock()
        for gpu in self.gpus:
            gpu.feed_game()
        return HardwareReading(
            driver=self._driver(),
            gpus=tuple(gpu.reading(now) for gpu in self.gpus),
            host=self._host(),
            disk=DiskReading(
                path=STORE_PATH, total_bytes=self.disk_bytes, free_bytes=self.disk_free_bytes
            ),
        )

    def _driver(self) -> DriverReading:
        if self.kind == "mac":
            return DriverReading(state="none")
        if not self.gpus:
            return DriverReading(
                state="missing", reason="no NVIDIA driver is installed", cards_seen=0
            )
        return DriverReading(state="ok", version=DRIVER_VERSION)

    def _host(self) -> HostReading:
        on_cpu = any(not any(pid in gpu.held for gpu in self.gpus) for pid in self._working)
        return HostReading(
            hostname=self.slug,
            system=self.kind,
            ram_total_bytes=self.ram_bytes,
            ram_used_bytes=self.ram_bytes - self.ram_free_bytes,
            cpu_percent=71.0 if on_cpu else 3.0 + 5.0 * bool(self._working),
        )


def _active_share(request: LoadRequest) -> float:
    """Share of a model's bytes that one token reads; experts hold nearly all of them."""
    model = models()[request.model]
    experts = model.metadata.get(f"{model.architecture}.expert_count")
    if not experts:
        return 1.0
    used = model.metadata[f"{model.architecture}.expert_used_count"]
    return min(1.0, 0.1 + 0.9 * float(used) / float(experts))
