"""What macOS lets a GPU use, against what llama.cpp logged on real Macs."""

import pytest

from labdash.catalog.gpus import find_gpu
from labdash.catalog.hardware import GIB, HARDWARE, MIB, mac_limit_mib, mac_share_bytes


@pytest.mark.parametrize(
    ("ram_gib", "logged_mib"),
    [(8, 5461.33), (16, 10922.67), (32, 21845.33), (64, 49152), (96, 73728), (192, 147456)],
)
def test_share_of_a_mac_is_what_was_logged(ram_gib: int, logged_mib: float) -> None:
    assert mac_share_bytes(ram_gib) / MIB == pytest.approx(logged_mib, abs=0.01)


def test_limit_leaves_macos_its_part_and_is_no_less_than_the_share() -> None:
    assert mac_limit_mib(64) == 56 * 1024
    assert mac_limit_mib(8) is None
    for size in (16, 32, 36, 48, 128):
        limit = mac_limit_mib(size)
        assert limit is None or mac_share_bytes(size) < limit * MIB <= (size - 5) * GIB


def test_every_machine_names_a_gpu_that_the_catalog_has() -> None:
    for each in HARDWARE:
        assert (find_gpu(each.gpu) is not None) == bool(each.gpu)
