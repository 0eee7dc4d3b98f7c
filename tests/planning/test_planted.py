"""A constant of the planner is changed, and verification shows that the prediction is wrong."""

from collections.abc import Callable, Iterator

import pytest

from labdash.planner.lab import Deployment
from labdash.planner.memory import caches, overhead
from labdash.planner.memory.padding import rounded
from labdash.planner.solve import solve
from labdash.planner.verify import Checked
from tests.planning import variants
from tests.planning.applied import apply, judged, lab_of
from tests.planning.checks import agrees
from tests.planning.stage import Stage, running
from tests.planning.ten_labs import machine


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running((machine("rog", "rtx-3090", installed=("llama3.2:1b",)),)) as stage:
        yield stage


@pytest.fixture
def wish(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Deployment]:
    """Return a deployment of a model that nothing was reckoned of before."""
    monkeypatch.setattr(variants, "variant", variants.variant.__wrapped__)
    return lambda: variants.wanted("llama3.2:1b", name="small")


def verified(stage: Stage, wish: Callable[[], Deployment], verdict: str) -> Checked:
    lab = lab_of(stage, [wish()])
    plan = solve(lab)
    apply(stage, plan)
    (found,) = judged(stage, lab, plan, verdicts={verdict}).values()
    return found


def test_nothing_planted_is_as_planned(stage: Stage, wish: Callable[[], Deployment]) -> None:
    found = verified(stage, wish, "as-planned")
    assert (found.verdict, agrees(found)) == ("as-planned", True)


def test_too_small_an_overhead_is_caught(
    stage: Stage, wish: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "UNIT_MIB", 1)
    found = verified(stage, wish, "more")
    assert (found.verdict, found.text) == ("more", "It takes 0.1 GiB more on rog/0 than planned.")


def test_too_small_a_cache_is_caught(
    stage: Stage, wish: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "pad", lambda count: rounded(count // 2, caches.CELL_PADDING))
    assert verified(stage, wish, "more").verdict == "more"


def test_too_large_a_cache_is_caught(
    stage: Stage, wish: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "CELL_PADDING", 16384)
    found = verified(stage, wish, "as-planned")
    assert not agrees(found)
    assert "less on rog/0 than planned" in found.text
