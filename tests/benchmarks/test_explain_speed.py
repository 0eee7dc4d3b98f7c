"""How fast a plan is put in words, on one core."""

import time
from dataclasses import replace

import pytest

from labdash.planner.explain import explained
from labdash.planner.greedy import quick
from labdash.planner.lab import Lab
from tests.figures import Tell
from tests.planning.labs import even_lab, middle_lab

pytestmark = pytest.mark.long

WARM_S = 0.15
# What was never looked at has to be estimated first.
COLD_S = 1.5


def crowded(seed: int) -> Lab:
    """Make 10 machines, half of them asleep, and 20 deployments, so that many are refused."""
    made = middle_lab(seed)
    nodes = [replace(each, away="asleep") if i > 4 else each for i, each in enumerate(made.nodes)]
    return Lab(nodes=tuple(nodes[:10]), deployments=made.deployments[:20])


@pytest.mark.parametrize("kind", ["roomy", "crowded 1", "crowded 2"])
def test_twenty_deployments_are_explained_at_once(kind: str, tell: Tell) -> None:
    roomy = even_lab(1, nodes=10, cards=2, deployments=20)
    lab = roomy if kind == "roomy" else crowded(int(kind[-1]))
    plan = quick(lab)
    began = time.process_time()
    explained(lab, plan)
    cold = time.process_time() - began
    began = time.process_time()
    explained(lab, plan)
    warm = time.process_time() - began
    what = f"20 deployments on 10 {kind} nodes explained, {len(plan.refusals)} refused"
    tell(what, f"{warm * 1000:.0f} ms warm, {cold:.2f} s cold", goal="150 ms warm")
    assert warm <= WARM_S
    assert cold <= COLD_S
