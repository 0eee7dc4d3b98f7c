"""Limits by the clock, and the turns by which they hold."""

from datetime import UTC, datetime, time

import pytest

from labdash.models import Instance, Node, PullJob
from labdash.queries.limits import Limits, told
from labdash.queries.pacing import (
    CYCLE_S,
    LEAST_TURN_S,
    LONGEST_REST_S,
    SpeedWindow,
    Turn,
    limit_at,
    read_windows,
    rest_s,
    share_of,
    write_windows,
)

MB = 10**6
NIGHT = SpeedWindow(days=frozenset({4}), begins=time(22), ends=time(6), bytes_per_s=None)
WORK = SpeedWindow(days=frozenset(range(5)), begins=time(9), ends=time(17), bytes_per_s=MB)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Return a moment of a week whose Monday is the 23rd."""
    return datetime(2026, 11, 23 + day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "limit"),
    [
        (at(0, 8, 59), 5 * MB),
        (at(0, 9), MB),
        (at(0, 17), 5 * MB),
        (at(5, 12), 5 * MB),
        (at(4, 21, 59), 5 * MB),
        (at(4, 22), None),
        (at(5, 5, 59), None),
        (at(5, 6), 5 * MB),
        (at(5, 22), 5 * MB),
    ],
)
def test_a_limit_goes_by_the_clock_and_over_midnight(moment: datetime, limit: int | None) -> None:
    assert limit_at(moment, bytes_per_s=5 * MB, windows=(NIGHT, WORK)) == limit


def test_of_open_windows_the_lowest_limit_holds() -> None:
    none = SpeedWindow(days=frozenset({0}), begins=time(0), ends=time(0), bytes_per_s=0)
    assert limit_at(at(0, 10), bytes_per_s=None, windows=(WORK, none)) == 0


def test_windows_are_read_as_they_were_written_and_nonsense_is_left_out() -> None:
    stored = write_windows((NIGHT, WORK))
    assert read_windows(stored) == (NIGHT, WORK)
    assert read_windows([{"days": 3}, "x", {**stored[0], "from": "25:00"}]) == ()
    assert read_windows("x") == ()


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_there_are_no_turns(limit: int | None) -> None:
    assert rest_s(Turn(age_s=60, arrived_bytes=10**12), limit=limit) == 0


def test_a_pull_below_its_limit_never_rests() -> None:
    assert rest_s(Turn(age_s=CYCLE_S + 1, arrived_bytes=int(MB * CYCLE_S) - 1), limit=MB) == 0


@pytest.mark.parametrize("speed", [1.1, 2, 10, 29])
def test_turns_and_rests_make_the_mean(speed: float) -> None:
    age_s = CYCLE_S / speed
    arrived = int(speed * MB * age_s) + 1
    rest = rest_s(Turn(age_s=age_s, arrived_bytes=arrived), limit=MB)
    assert arrived / (age_s + rest) == pytest.approx(MB, rel=0.01)


def test_no_turn_is_too_short_and_no_rest_outlives_what_ollama_keeps() -> None:
    fast = 1000 * MB
    assert rest_s(Turn(age_s=LEAST_TURN_S - 1, arrived_bytes=19 * fast), limit=MB) == 0
    assert rest_s(Turn(age_s=LEAST_TURN_S, arrived_bytes=20 * fast), limit=MB) == LONGEST_REST_S


def test_pulls_share_a_limit() -> None:
    assert (share_of(MB, 4), share_of(None, 4), share_of(MB, 0)) == (MB // 4, None, MB)


@pytest.mark.parametrize(
    ("source", "own", "by_turns", "words"),
    [
        ("internet", None, 5_000_000, "limit 4.8 MiB/s on average"),
        ("neighbour", None, None, "limit 4.8 MiB/s"),
        ("cache", None, None, "limit 10 MiB/s for what the cache still has to fetch"),
        ("cache", 2_000_000, 2_000_000, "limit 1.9 MiB/s on average"),
    ],
)
def test_a_limit_is_held_by_turns_where_nobody_else_holds_it(
    source: str, own: int | None, by_turns: int | None, words: str
) -> None:
    node = Node(pk=1, slug="rog", pull_bytes_per_s=own)
    job = PullJob(instance=Instance(node=node), source=source, sent_at=datetime.now(UTC))
    limits = Limits(lab=10_000_000, sharers=2)
    assert limits.by_turns(job) == by_turns
    assert told(job, limits).partition(":")[0] == words
