"""A search in a process of its own."""

import sys
import time

from labdash.domain.searching import FAILED, OUT_OF_TIME, Search
from labdash.domain.solver import Question
from tests.planning.one_card import one_card as lab

SLEEPING = (sys.executable, "-c", "import time; time.sleep(60)")


def test_a_searched_plan_is_the_labs_own_and_says_why() -> None:
    asked = lab()
    found = Search(Question(lab=asked, gap=0.01, limit_s=60.0)).run()
    (placement,), (refusal,) = found.placements, found.refusals
    assert found.status == "optimal"
    assert placement.deployment is asked.deployments[0]
    assert placement.choice.variant is asked.deployments[0].variants[0]
    assert placement.reasons
    assert refusal.deployment is asked.deployments[1]
    assert refusal.text


def test_a_search_that_is_ended_leaves_the_quick_plan() -> None:
    question = Question(lab=lab(), gap=0.01, limit_s=0.0)
    began = time.monotonic()
    found = Search(question, grace_s=0.2, command=SLEEPING).run()
    assert time.monotonic() - began < 30
    assert (found.limited_by, OUT_OF_TIME in found.warnings) == ("time", True)
    assert len(found.placements) == 1


def test_a_search_that_fails_leaves_the_quick_plan() -> None:
    question = Question(lab=lab(), gap=0.01, limit_s=10.0)
    found = Search(question, command=(sys.executable, "-c", "raise SystemExit(3)")).run()
    assert (found.limited_by, FAILED in found.warnings) == (None, True)


def test_no_process_is_left_behind() -> None:
    question = Question(lab=lab(), gap=0.01, limit_s=0.0)
    search = Search(question, grace_s=0.2, command=(sys.executable, "-c", "input()\nwhile 1: 0"))
    search.run()
    assert search._process
    assert search._process.returncode is not None
