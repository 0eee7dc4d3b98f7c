"""Which GPUs the catalog knows, found by the names that drivers give them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from labdash.catalog.files import read_json
from labdash.planner.memory.overhead import Vendor
from labdash.planner.speed import SpeedClass, prompt_tflops

GIB = 1 << 30
# Words of a driver's name that tell no two cards apart. "ti", "super", "ada", "laptop" do.
IDLE_WORDS = {
    "nvidia", "geforce", "amd", "ati", "radeon", "instinct", "tesla", "quadro", "intel", "apple",
    "corporation", "gpu", "graphics", "generation", "edition", "workstation",
}  # fmt: skip
WORD = re.compile(r"(?:rtx|gtx|rx)(?=\d)|[a-z]+\d*[a-z]*\d*|\d+[a-z]*")
SIZE = re.compile(r"(\d+)gb")
# The share of its memory that macOS lets a GPU have, between two thirds and 84 %.
USUAL_SHARE = 0.75
OLD_APPLE: dict[str, SpeedClass] = {"m1": "apple-m1", "m2": "apple-m2"}


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """``vram_gb`` lists the sizes that are sold with these facts; for ``unified`` the whole RAM.

    ``units`` are streaming multiprocessors of NVIDIA, compute units of AMD, Xe cores of Intel and
    GPU cores of Apple, whose chips of one name have up to ``units_most``. ``arch`` is NVIDIA's
    compute capability, AMD's gfx target, or the generation.
    """

    name: str
    vendor: Vendor
    vram_gb: tuple[float, ...]
    bandwidth_gbs: float
    units: int
    units_most: int
    arch: str
    memory: str
    laptop: bool
    unified: bool
    aliases: tuple[str, ...]

    @property
    def sm_count(self) -> int | None:
        """Streaming multiprocessors, None for what is no NVIDIA."""
        return self.units if self.vendor == "nvidia" else None

    @property
    def speed_class(self) -> SpeedClass:
        """Tell which of the measured efficiencies are this GPU's."""
        hbm = self.memory.startswith("HBM")
        if self.vendor == "nvidia":
            return "nvidia-hbm" if hbm else "nvidia-old" if self._is_before_turing else "nvidia"
        if self.vendor == "amd":
            return "amd-hbm" if hbm else "amd"
        return OLD_APPLE.get(self.arch, "apple") if self.vendor == "apple" else "intel"

    @property
    def prompt_tflops(self) -> tuple[float, float] | None:
        """Tell what it computes of a prompt, None where nothing like it was measured."""
        least, most = (prompt_tflops(self.arch, each) for each in (self.units, self.units_most))
        return (least[0], most[1]) if least and most else None

    @property
    def _is_before_turing(self) -> bool:
        return float(self.arch) < 7.5  # noqa: PLR2004 - Turing


@cache
def gpus() -> tuple[GpuFacts, ...]:
    """Return all GPUs of the catalog."""
    return tuple(_gpu(row) for row in read_json("gpus.json")["gpus"])


def find_gpu(name: str, total_bytes: int | None = None) -> GpuFacts | None:
    """Find a GPU by the name that NVML, sysfs or the system gives, None where it is not known.

    Where one name was sold with several memories and ``total_bytes`` is None, a size in the name
    decides, else the first that was sold.
    """
    words, size_gb = _words(name)
    found = _by_words().get(words, ())
    if total_bytes is not None:
        size_gb = total_bytes / GIB
    if size_gb is None or len(found) < 2:  # noqa: PLR2004 - nothing to choose between
        return next(iter(found), None)
    return min(found, key=lambda gpu: _distance(gpu, size_gb))


def _distance(gpu: GpuFacts, size_gb: float) -> float:
    """Tell how far a size is from the nearest that was sold."""
    share = USUAL_SHARE if gpu.unified else 1
    return min(abs(size_gb - sold * share) for sold in gpu.vram_gb)


def _words(name: str) -> tuple[frozenset[str], float | None]:
    """Split a name into the words that tell cards apart, and the size that it may state."""
    text = name.lower().replace("(r)", " ").replace("(tm)", " ")
    words = [word for word in WORD.findall(text) if word not in IDLE_WORDS]
    sizes = [match for word in words if (match := SIZE.fullmatch(word))]
    size_gb = float(sizes[0][1]) if sizes else None
    return frozenset(word for word in words if not SIZE.fullmatch(word)), size_gb


@cache
def _by_words() -> dict[frozenset[str], tuple[GpuFacts, ...]]:
    index: dict[frozenset[str], list[GpuFacts]] = {}
    for gpu in gpus():
        for words in {_words(name)[0] for name in (gpu.name, *gpu.aliases)}:
            index.setdefault(words, []).append(gpu)
    return {words: tuple(found) for words, found in index.items()}


def known_names() -> Iterable[str]:
    """Return the names of the catalog, for suggestions."""
    return dict.fromkeys(gpu.name for gpu in gpus())


def _gpu(row: dict[str, Any]) -> GpuFacts:
    return GpuFacts(
        name=row["name"],
        vendor=row["vendor"],
        vram_gb=tuple(row["vram_gb"]),
        bandwidth_gbs=row["bandwidth_gbs"],
        units=row["units"],
        units_most=row.get("units_most", row["units"]),
        arch=row["arch"],
        memory=row["memory"],
        laptop=row.get("laptop", False),
        unified=row.get("unified", False),
        aliases=tuple(row.get("aliases", ())),
    )
