"""Durations and moments as Go has them."""

import pytest

from workers.simlab.ollama.gotime import (
    FOREVER_NS,
    SECOND_NS,
    DurationError,
    keep_alive_ns,
    rfc3339,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5m", 300), ("1h30m", 5400), (300, 300), (0.5, 0.5), ("1.5s", 1.5), (0, 0), ("0", 0)],
)
def test_keep_alive_is_seconds_or_a_duration(value: object, seconds: float) -> None:
    assert keep_alive_ns(value) == int(seconds * SECOND_NS)


@pytest.mark.parametrize("value", [-1, "-1m", -0.5])
def test_a_negative_keep_alive_means_for_ever(value: object) -> None:
    assert keep_alive_ns(value) == FOREVER_NS


def test_no_keep_alive_says_nothing() -> None:
    assert keep_alive_ns(None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("300", 'time: missing unit in duration "300"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        (True, "Unsupported type: 'bool'"),
    ],
)
def test_a_bad_keep_alive_has_the_text_of_go(value: object, text: str) -> None:
    with pytest.raises(DurationError) as caught:
        keep_alive_ns(value)
    assert str(caught.value) == text


def test_a_moment_loses_its_trailing_zeros_only() -> None:
    assert rfc3339(1_795_590_801_018_416_320) == "2026-11-25T07:13:21.01841632Z"
    assert rfc3339(1_795_590_801_000_000_000) == "2026-11-25T07:13:21Z"
