"""The fake server answers as a real one did: recorded requests are sent again and compared."""

import copy
from typing import Any

import pytest

from tests.workers.simlab.episodes import EPISODES
from tests.workers.simlab.playing import play, read_exchanges, stage
from tests.workers.simlab.recorded import FIXTURES
from tests.workers.simlab.replay import Got, differences


def exchanges(name: str) -> list[dict[str, Any]]:
    """Read one file of the selection."""
    return read_exchanges(FIXTURES / f"{name}.jsonl")


@pytest.mark.parametrize("name", list(EPISODES))
def test_every_recorded_exchange_is_answered_alike(name: str) -> None:
    with stage(EPISODES[name]) as lab:
        outcomes = play(EPISODES[name], exchanges(name), lab)
    assert all(outcome.differences is not None for outcome in outcomes)
    assert [each for each in outcomes if each.differences] == []


def answer_of(case: str, name: str = "01-basic") -> tuple[dict[str, Any], Got]:
    """Give a recorded answer twice: as recorded, and as if a server had just sent it."""
    recorded = next(each for each in exchanges(name) if each["case"] == case)["response"]
    again = copy.deepcopy(recorded)
    lines = [line for _, line in again.get("lines", ()) if "_omitted_lines" not in line] or None
    got = Got(status=again["status"], headers=again["headers"], body=again.get("body"), lines=lines)
    return recorded, got


def test_the_comparison_finds_a_real_answer_alike() -> None:
    for case, name in (("version", "01-basic"), ("pull, throttled", "04-pull")):
        recorded, got = answer_of(case, name)
        assert differences(recorded, got) == []


def test_the_comparison_sees_another_status() -> None:
    recorded, got = answer_of("version")
    got.status = 404
    assert differences(recorded, got)


def test_the_comparison_sees_another_error_text() -> None:
    recorded, got = answer_of("delete missing")
    got.body["error"] = "no such model"
    assert differences(recorded, got)


@pytest.mark.parametrize("change", [{"version": 1}, {"version": "1", "more": 1}, {}])
def test_the_comparison_sees_another_shape(change: dict[str, Any]) -> None:
    recorded, got = answer_of("version")
    got.body = change
    assert differences(recorded, got)


def test_the_comparison_sees_another_shape_deep_in_a_list() -> None:
    recorded, got = answer_of("tags", "02-create-show-copy-delete")
    got.body["models"][0]["details"]["families"] = "llama"
    assert differences(recorded, got)


def test_the_comparison_sees_a_stream_without_its_end() -> None:
    recorded, got = answer_of("pull, throttled", "04-pull")
    assert got.lines
    del got.lines[-1]
    assert differences(recorded, got)


def test_the_comparison_sees_steps_in_another_order() -> None:
    recorded, got = answer_of("pull of a new version (model layer unchanged)", "04-pull")
    assert got.lines
    got.lines[-1], got.lines[-2] = got.lines[-2], got.lines[-1]
    assert differences(recorded, got)
