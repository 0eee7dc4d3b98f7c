"""What an estimate says: bytes by device and by kind, and how each part is known."""

from dataclasses import dataclass
from typing import Literal

# "exact" follows from the tensor list, "simulated" from replaying the allocator, "modelled" from
# a formula, "table" from measured constants, "learned" from loads seen here.
type Basis = Literal["exact", "rules", "simulated", "modelled", "table", "learned", "unknown"]


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """``layers`` counts the output layer too. ``short_bytes`` is None where no size was given."""

    name: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int
    layers: int
    short_bytes: int | None
    images_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Everything that the engine takes of this GPU."""
        return self.weights_bytes + self.kv_bytes + self.beside_bytes

    @property
    def beside_bytes(self) -> int:
        """Everything but weights and cache."""
        return self.compute_bytes + self.overhead_bytes + self.images_bytes


@dataclass(frozen=True, slots=True)
class HostUse:
    """RAM of the engine: the weights of the host's layers and of the token table among it."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    output_bytes: int
    images_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Everything that the engine takes of the RAM."""
        computed = self.compute_bytes + self.output_bytes
        return self.weights_bytes + self.kv_bytes + computed + self.images_bytes


@dataclass(frozen=True, slots=True)
class Bases:
    """How each part of an estimate is known."""

    weights: Basis
    kv: Basis
    compute: Basis
    overhead: Basis


@dataclass(frozen=True, slots=True)
class Estimate:
    """One entry in ``devices`` for each GPU, in order. ``fits`` is None without GPU sizes."""

    devices: tuple[DeviceUse, ...]
    host: HostUse
    ctx: int
    fits: bool | None
    basis: Bases
    warnings: tuple[str, ...]
