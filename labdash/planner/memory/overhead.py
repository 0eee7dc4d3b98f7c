"""What a process takes of a GPU besides the buffers that it reports.

Measured as the driver's figure for the process less the buffers in its log, llama.cpp with CUDA:
GTX 1660 SUPER (22 multiprocessors) 102 to 104 MiB, RTX 3060 (28) 129 to 131, A40 (84) 297 to 298,
a card of 24 GB 309. Loads with experts took 6 to 18 MiB more. ``CONTEXT_MIB`` and ``UNIT_MIB`` are
a line through these, off by 10 MiB at most; on a card that was not measured expect 50 MiB. The bare
context, without what a load adds, was reported as 107 MiB on an RTX 4060 Ti (34) and 555 on an RTX
PRO 6000 (188), where the line gives 147 and 609.
"""

from dataclasses import dataclass
from typing import Literal

type Vendor = Literal["nvidia", "amd", "intel", "apple"]
type OverheadBasis = Literal["table", "learned", "unknown"]

MIB = 1 << 20
GIB = 1 << 30

CONTEXT_MIB = 45
UNIT_MIB = 3
EXPERTS_MIB = 15
# From "loaded" to "generating": 10 to 22 MiB for dense models, 30 to 48 with experts or a state.
GROWTH_MIB = 22
EXPERTS_GROWTH_MIB = 48
# Nobody measured these. NVIDIA without a count of multiprocessors: enough for any up to 85. ROCm is
# said to take 200 to 500, Vulkan and SYCL 50 to 150, Metal 50 to 100 inside the shared memory.
ASSUMED_MIB: dict[Vendor | None, int] = {
    "nvidia": 300,
    "amd": 350,
    "intel": 150,
    "apple": 100,
    None: 300,
}
# What NVIDIA's driver keeps of an idle card: 377 to 381 of 12288 MiB (RTX 3060), 401 of 6144
# (GTX 1660 SUPER), 452 of 24576 (RTX 3090).
SMALL_CARD_BYTES = 16 * GIB
SMALL_CARD_RESERVE_MIB = 401
RESERVE_MIB = 452


@dataclass(frozen=True, slots=True)
class Overhead:
    """``context_bytes`` once loaded, ``growth_bytes`` more in use.

    ``basis`` is "table" where cards of this kind were measured, "learned" from loads seen in this
    lab, "unknown" where a figure is assumed that nobody measured.
    """

    context_bytes: int
    growth_bytes: int
    basis: OverheadBasis

    @property
    def bytes(self) -> int:
        """Everything beside the buffers of a model in use."""
        return self.context_bytes + self.growth_bytes


def overhead_of(
    *,
    vendor: Vendor | None = None,
    sm_count: int | None = None,
    moe: bool = False,
    learned: Overhead | None = None,
) -> Overhead:
    """Tell the overhead of one process on one GPU. What was learned replaces the table.

    ``sm_count`` counts NVIDIA's multiprocessors; without one a figure for ``vendor`` is assumed.
    ``moe`` where the model has experts or a recurrent state.
    """
    if learned is not None:
        return learned
    growth = (EXPERTS_GROWTH_MIB if moe else GROWTH_MIB) * MIB
    if sm_count is None or vendor not in ("nvidia", None):
        return Overhead(ASSUMED_MIB[vendor] * MIB, growth, "unknown")
    context = CONTEXT_MIB + UNIT_MIB * sm_count + (EXPERTS_MIB if moe else 0)
    return Overhead(context * MIB, growth, "table")


def driver_reserve(total_bytes: int, vendor: Vendor | None = "nvidia") -> int:
    """Tell what a driver keeps of a card, for where its total but not its free memory is known.

    None of the other makers' drivers was seen to keep anything.
    """
    if vendor not in ("nvidia", None):
        return 0
    return (SMALL_CARD_RESERVE_MIB if total_bytes <= SMALL_CARD_BYTES else RESERVE_MIB) * MIB
