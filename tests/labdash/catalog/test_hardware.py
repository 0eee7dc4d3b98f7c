"""What macOS lets a GPU use, against what llama.cpp logged on real Macs."""

import pytest

from labdash.catalog.gpus import find_gpu
from labdash.catalog.hardware import (
    GIB,
    HARDWARE,
    MAC_SIZES_GIB,
    MIB,
    SEEN_MAC_GIB,
    mac_limit_mib,
    mac_share_bytes,
)


@pytest.mark.parametrize(
    ("ram_gib", "logged_mib"),
    [(8, 5461.33), (16, 10922.67), (32, 21845.33), (64, 49152), (96, 73728), (192, 147456)],
)
def test_share_of_a_mac_is_what_was_logged(ram_gib: int, logged_mib: float) -> None:
    assert mac_share_bytes(ram_gib) / MIB == pytest.approx(logged_mib, abs=0.01)


def test_limit_leaves_macos_its_part() -> None:
    assert mac_limit_mib(64) == 56 * 1024
    assert [mac_limit_mib(size) for size in (8, 24)] == [None, None]


@pytest.mark.parametrize("ram_gib", MAC_SIZES_GIB)
def test_raised_limit_is_more_than_any_mac_of_that_size_gives_unasked(ram_gib: int) -> None:
    limit = mac_limit_mib(ram_gib)
    unasked = max(mac_share_bytes(ram_gib), SEEN_MAC_GIB.get(ram_gib, 0) * GIB)
    assert limit is None or unasked < limit * MIB <= (ram_gib - 4) * GIB


def test_every_machine_names_a_gpu_that_the_catalog_has() -> None:
    for each in HARDWARE:
        assert (find_gpu(each.gpu) is not None) == bool(each.gpu)
