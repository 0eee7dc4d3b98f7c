"""How good plans are: against everything tried out on small labs, against the bound on larger ones.

Seconds are of the process, so that a busy machine does not count; HiGHS stops by the clock.
"""

import time
from statistics import median

import pytest

from labdash.planner.greedy import quick
from labdash.planner.lab import Lab
from labdash.planner.plan import Plan
from labdash.planner.solve import solve
from tests.figures import Tell
from tests.planning.checks import assert_holds
from tests.planning.enumerating import TooMuchError, best_score
from tests.planning.labs import middle_lab, small_lab

pytestmark = pytest.mark.long

SMALL, MOST_WAYS = 200, 20_000
MIDDLE, LIMIT_S, GAP, GREEDY_GAP = 50, 10.0, 0.01, 0.05


def test_no_plan_of_small_labs_is_better(tell: Tell) -> None:
    # The enumeration tries the layers of a part in quarters; the plan then adds what fits.
    best_of_all = tried = seed = 0
    while tried < SMALL:
        lab = small_lab(seed)
        seed += 1
        try:
            best = best_score(lab, most=MOST_WAYS)
        except TooMuchError:
            continue
        tried += 1
        plan = solve(lab, gap=0.0, limit_s=60.0, clock=time.process_time)
        assert_holds(lab, plan)
        best_of_all += plan.score.key >= best and plan.gap == 0.0
    tell("small labs whose plan is the best of all", f"{best_of_all} of {tried}", goal=f"{SMALL}")
    assert best_of_all == tried


def planned(lab: Lab) -> tuple[Plan, Plan, float]:
    """Plan at once and exactly, with all that is known of models at hand as in a running hub."""
    first = quick(lab)
    began = time.process_time()
    plan = solve(lab, gap=GAP, limit_s=LIMIT_S, clock=time.process_time)
    return first, plan, time.process_time() - began


def test_plans_of_middle_labs_are_proved(tell: Tell) -> None:
    proved = near = close = 0
    gaps, times = [], []
    for seed in range(MIDDLE):
        lab = middle_lab(seed)
        first, plan, took = planned(lab)
        assert_holds(lab, first)
        assert_holds(lab, plan)
        assert plan.score.key >= first.score.key
        proved += plan.gap is not None
        near += plan.status == "optimal"
        close += first.score.value >= (1 - GREEDY_GAP) * plan.score.value
        gaps += [] if plan.gap is None else [plan.gap]
        times.append(took)
    tell("middle labs whose first two parts are proved", f"{proved} of {MIDDLE}", goal=f"{MIDDLE}")
    tell("middle labs within a gap of 1 %", f"{near} of {MIDDLE}", goal=f"{MIDDLE}")
    tell("middle labs whose quick plan has 95 % of the value", f"{close} of {MIDDLE}", goal="50")
    tell("their gaps, median and worst", f"{median(gaps):.4f}, {max(gaps):.4f}", goal=f"{GAP}")
    tell("their seconds, median and worst", f"{median(times):.1f}, {max(times):.1f}", goal="10")
