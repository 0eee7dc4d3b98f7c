"""Parts of the planner's page, by themselves."""

from labdash.planner.plan import Proposal
from labdash.views.http import fragment


def test_proposal_shows_what_it_costs_beside_what_it_brings() -> None:
    found = Proposal(
        instance="rog:11434",
        kind="environment",
        lines=("A=1",),
        gains=("big is served.",),
        losses=("small gets less.",),
        text="With A=1, also big fits and small gets less.",
    )
    shown = fragment("planner/page.html#proposals", "proposals", proposals=(found,)).html
    assert '<p class="good">big is served.</p>' in shown
    assert '<p class="attention">small gets less.</p>' in shown
