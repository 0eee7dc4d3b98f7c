"""What may end an order early."""

import asyncio
import threading
from typing import Any

import pytest

from workers.engines.guard import Cut, Guard
from workers.store import StoreDown


def guard(**changes: Any) -> Guard:
    values: dict[str, Any] = {
        "is_cancelled": lambda: False,
        "beat": lambda: None,
        "stopping": threading.Event(),
        "deadline_s": 60,
    }
    return Guard(**values | changes)


async def done() -> str:
    return "done"


async def never() -> None:
    await asyncio.sleep(60)


def test_what_ends_soon_ends_without_a_word() -> None:
    beats: list[int] = []
    told = guard(beat=lambda: beats.append(1))
    assert (asyncio.run(told.run(done())), beats) == ("done", [])


def test_what_goes_on_is_told_until_it_is_cancelled() -> None:
    beats: list[int] = []
    told = guard(beat=lambda: beats.append(1), is_cancelled=lambda: bool(beats))
    with pytest.raises(Cut) as cut:
        asyncio.run(told.run(never()))
    assert (cut.value.phase, beats) == ("cancelled", [1])


def test_store_that_is_away_ends_nothing_but_the_deadline_does() -> None:
    def away() -> bool:
        raise StoreDown("away")

    with pytest.raises(Cut, match="Given up") as cut:
        asyncio.run(guard(is_cancelled=away, deadline_s=0.1).run(never()))
    assert cut.value.phase == "failed"


def test_worker_that_ends_says_so() -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Cut, match="worker was stopped"):
        asyncio.run(guard(stopping=stopping).run(never()))


def test_own_failure_comes_through() -> None:
    async def fail() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        asyncio.run(guard().run(fail()))
