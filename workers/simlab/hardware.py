"""Simulated GPUs: memory that follows what runs, and sensors that follow how hard it works.

All of it is a function of the clock that is passed in and of a seed: two machines built alike and
asked at the same times give the same readings.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp

from workers.simlab.memory import MIB
from workers.wire import GpuProcess, GpuReading

# Seconds after which a change has come about by two thirds.
LEVEL_LAG_S, HEAT_LAG_S = 0.8, 45.0
LOST_REASON = "GPU is lost"
GAME = "Cyberpunk2077.exe"
# How hard a game works.
PLAYING = 0.9


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model of GPU. Pairs are the values at rest and under full load.

    ``context_mib``: what CUDA takes in a process beside all buffers, and ``growth_mib`` what is
    added by its first answer. Both lie in the range that people have measured, and no table of
    the planner holds them. ``reserved_mib`` is the driver's own part of the total.
    """

    name: str
    total_mib: int
    reserved_mib: int = 0
    context_mib: int = 0
    growth_mib: int = 0
    bandwidth_gbs: float
    celsius: tuple[float, float] | None = None
    watts: tuple[float, float] | None = None
    limit_watts: float | None = None
    clock_mhz: tuple[int, int] | None = None
    memory_clock_mhz: tuple[int, int] | None = None
    unified: bool = False


CARDS = {
    "rtx-3090": Card(
        name="NVIDIA GeForce RTX 3090",
        total_mib=24576,
        reserved_mib=452,
        context_mib=291,
        growth_mib=18,
        bandwidth_gbs=936,
        celsius=(36, 74),
        watts=(21, 338),
        limit_watts=350,
        clock_mhz=(210, 1785),
        memory_clock_mhz=(405, 9501),
    ),
    "rtx-4070": Card(
        name="NVIDIA GeForce RTX 4070",
        total_mib=12282,
        reserved_mib=369,
        context_mib=177,
        growth_mib=14,
        bandwidth_gbs=504,
        celsius=(33, 62),
        watts=(11, 186),
        limit_watts=200,
        clock_mhz=(210, 2745),
        memory_clock_mhz=(405, 10501),
    ),
    "tesla-p40": Card(
        name="Tesla P40",
        total_mib=23040,
        reserved_mib=117,
        context_mib=163,
        growth_mib=10,
        bandwidth_gbs=347,
        celsius=(31, 83),
        watts=(10, 212),
        limit_watts=250,
        clock_mhz=(544, 1531),
        memory_clock_mhz=(405, 3615),
    ),
    "m2-max": Card(
        name="Apple M2 Max",
        total_mib=48 * 1024,
        context_mib=72,
        growth_mib=9,
        bandwidth_gbs=400,
        unified=True,
    ),
}


@dataclass(kw_only=True)
class Held:
    """What one process holds on one GPU."""

    size_bytes: int
    name: str
    model: str | None = None
    grown: bool = False
    is_orphan: bool = False
    server: str | None = None


@dataclass(kw_only=True)
class Game:
    """A program of the owner that takes what it gets, up to what it wants."""

    name: str = GAME
    wanted_bytes: int = 0
    size_bytes: int = 0


