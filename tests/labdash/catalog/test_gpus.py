"""The catalog's GPUs: complete, and found by the names that drivers give."""

import pytest

from labdash.catalog.files import read_json
from labdash.catalog.gpus import GpuFacts, find_gpu, gpus
from labdash.planner.speed import RATES

GIB = 1 << 30


def is_odd(gpu: GpuFacts) -> bool:
    """Whether a fact of a GPU is missing or cannot be."""
    return not (
        gpu.vendor in read_json("gpus.json")["sources"]
        and all(1 <= size <= 512 for size in gpu.vram_gb)
        and 60 <= gpu.bandwidth_gbs <= 8000
        and 1 <= gpu.units <= gpu.units_most <= 304
        and gpu.laptop == ("Laptop" in gpu.name)
        and gpu.speed_class in RATES
    )


def test_each_gpu_has_its_facts_and_a_source() -> None:
    assert [gpu.name for gpu in gpus() if is_odd(gpu)] == []


def test_each_name_and_size_finds_its_own_gpu() -> None:
    wrong = [
        (name, size)
        for gpu in gpus()
        for name in (gpu.name, *gpu.aliases)
        for size in gpu.vram_gb
        if find_gpu(name, round(size * (0.75 if gpu.unified else 1) * GIB)) != gpu
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "bandwidth_gbs", "sm_count"),
    [
        ("NVIDIA GeForce RTX 3090", 936, 82),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 256, 24),
        ("NVIDIA GeForce RTX 4060", 272, 24),
        ("NVIDIA GeForce RTX 3060 Ti", 448, 38),
        ("GeForce RTX 2080 Ti", 616, 68),
        ("Tesla P40", 347, 30),
        ("Tesla V100-SXM2-32GB", 900, 80),
        ("NVIDIA A100-SXM4-80GB", 2039, 108),
        ("NVIDIA A100-PCIE-40GB", 1555, 108),
        ("NVIDIA H100 80GB HBM3", 3350, 132),
        ("NVIDIA RTX A6000", 768, 84),
        ("NVIDIA RTX 6000 Ada Generation", 960, 142),
        ("Quadro RTX 6000", 672, 72),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1792, 188),
        ("AMD Radeon RX 7900 XTX", 960, None),
        ("AMD Radeon RX 7900 XT", 800, None),
        ("Intel(R) Arc(TM) B580 Graphics", 456, None),
        ("Apple M2 Ultra", 800, None),
    ],
)
def test_a_driver_s_name_finds_the_gpu(
    name: str, bandwidth_gbs: float, sm_count: int | None
) -> None:
    gpu = find_gpu(name)
    assert gpu is not None
    assert (gpu.bandwidth_gbs, gpu.sm_count) == (bandwidth_gbs, sm_count)


@pytest.mark.parametrize(
    ("name", "total_gib", "bandwidth_gbs"),
    [
        ("NVIDIA GeForce RTX 3060", 12.0, 360),
        ("NVIDIA GeForce RTX 3060", 8.0, 240),
        ("NVIDIA GeForce RTX 3060", None, 360),
        # What CUDA shows of a card is less than what is printed on it.
        ("NVIDIA GeForce RTX 3080", 11.7, 912),
        ("NVIDIA GeForce RTX 3080", 9.6, 760),
        ("Apple M3 Max", 27.0, 300),
        ("Apple M3 Max", 96.0, 400),
    ],
)
def test_the_memory_tells_cards_of_one_name_apart(
    name: str, total_gib: float | None, bandwidth_gbs: float
) -> None:
    gpu = find_gpu(name, None if total_gib is None else round(total_gib * GIB))
    assert gpu is not None
    assert gpu.bandwidth_gbs == bandwidth_gbs


@pytest.mark.parametrize(
    "name", ["", "AMD GPU", "NVIDIA Graphics Device", "NVIDIA GeForce RTX 9999", "RTX 4060 Mobile"]
)
def test_an_unknown_name_finds_nothing(name: str) -> None:
    assert find_gpu(name, 24 * GIB) is None
