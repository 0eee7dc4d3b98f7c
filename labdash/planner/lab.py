"""What the planner is given: the machines as they are, and what is wanted of them.

All sizes are bytes. Devices are written ``rog/0`` for a GPU and ``rog/cpu`` for RAM.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

from labdash.planner.memory.overhead import Overhead, Vendor
from labdash.planner.model import Model
from labdash.planner.speed import SpeedClass

type Residency = Literal["resident", "on-demand"]
type Prefer = Literal["quality", "context", "speed"]
type Yields = Literal["ctx", "quant", "offload"]

CPU = "cpu"
USUAL_PRIORITY = 3
USUAL_ORDER: tuple[Yields, ...] = ("ctx", "quant", "offload")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU. ``index`` is its number on the node.

    ``used_bytes`` is held by what the plan does not place: the driver, a desktop, other programs.
    ``reserve_bytes`` is kept free for the owner, ``margin_bytes`` for safety, ``None`` for what
    the engine keeps itself. ``learned`` is what loads on such a card were seen to take beside
    their buffers. ``doubt`` says why ``used_bytes`` is a guess.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int = 0
    reserve_bytes: int = 0
    margin_bytes: int | None = None
    vendor: Vendor | None = None
    sm_count: int | None = None
    speed_class: SpeedClass = "nvidia"
    bandwidth_gbs: float | None = None
    learned: Overhead | None = None
    doubt: str = ""

    @property
    def room_bytes(self) -> int:
        """What planned models may take, the margin among it."""
        return max(0, self.total_bytes - self.used_bytes - self.reserve_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model in memory now. ``gpu_bytes`` by the node's GPU, empty where nothing measures it.

    ``stays``: it was loaded to stay, and does not go by itself after a while.
    """

    name: str
    ctx: int | None
    gpu_bytes: Mapping[int, int] = field(default_factory=dict)
    stays: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One Ollama server. ``gpus`` are the node's GPUs that it sees, in its own order.

    ``version`` is None where nobody knows it, ``build`` the llama.cpp that is taken for it.
    ``installed`` are names as Ollama lists them; ``blobs`` gives the digest of the weights of
    those whose digest is known, ``file_bytes`` what those take on the disk of which it is known.
    """

    name: str
    version: str | None
    build: int
    gpus: tuple[int, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    installed: tuple[str, ...] = ()
    blobs: Mapping[str, str] = field(default_factory=dict)
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    running: tuple[Running, ...] = ()
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine. RAM, its bandwidth and disk are None where unknown: no limit and no promise.

    ``unified``: its one GPU's memory is a part of the RAM, of which ``cards[0].total_bytes`` is
    what the GPU may use. ``away`` says why nothing can be planned on it, empty where it can,
    ``doubt`` why ``ram_used_bytes`` is a guess.
    """

    name: str
    tags: tuple[str, ...] = ()
    kind: Literal["linux", "windows", "mac"] = "linux"
    ram_bytes: int | None = None
    ram_used_bytes: int = 0
    ram_gbs: float | None = None
    disk_free_bytes: int | None = None
    unified: bool = False
    agentless: bool = False
    away: str = ""
    doubt: str = ""
    cards: tuple[Card, ...] = ()
    instances: tuple[Instance, ...] = ()

    @property
    def ram_room_bytes(self) -> int | None:
        """RAM that planned models may take; of a unified node their GPU's part among it."""
        return None if self.ram_bytes is None else max(0, self.ram_bytes - self.ram_used_bytes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Variant:
    """One file of weights that a deployment may be served with.

    ``name`` is what to pull: ``qwen3:14b-q8_0``. ``names`` are all under which it may be
    installed, ``digest`` that of its weights where known. ``loss`` is the mean KL divergence from
    F16, None where nobody measured the quant. ``file_bytes`` is what a pull fetches, None where
    unknown. ``guessed``: nobody has seen that it is published under ``name``.
    ``projector_bytes`` are loaded on the first GPU beside it. ``assumed`` says what of all this
    nobody measured, in sentences.
    """

    name: str
    quant: str
    model: Model
    file_bytes: int | None
    names: frozenset[str] = frozenset()
    digest: str | None = None
    loss: float | None = None
    guessed: bool = False
    embedding: bool = False
    vision: bool = False
    projector_bytes: int = 0
    assumed: tuple[str, ...] = ()

    @cached_property
    def bits_per_weight(self) -> float:
        """Bits of an average weight."""
        elements = sum(prod(tensor.shape) for tensor in self.model.tensors)
        return 8 * self.model.weight_bytes / elements if elements else 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Deployment:
    """What the user wants served.

    ``variants`` go from the wished quant to the floor. ``ctx`` is of one slot. ``nodes`` holds
    names of nodes and tags, empty for anywhere. ``pin`` is a device. ``keep_apart`` names
    deployments that share no device with this one. ``parallel`` and ``kv_types`` are demanded of
    the instance, None for as it is. ``give_way`` lists what shrinks first. ``same_name``: its
    options are put on the model's own name instead of an alias. ``unknown``: nobody knows the
    model, or such a quant of it, so that there are no variants; ``unknown_text`` says it.
    """

    name: str
    model: str
    variants: tuple[Variant, ...]
    ctx_floor: int
    ctx_wish: int
    parallel: int | None = None
    kv_types: tuple[str, ...] | None = None
    priority: int = USUAL_PRIORITY
    prefer: Prefer = "quality"
    residency: Residency = "resident"
    offload_allowed: bool = False
    replicas: int = 1
    nodes: frozenset[str] = frozenset()
    pin: str | None = None
    keep_apart: frozenset[str] = frozenset()
    min_tokens_per_s: float | None = None
    give_way: tuple[Yields, ...] = USUAL_ORDER
    same_name: bool = False
    unknown: Literal["model", "quant"] | None = None
    unknown_text: str = ""

    @property
    def resident(self) -> bool:
        """Whether it stays in memory."""
        return self.residency == "resident"


@dataclass(frozen=True, eq=False, kw_only=True)
class Lab:
    """Everything that a plan follows from."""

    nodes: tuple[Node, ...]
    deployments: tuple[Deployment, ...]

    @cached_property
    def homes(self) -> Mapping[str, tuple[Node, Instance]]:
        """Instances by name, with their nodes."""
        return {each.name: (node, each) for node in self.nodes for each in node.instances}
