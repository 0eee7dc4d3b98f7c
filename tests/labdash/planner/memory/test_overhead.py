"""What a process takes besides its buffers."""

import pytest

from labdash.planner.memory.overhead import MIB, Overhead, Vendor, driver_reserve, overhead_of

GIB = 1 << 30


@pytest.mark.parametrize(
    ("sm_count", "moe", "low_mib", "high_mib"),
    [
        # GTX 1660 SUPER: gpt-oss with a plain cache, Qwen3.6-35B-A3B.
        (22, False, 102, 104),
        (22, True, 116, 117),
        # RTX 3060: Qwen2.5-Coder 14B and 32B, deepseek-coder-v2 and Nemotron 3 Nano, Qwen3.6.
        (28, False, 129, 131),
        (28, True, 135, 148),
        (84, False, 297, 298),
    ],
)
def test_the_table_is_within_ten_mib_of_what_was_measured(
    sm_count: int, moe: bool, low_mib: int, high_mib: int
) -> None:
    overhead = overhead_of(vendor="nvidia", sm_count=sm_count, moe=moe)
    assert low_mib - 10 <= overhead.context_bytes / MIB <= high_mib + 10
    assert overhead.basis == "table"


def test_a_load_takes_more_than_the_bare_context_that_was_reported() -> None:
    contexts = {34: 107, 188: 555}
    for sm_count, bare_mib in contexts.items():
        taken = overhead_of(vendor="nvidia", sm_count=sm_count).context_bytes / MIB
        assert bare_mib < taken < bare_mib + 60


@pytest.mark.parametrize(("moe", "most_mib"), [(False, 22), (True, 48)])
def test_growth_in_use_is_the_most_that_was_seen(moe: bool, most_mib: int) -> None:
    assert overhead_of(vendor="nvidia", sm_count=28, moe=moe).growth_bytes == most_mib * MIB


@pytest.mark.parametrize("vendor", ["nvidia", "amd", "intel", "apple", None])
def test_a_gpu_that_nobody_measured_has_an_assumed_overhead(vendor: Vendor | None) -> None:
    overhead = overhead_of(vendor=vendor)
    assert overhead.basis == "unknown"
    assert 50 * MIB <= overhead.context_bytes <= 500 * MIB


def test_units_of_another_maker_are_not_taken_for_multiprocessors() -> None:
    assert overhead_of(vendor="amd", sm_count=96) == overhead_of(vendor="amd")


def test_what_was_learned_replaces_the_table() -> None:
    learned = Overhead(200 * MIB, 30 * MIB, "learned")
    assert overhead_of(vendor="nvidia", sm_count=28, learned=learned) is learned
    assert learned.bytes == 230 * MIB


@pytest.mark.parametrize(
    ("total_bytes", "vendor", "reserve_mib"),
    [
        (6 * GIB, "nvidia", 401),
        (12 * GIB, "nvidia", 401),
        (24 * GIB, "nvidia", 452),
        (24 * GIB, "amd", 0),
    ],
)
def test_the_driver_s_reserve_covers_what_was_seen(
    total_bytes: int, vendor: Vendor, reserve_mib: int
) -> None:
    assert driver_reserve(total_bytes, vendor) == reserve_mib * MIB
