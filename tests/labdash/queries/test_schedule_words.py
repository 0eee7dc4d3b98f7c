"""Schedules as sentences."""

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from labdash.queries.schedule_words import Simple, clock_words, cron_of, listed, sentence, simple_of

HOME = "Europe/Berlin"


@dataclass(frozen=True, kw_only=True)
class Said:
    """A schedule."""

    what: str = "models"
    model_names: list[str] = field(default_factory=lambda: ["qwen3:14b"])
    nodes: list[str] = field(default_factory=list)
    cron: str = "0 2 * * *"
    until: time | None = time(6)
    zone: str = HOME
    at_once: int | None = None
    updates: str = "never"
    catch_up: bool = False


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(), "Pulls qwen3:14b to all machines every day at 02:00 until 06:00."),
        (
            Said(cron="0 23 * * 5,6", nodes=["rog", "desk"], at_once=1, updates="take"),
            (
                "Pulls qwen3:14b to rog and desk on Fridays and Saturdays at 23:00 until 06:00 the"
                " next day. One machine at a time. Newer versions are pulled."
            ),
        ),
        (
            Said(what="installed", updates="ask", cron="0 4 * * 1-5", until=None, catch_up=True),
            (
                "Looks for newer versions of everything installed on all machines from Monday to"
                " Friday at 04:00. Newer versions are only told of."
                " If the hub was off, it is made good."
            ),
        ),
        (
            Said(what="plan", zone="America/New_York", at_once=2, cron="0 4 * * 6,0"),
            (
                "Pulls what the plan needs on Saturdays and Sundays at 04:00 until 06:00"
                " (America/New_York time). 2 machines at once."
            ),
        ),
        (
            Said(what="gpus", nodes=["rog"], cron="0 19 * * *", until=time(23), catch_up=True),
            "Gives the GPUs of rog back to their owner every day at 19:00 until 23:00.",
        ),
        (
            Said(cron="30 2 1 * *", model_names=["a:1", "b:1", "c:1", "d:1", "e:1"], until=None),
            (
                "Pulls a:1, b:1, c:1 and 2 others to all machines at 02:30 on the first day of"
                " every month."
            ),
        ),
    ],
)
def test_a_schedule_is_a_sentence(said: Said, words: str) -> None:
    assert sentence(said, home_zone=HOME) == words


@pytest.mark.parametrize(
    ("cron", "simple"),
    [
        ("0 2 * * *", Simple(at=time(2), days=frozenset(range(7)))),
        ("30 23 * * mon-fri", Simple(at=time(23, 30), days=frozenset(range(5)))),
        ("0 2 * * 0,6", Simple(at=time(2), days=frozenset((5, 6)))),
        ("0 2 * * 7", Simple(at=time(2), days=frozenset((6,)))),
        ("0 2 1 * *", None),
        ("0 2 * * mon#1", None),
        ("0 */6 * * *", None),
        ("0 99 * * *", None),
    ],
)
def test_cron_is_read_as_a_time_of_the_day_where_it_is_one(
    cron: str, simple: Simple | None
) -> None:
    assert simple_of(cron) == simple
    if simple is not None:
        assert simple_of(cron_of(simple.at, simple.days)) == simple


def test_few_names_are_listed_and_many_counted() -> None:
    assert [listed(list("abcdef")[:count]) for count in (0, 1, 2, 4, 5)] == [
        "", "a", "a and b", "a, b, c and d", "a, b, c and 2 others",
    ]  # fmt: skip


def test_a_moment_is_told_by_day_and_clock() -> None:
    now = datetime(2026, 11, 26, 23, 30, tzinfo=ZoneInfo(HOME))
    moments = [now + timedelta(hours=hours) for hours in (0.25, 2.5, 50, 24 * 9)]
    assert [clock_words(each, now) for each in moments] == [
        "today at 23:45", "tomorrow at 02:00", "Sunday at 01:30", "Saturday 5 December at 23:30",
    ]  # fmt: skip
