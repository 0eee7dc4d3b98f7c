"""What a lab's file says, as it is written there: machines as they are, and what is wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from labdash.planner.lab import USUAL_PRIORITY, Prefer, Residency, Yields
from labdash.queries.lab_schedules import ScheduleEntry

type Kind = Literal["linux", "windows", "mac"]

KINDS: tuple[Kind, ...] = ("linux", "windows", "mac")
DEFAULT_URL = "http://127.0.0.1:11434"


@dataclass(frozen=True, kw_only=True)
class GpuEntry:
    """A card. ``used_bytes`` is None where nobody said what other programs hold."""

    name: str
    vram_bytes: int | None
    used_bytes: int | None = None
    reserve_bytes: int = 0
    margin_bytes: int | None = None
    bandwidth_gbs: float | None = None
    sm_count: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoadedEntry:
    """A model in memory. ``gpu_bytes`` are in the order of the instance's GPUs."""

    model: str
    ctx: int | None = None
    gpu_bytes: tuple[int, ...] = ()
    stays: bool = True


@dataclass(frozen=True, kw_only=True)
class InstanceEntry:
    """An Ollama server. ``gpus`` is None for all of the node."""

    name: str
    url: str = DEFAULT_URL
    ollama: str | None = None
    gpus: tuple[int, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    installed: tuple[str, ...] = ()
    loaded: tuple[LoadedEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NodeEntry:
    """A machine. ``gpu_share_bytes`` is set where its GPU's memory is a part of the RAM."""

    name: str
    tags: tuple[str, ...] = ()
    kind: Kind = "linux"
    ram_bytes: int | None = None
    ram_used_bytes: int | None = None
    ram_gbs: float | None = None
    disk_free_bytes: int | None = None
    asleep: bool = False
    agentless: bool = False
    gpu_share_bytes: int | None = None
    gpus: tuple[GpuEntry, ...] = ()
    instances: tuple[InstanceEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A deployment. Quants that are empty and contexts that are None were left out."""

    name: str
    model: str
    quant_floor: str = ""
    quant_wish: str = ""
    ctx_floor: int | None = None
    ctx_wish: int | None = None
    parallel: int | None = None
    kv_types: tuple[str, ...] = ()
    priority: int = USUAL_PRIORITY
    prefer: Prefer = "quality"
    residency: Residency = "resident"
    offload_allowed: bool = False
    replicas: int = 1
    nodes: tuple[str, ...] = ()
    pin: str | None = None
    keep_apart: tuple[str, ...] = ()
    min_tokens_per_s: float | None = None
    give_way: tuple[Yields, ...] = ()
    same_name: bool = False


@dataclass(frozen=True, kw_only=True)
class LabEntries:
    """A whole file."""

    nodes: tuple[NodeEntry, ...] = ()
    deployments: tuple[Wanted, ...] = ()
    schedules: tuple[ScheduleEntry, ...] = ()
