"""Plans that are asked for and fetched later."""

import sys
from collections.abc import Iterator

import pytest

from labdash.domain import planning, searching
from labdash.planner.plan import Plan
from tests.planning.one_card import one_card as lab

MOST_S = 60
SLEEPING = (sys.executable, "-c", "import time; time.sleep(60)")


def wait(key: str) -> Plan:
    """Wait for the answer of a job."""
    job = planning.find(key)
    assert job
    assert job.done.wait(MOST_S)
    assert job.plan
    return job.plan


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    planning.stop()


def test_a_quick_plan_says_why_too() -> None:
    found = planning.plan(lab(), exact=False)
    assert found.placements[0].reasons
    assert len(found.refusals) == 1


def test_a_job_is_started_and_fetched() -> None:
    key = planning.start(lab())
    assert planning.find(key)
    assert len(wait(key).placements) == 1
    assert planning.result(key) is wait(key)
    assert planning.result("unknown") is None


def test_the_same_question_is_asked_once() -> None:
    key = planning.start(lab())
    assert planning.start(lab()) == key
    assert planning.start(lab(used=1.05)) == key
    assert planning.start(lab(used=3.0)) != key
    assert planning.start(lab(), gap=0.5) != key


def test_the_oldest_of_many_searches_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "COMMAND", SLEEPING)
    keys = [planning.start(lab(used=1.0 + number)) for number in range(3)]
    first = wait(keys[0])
    assert (first.limited_by, len(first.placements)) == ("time", 1)
    assert planning.result(keys[2]) is None
