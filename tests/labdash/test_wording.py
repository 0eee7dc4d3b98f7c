"""Numbers in sentences."""

import pytest

from labdash.wording import GIB, MIB, age, lasted, size, speed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86399, "23 h"),
        (86400, "1 day"),
        (3 * 86400 + 5, "3 days"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-0.4, "0 s"), (0, "0 s"), (34.6, "34 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h")],
)
def test_a_span_that_lasts_is_told_in_seconds_below_a_minute(seconds: float, text: str) -> None:
    assert lasted(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 MiB"),
        (43 * MIB, "43 MiB"),
        (18.85 * GIB, "18.9 GiB"),
        (99.9 * GIB, "99.9 GiB"),
        (310.4 * GIB, "310 GiB"),
        (1.24 * 1024 * GIB, "1.2 TiB"),
    ],
)
def test_size_has_the_unit_that_suits(size_bytes: float, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("bytes_per_s", "text"),
    [(0.5 * MIB, "0.5 MiB/s"), (9.6 * MIB, "10 MiB/s"), (112.3 * MIB, "112 MiB/s")],
)
def test_speed_has_the_unit_of_sizes(bytes_per_s: float, text: str) -> None:
    assert speed(bytes_per_s) == text
