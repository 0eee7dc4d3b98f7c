"""Plans that are searched for in a process of their own."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from labdash.domain import planning, searching
from labdash.domain.questions import figures_of
from labdash.domain.searching import FAILED, OUT_OF_TIME, Search
from labdash.domain.solver import Question
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.queries.lab_file import parse

TEXT = """
[[node]]
name = "rog"
ram_gib = 32
  [[node.gpu]]
  name = "RTX 3090"
  vram_gib = 24
  used_gib = {used}
  [[node.instance]]
  ollama = "0.32.15"

[[deployment]]
name = "chat"
model = "qwen3:8b"
ctx = {{ floor = 4096, wish = 8192 }}

[[deployment]]
name = "huge"
model = "llama3.1:70b"
ctx = {{ floor = 4096, wish = 4096 }}
"""
MOST_S = 60
SLEEPING = (sys.executable, "-c", "import time; time.sleep(60)")


def lab(used: float = 1.0) -> Lab:
    """Return one card that has room for one of two models."""
    return parse(TEXT.format(used=used))


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


def test_a_searched_plan_is_the_labs_own_and_says_why() -> None:
    asked = lab()
    found = planning.plan(asked)
    (placement,), (refusal,) = found.placements, found.refusals
    assert found.status == "optimal"
    assert placement.deployment is asked.deployments[0]
    assert placement.choice.variant is asked.deployments[0].variants[0]
    assert placement.reasons
    assert refusal.deployment is asked.deployments[1]
    assert refusal.text


def test_a_quick_plan_says_why_too() -> None:
    found = planning.plan(lab(), exact=False)
    assert found.placements[0].reasons
    assert len(found.refusals) == 1


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


def test_labs_differ_by_what_is_wanted_and_by_what_is_set() -> None:
    asked = lab()
    node, wanted = asked.nodes[0], asked.deployments[0]
    other = replace(asked, deployments=(replace(wanted, ctx_floor=2048), asked.deployments[1]))
    assert not figures_of(asked).is_near(figures_of(other))
    server = replace(node.instances[0], env={"OLLAMA_NUM_PARALLEL": "2"})
    other = replace(asked, nodes=(replace(node, instances=(server,)),))
    assert not figures_of(asked).is_near(figures_of(other))
    assert figures_of(asked).is_near(figures_of(lab()))
