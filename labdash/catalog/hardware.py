"""Machines that people have at home, for tables of what runs where; what a Mac may use."""

from dataclasses import dataclass
from typing import Literal

type Kind = Literal["cards", "mac", "ram", "phone"]

GIB = 1 << 30
MIB = 1 << 20
TIMES = "\u00d7"
# llama.cpp logs recommendedMaxWorkingSetSize: 10,922.67 of 16 GiB and 21,845 of 32 GiB on M1 and
# M2 (ollama #434, llama.cpp #2011), 49,152 MiB of 64 and 73,728 of 96 (llama.cpp #1870, #3213).
SMALL_MAC_GIB = 32
# 5,461.34 MiB of 8 GiB on an M2 (chatglm.cpp #76). Newer chips and macOS give more: of 16 GiB an
# M3 11.84 (llmfit #754), yet an M4 10.67 (exo #1672); 17.76 of 24, 107.52 of 128 (ds4 #893).
SEEN_MAC_GIB = {16: 11.84, 24: 17.76, 128: 107.52}
# What macOS needs beside a GPU that may use all the rest: on a small Mac what the system alone
# holds, on others programs too. Of 64 GiB it was seen to keep 6 whatever was asked (omlx #1533).
LEFT_FOR_MACOS_GIB = 8
LEFT_ON_SMALL_GIB = 4
MAC_SIZES_GIB = (8, 16, 24, 32, 36, 48, 64, 96, 128, 192)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A machine. ``gpu`` is a name of the catalog, empty for none; ``gpu_gb`` the size of one.

    ``ram_gbs`` is what its RAM reads in GB/s, None where home machines differ too much to say.
    ``plain`` is the chip that a short name would mean, which was not sold with so much RAM.
    """

    key: str
    label: str
    kind: Kind = "cards"
    gpu: str = ""
    gpu_gb: int = 0
    count: int = 1
    ram_gib: int = 32
    ram_gbs: tuple[float, float] | None = None
    plain: str = ""


# RAM of a mini-PC: one channel of DDR4-3200 to two of DDR5-5600. RAM of a phone: LPDDR4X and
# LPDDR5X, 64 bits wide.
MINI_PC_GBS = (25.6, 89.6)
PHONE_GBS = (34.1, 68.3)

HARDWARE: tuple[Hardware, ...] = (
    Hardware(key="rtx-4060", label="RTX 4060, 8 GB", gpu="RTX 4060", gpu_gb=8),
    Hardware(key="rtx-3080", label="RTX 3080, 10 GB", gpu="RTX 3080", gpu_gb=10),
    Hardware(key="rtx-3060", label="RTX 3060, 12 GB", gpu="RTX 3060", gpu_gb=12),
    Hardware(key="rtx-3090", label="RTX 3090, 24 GB", gpu="RTX 3090", gpu_gb=24, ram_gib=64),
    Hardware(key="rtx-4090", label="RTX 4090, 24 GB", gpu="RTX 4090", gpu_gb=24, ram_gib=64),
    Hardware(key="rtx-5090", label="RTX 5090, 32 GB", gpu="RTX 5090", gpu_gb=32, ram_gib=64),
    Hardware(
        key="2-rtx-3090",
        label=f"2 {TIMES} RTX 3090, 24 GB",
        gpu="RTX 3090",
        gpu_gb=24,
        count=2,
        ram_gib=64,
    ),
    Hardware(
        key="2-p40",
        label=f"2 {TIMES} Tesla P40, 24 GB",
        gpu="Tesla P40",
        gpu_gb=24,
        count=2,
        ram_gib=64,
    ),
    Hardware(
        key="m2-32",
        label="Mac M2 Pro, 32 GB",
        kind="mac",
        gpu="Apple M2 Pro",
        ram_gib=32,
        plain="Apple M2",
    ),
    Hardware(
        key="m3-max-64", label="Mac M3 Max, 64 GB", kind="mac", gpu="Apple M3 Max", ram_gib=64
    ),
    Hardware(
        key="m4-max-64", label="Mac M4 Max, 64 GB", kind="mac", gpu="Apple M4 Max", ram_gib=64
    ),
    Hardware(key="mini-pc", label="Mini-PC, 32 GB, no GPU", kind="ram", ram_gbs=MINI_PC_GBS),
    Hardware(key="phone-6", label="Phone, 6 GB", kind="phone", ram_gib=6, ram_gbs=PHONE_GBS),
    Hardware(key="phone-8", label="Phone, 8 GB", kind="phone", ram_gib=8, ram_gbs=PHONE_GBS),
)
# Nobody says what an app may hold: systems end what takes about half of the RAM.
PHONE_SHARE = 0.5
# Windows or Linux with a desktop.
PC_SYSTEM_BYTES = 4 * GIB


def mac_share_bytes(ram_gib: float) -> int:
    """Tell what macOS lets a GPU use of the RAM where nobody raised it."""
    share = 2 / 3 if ram_gib <= SMALL_MAC_GIB else 3 / 4
    return round(ram_gib * GIB * share)


def mac_limit_mib(ram_gib: int) -> int | None:
    """Tell what ``iogpu.wired_limit_mb`` may be raised to, None where nothing is to be gained."""
    kept = LEFT_ON_SMALL_GIB if ram_gib <= SMALL_MAC_GIB / 2 else LEFT_FOR_MACOS_GIB
    limit_mib = (ram_gib - kept) * 1024
    usual_bytes = max(mac_share_bytes(ram_gib), SEEN_MAC_GIB.get(ram_gib, 0) * GIB)
    return limit_mib if limit_mib * MIB > usual_bytes else None