@dataclass(kw_only=True)
class Gpu:
    """One GPU of a machine. ``now`` is a time in seconds that never falls."""

    card: Card
    index: int
    seed: str
    desktop_bytes: int = 0
    lost: bool = False
    game: Game = field(default_factory=Game)
    held: dict[int, Held] = field(default_factory=dict)
    working: set[int] = field(default_factory=set)
    _level: float = 0.0
    _celsius: float | None = None
    _at_s: float | None = None

    @property
    def total_bytes(self) -> int:
        """All memory, the driver's part included."""
        return self.card.total_mib * MIB

    @property
    def used_bytes(self) -> int:
        """What the desktop, a game and all processes hold."""
        held = sum(held.size_bytes for held in self.held.values())
        return self.desktop_bytes + self.game.size_bytes + held

    @property
    def free_bytes(self) -> int:
        """What a new process may still take."""
        return self.total_bytes - self.card.reserved_mib * MIB - self.used_bytes

    def advance(self, now: float) -> None:
        """Let load and temperature follow what went on since the last call."""
        elapsed = 0.0 if self._at_s is None else max(now - self._at_s, 0.0)
        self._at_s = now
        target = 1.0 if self.working else self._rest_level()
        self._level = target + (self._level - target) * exp(-elapsed / LEVEL_LAG_S)
        if self.card.celsius:
            rest, full = self.card.celsius
            heat = rest + (full - rest) * target
            before = rest if self._celsius is None else self._celsius
            self._celsius = heat + (before - heat) * exp(-elapsed / HEAT_LAG_S)

    def play(self, wanted_bytes: int, *, name: str = GAME) -> None:
        """Let a game run that wants so much memory; 0 ends it."""
        self.game = Game(name=name, wanted_bytes=wanted_bytes)
        self.feed_game()

    def feed_game(self) -> None:
        """Give the game what is free of what it wants still."""
        missing = self.game.wanted_bytes - self.game.size_bytes
        self.game.size_bytes += min(missing, max(self.free_bytes, 0))

    def _rest_level(self) -> float:
        if self.game.size_bytes:
            return PLAYING
        return 0.03 if self.desktop_bytes else 0.0

    def start_work(self, pid: int) -> None:
        """Let a process answer; the first time, kernels and pools of it grow."""
        held = self.held[pid]
        if not held.grown:
            held.grown = True
            held.size_bytes += min(self.card.growth_mib * MIB, max(self.free_bytes, 0))
        self.working.add(pid)

    def reading(self, now: float) -> GpuReading:
        """Tell what the driver would tell."""
        identity = {"uuid": self.uuid, "index": self.index, "name": self.card.name}
        if self.lost:
            return GpuReading(**identity, source="simulated", state="lost", reason=LOST_REASON)
        self.advance(now)
        reserved = None if self.card.unified else self.card.reserved_mib * MIB
        return GpuReading(
            **identity,
            pci_id=None if self.card.unified else f"00000000:{self.index + 1:02X}:00.0",
            source="simulated",
            unified=self.card.unified,
            memory_total_bytes=self.total_bytes,
            memory_used_bytes=self.used_bytes,
            memory_free_bytes=self.free_bytes,
            memory_reserved_bytes=reserved,
            processes=self._processes(),
            **self._sensors(now),
        )

    @property
    def uuid(self) -> str:
        """Made from the seed, in the form of a driver's."""
        text = blake2b(f"{self.seed}/{self.index}".encode(), digest_size=16).hexdigest()
        return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _sensors(self, now: float) -> dict[str, object]:
        """Read the sensors; a card without a driver has none."""
        card, level = self.card, self._level
        if not (card.celsius and card.watts and card.clock_mhz and card.memory_clock_mhz):
            return {}
        busy = level > 0.1  # noqa: PLR2004 - clocks rise with the first work
        watts = card.watts[0] + (card.watts[1] - card.watts[0]) * level
        watts += self._noise("watts", now) * (4 if busy else 0.8)
        clock = card.clock_mhz[busy] - (int(10 + 10 * self._noise("clock", now)) if busy else 0)
        return {
            "utilization_percent": self._utilization(now),
            "temperature_celsius": round(self._celsius or card.celsius[0]),
            "power_watts": round(max(watts, 1.0), 2),
            "power_limit_watts": card.limit_watts,
            "clock_graphics_mhz": clock,
            "clock_memory_mhz": card.memory_clock_mhz[busy],
            "throttle_reasons": () if busy else ("gpu_idle",),
        }

    def _utilization(self, now: float) -> int:
        wobble = 3 * abs(self._noise("load", now)) * (self._level > 0)
        return min(max(round(self._level * 98 - wobble), 0), 100)

    def _noise(self, what: str, now: float) -> float:
        """Give a number in -1 … 1 that changes each second and is the same in each run."""
        text = f"{self.seed}/{self.index}/{what}/{int(now)}".encode()
        return int.from_bytes(blake2b(text, digest_size=2).digest()) / 32767.5 - 1

    def _processes(self) -> tuple[GpuProcess, ...] | None:
        if self.card.unified:
            return None
        others = [(1400 + self.index, Held(size_bytes=self.desktop_bytes, name="Xorg"))]
        others += [(4200 + self.index, Held(size_bytes=self.game.size_bytes, name=self.game.name))]
        shown = [*(each for each in others if each[1].size_bytes), *self.held.items()]
        return tuple(
            GpuProcess(
                pid=pid,
                name=held.name,
                used_bytes=held.size_bytes,
                model=held.model,
                instance=None if held.is_orphan else held.server,
                is_orphan=held.is_orphan,
            )
            for pid, held in shown
        )
