"""What the planner answers: placements, refusals, and how far from the best they can be."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from labdash.planner.lab import Deployment, Variant

type Form = Literal["gpu", "gpus", "partial", "cpu"]
type Status = Literal["optimal", "feasible", "infeasible"]
# What binds: "gpu" memory of one card or of an instance's cards, "ram", "disk", "speed" below the
# least wanted, "runner" (one for a file and instance), "eviction" (Ollama would unload a planned
# resident), "apart", "pin", "nodes" (none is named so, or all are away), "instance" (KV type or
# slots that no instance has), "context" (beyond what the model was trained with), "quant" (no
# file of such a quant is known), "model" (not known), "lost" (others of higher standing took it).
type Limit = Literal[
    "gpu", "ram", "disk", "speed", "runner", "eviction", "apart", "pin", "nodes", "instance",
    "context", "quant", "model", "lost",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to serve a deployment: a variant at a context, on devices of an instance.

    ``num_gpu`` and ``main_gpu`` are Ollama's options, None where they stay unset; ``main_gpu``
    counts as the instance does. ``layers`` and ``bytes`` are by device, ``rog/cpu`` for the host;
    ``bytes`` of GPUs include the overhead of the process. ``predicted_bytes`` is what Ollama
    itself takes the model for, by which it evicts. ``margin_bytes`` is what the engine wants free
    on each GPU after the load, or else it moves layers to the CPU. ``ctx`` is of one slot.
    ``tokens_per_s`` is None where a bandwidth is unknown. ``moved_bytes`` are weights that leave
    the place where they run now for this one. ``cpu_experts`` are those of the host's layers of
    which only the experts are there, while a GPU has all else, the cache among it.
    """

    variant: Variant
    node: str
    instance: str
    form: Form
    ctx: int
    parallel: int
    kv_type: str
    flash_attn: bool
    num_batch: int
    num_gpu: int | None
    main_gpu: int | None
    layers: Mapping[str, int]
    bytes: Mapping[str, int]
    host_bytes: int
    predicted_bytes: int
    margin_bytes: int
    tokens_per_s: float | None
    download_bytes: int
    moved_bytes: int = 0
    cpu_experts: int = 0

    @cached_property
    def cpu_layers(self) -> int:
        """Layers that the host computes."""
        return sum(n for device, n in self.layers.items() if device.endswith("/cpu"))

    @cached_property
    def gpu_devices(self) -> tuple[str, ...]:
        """GPUs that hold a part of it."""
        return tuple(each for each in self.bytes if not each.endswith("/cpu"))

    @cached_property
    def gpu_bytes(self) -> Mapping[int, int]:
        """What it holds of each GPU, by its number on the node."""
        return {int(each.rpartition("/")[2]): self.bytes[each] for each in self.gpu_devices}

    @property
    def on_gpus_bytes(self) -> int:
        """What all GPUs hold of it together."""
        return sum(self.gpu_bytes.values())

    @property
    def taken_bytes(self) -> int:
        """What it takes of GPUs and RAM together."""
        return self.on_gpus_bytes + self.host_bytes

    @cached_property
    def devices(self) -> frozenset[str]:
        """All devices that hold layers."""
        return frozenset(device for device, count in self.layers.items() if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """``replica`` counts from 0. ``load_order`` counts from 1 on each instance, residents first.

    ``shares`` names the deployment whose runner serves this one too. ``given_up`` are those of
    the ``reasons`` that say why it has less than was wished.
    """

    deployment: Deployment
    replica: int
    choice: Choice
    load_order: int
    reasons: tuple[str, ...] = ()
    shares: str | None = None
    given_up: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """A change after which the refused deployment would fit; ``text`` says it in one sentence.

    ``ctx`` is the context that goes with a quant, where it is below what was asked for.
    ``at_server``: not the deployment is to be changed, but a server's environment or its files.
    """

    kind: Literal[
        "ctx", "quant", "offload", "kv_type", "end", "speed", "where", "instance", "apart", "disk"
    ]
    text: str
    value: str | int | None = None
    ctx: int | None = None
    at_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """``short_bytes`` is what is missing on the best place, None where memory does not bind."""

    deployment: Deployment
    replica: int
    limit: Limit
    text: str
    short_bytes: int | None = None
    nearest: tuple[WayOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Lines for the environment of an instance, or a second one, and what they would allow.

    ``lines`` are as they are to be written, ``gains`` a sentence for each deployment that gains,
    ``losses`` one for each that loses something, whether or not it gains something else.
    """

    instance: str
    kind: Literal["environment", "second instance"]
    lines: tuple[str, ...]
    gains: tuple[str, ...]
    text: str
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A difference between what runs now and the plan. ``bytes`` are downloaded or loaded."""

    kind: Literal["pull", "load", "unload", "change"]
    deployment: str | None
    instance: str
    model: str
    bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLoad:
    """``planned_bytes``: residents, and the largest of the on-demand ones that can meet there.

    ``reserved_bytes`` are no room for plans: what others hold and what the owner keeps.
    """

    node: str
    device: str
    total_bytes: int | None
    reserved_bytes: int
    planned_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Compared in this order, greater is better: see ``planner/score.py``."""

    served: tuple[int, ...]
    cpu_layers: int
    value: float
    moved_bytes: int

    @property
    def key(self) -> tuple[float, ...]:
        """Return it as one tuple of numbers, each greater where better."""
        return (*self.served, -self.cpu_layers, self.value, -self.moved_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproved:
    """The first part of the score of which a plan may not have the best.

    ``got`` deployments of a ``priority`` are served, where up to ``bound`` might be; or as many
    layers are on the CPU, where as few as ``bound`` might do.
    """

    part: Literal["served", "cpu"]
    got: int
    bound: int
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``gap`` is None while the first two parts of the score are not proved to be the best.

    ``unproved`` tells how far those may be from it then, None where nobody looked.
    ``limited_by`` is "time" where the clock ended the search, so that it may end elsewhere again.
    """

    status: Status
    score: Score
    gap: float | None
    placements: tuple[Placement, ...]
    refusals: tuple[Refusal, ...]
    devices: tuple[DeviceLoad, ...]
    proposals: tuple[Proposal, ...] = ()
    moves: tuple[Move, ...] = ()
    warnings: tuple[str, ...] = ()
    limited_by: Literal["time"] | None = None
    unproved: Unproved | None = None
