"""Ten labs from the plan to the card: every placement is where and what it was planned to be.

The simulation's memory does not come from the planner, and its GPUs take an overhead that no table
of the planner holds.
"""

import pytest

from labdash.planner.solve import solve
from tests.planning.applied import apply, judged, lab_of
from tests.planning.checks import agrees
from tests.planning.stage import running
from tests.planning.ten_labs import LABS, MAC, PARTIAL, SPREAD, Planned
from workers.simlab.catalog import models

# One with experts over unlike cards, one partly on the CPU, one with a sliding window.
QUICK = (SPREAD, PARTIAL, MAC)
CASES = [
    pytest.param(each, id=each.name, marks=() if each in QUICK else pytest.mark.long)
    for each in LABS
]


@pytest.mark.parametrize("planned", CASES)
def test_plan_that_is_applied_ends_as_planned(planned: Planned) -> None:
    with running(planned.machines) as stage:
        lab = lab_of(stage, planned.deployments())
        plan = solve(lab)
        assert plan.refusals == ()
        assert {each.choice.form for each in plan.placements} == planned.forms
        ends = apply(stage, plan)
        assert {key: end.phase for key, end in ends.items()} == dict.fromkeys(ends, "loaded")
        found = judged(stage, lab, plan, verdicts={"as-planned"})
    told = {key: (each.verdict, agrees(each)) for key, each in found.items()}
    assert told == dict.fromkeys(found, ("as-planned", True)), found


def test_the_labs_are_as_different_as_they_should_be() -> None:
    assert len(LABS) == 10
    unlike = [
        each for each in LABS if any(len(set(machine.cards)) > 1 for machine in each.machines)
    ]
    assert len(unlike) == 2
    files = {variant for each in LABS for wish in each.deployments() for variant in wish.variants}
    metadata = [models()[variant.model.name].metadata for variant in files]
    assert any("expert_count" in key for values in metadata for key in values)
    assert any("sliding_window" in key for values in metadata for key in values)
    assert len({variant.quant for variant in files}) >= 3
    assert {form for each in LABS for form in each.forms} == {"gpu", "gpus", "partial", "cpu"}
