"""How fast labs are planned, in process and warm: what models take is known from a plan before."""

import subprocess
import sys
import time
from dataclasses import replace
from statistics import median

import pytest

from labdash.env import ROOT
from labdash.planner.greedy import quick
from labdash.planner.lab import Lab
from labdash.planner.solve import solve
from tests.figures import Tell
from tests.planning.labs import even_lab

pytestmark = pytest.mark.long

ONE_MS, TWENTY_S, REPLAN_MS = 50, 1.0, 300
HUGE_S, HUGE_MB = 60, 1000
SEEDS = range(8)
# Plans the largest lab in a process of its own, and tells time, memory and what came of it.
HUGE = """
import resource, time
from labdash.planner.solve import solve
from tests.planning.labs import even_lab
lab = even_lab(0, nodes=100, cards=8, deployments=500)
began = time.process_time()
plan = solve(lab, limit_s=60.0, clock=time.process_time)
took = time.process_time() - began
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(took, most, plan.status, plan.gap, len(plan.placements), len(plan.refusals), sep="|")
"""


def fresh(lab: Lab) -> Lab:
    """Return an equal lab that nobody has seen."""
    return Lab(nodes=lab.nodes, deployments=tuple(replace(each) for each in lab.deployments))


def seconds(deployments: int) -> list[float]:
    """Plan racks of 10 nodes with 4 GPUs each."""
    found = []
    for seed in SEEDS:
        lab = even_lab(seed, nodes=10, cards=4, deployments=deployments)
        solve(fresh(lab))
        again = fresh(lab)
        began = time.process_time()
        solve(again, clock=time.process_time)
        found.append(time.process_time() - began)
    return found


def test_one_deployment_is_a_matter_of_milliseconds(tell: Tell) -> None:
    took = seconds(1)
    told = f"{median(took) * 1000:.0f} ms, at worst {max(took) * 1000:.0f}"
    tell("1 deployment on 10 nodes x 4 GPUs", told, goal=f"{ONE_MS}")


def test_twenty_deployments_take_a_second(tell: Tell) -> None:
    took = seconds(20)
    told = f"{median(took):.2f} s, at worst {max(took):.2f}"
    tell("20 deployments on 10 nodes x 4 GPUs, to a bound", told, goal=f"{TWENTY_S} s")


def test_a_plan_is_made_anew_at_once(tell: Tell) -> None:
    took = []
    for seed in SEEDS:
        lab = even_lab(seed, nodes=10, cards=4, deployments=20)
        quick(fresh(lab))
        (card, *others) = lab.nodes[0].cards
        fuller = replace(card, used_bytes=card.used_bytes + 2**30)
        nodes = (replace(lab.nodes[0], cards=(fuller, *others)), *lab.nodes[1:])
        changed = fresh(replace(lab, nodes=nodes))
        began = time.process_time()
        quick(changed)
        took.append(time.process_time() - began)
    told = f"{median(took) * 1000:.0f} ms, at worst {max(took) * 1000:.0f}"
    tell("a quick plan after a change", told, goal=f"{REPLAN_MS} ms")


def test_a_huge_lab_takes_a_minute(tell: Tell) -> None:
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", HUGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    took, most, status, gap, placed, refused = done.stdout.strip().splitlines()[-1].split("|")
    what = f"500 deployments on 100 nodes x 8 GPUs ({status}, gap {gap}, {placed} + {refused})"
    tell(what, f"{float(took):.1f} s", goal=f"{HUGE_S} s")
    tell("its memory", f"{float(most):.0f} MB", goal=f"{HUGE_MB} MB")
    assert int(placed) > 0
