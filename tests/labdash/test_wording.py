"""Numbers in sentences."""

import pytest

from labdash.wording import age, gib


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86399, "23 h"),
        (86400, "a day"),
        (3 * 86400 + 5, "3 days"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_bytes_are_told_in_gib() -> None:
    assert (gib(0), gib(2**30 * 3 // 2)) == ("0.0 GiB", "1.5 GiB")
