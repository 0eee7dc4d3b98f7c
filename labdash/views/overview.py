"""The page left open all day."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.queries.overview import OverviewView, read_overview
from labdash.views.http import (
    Fragment,
    Request,
    concerns_hub,
    count_trouble,
    digest,
    fragment,
    live_page,
)

# All of them stand on Pulls; a night's queue may be long.
MOST_JOBS = 8


@require_safe
def overview(request: Request) -> HttpResponse:
    """Show the state of the lab in one sentence, what is wrong, and a card for each node."""
    seen = read_overview(now=timezone.now())
    return live_page(
        request,
        "overview.html",
        fragments(seen),
        title="LabDash",
        lab=seen.lab,
        problems=seen.problems,
    )


def fragments(seen: OverviewView) -> list[Fragment]:
    """Render all that may change while the page is open."""
    now, trouble = seen.lab.now, count_trouble(seen.problems)
    cards = [
        fragment("overview.html#card", f"node-{card.slug}", inside="cards", card=card, now=now)
        for card in seen.cards
    ]
    running = [view for view in seen.jobs if view.job.is_running]
    jobs = [*running, *(view for view in seen.jobs if not view.job.is_running)]
    summary = fragment(
        "overview.html#summary",
        "summary",
        totals=seen.totals,
        trouble=trouble,
        waiting=len(jobs) - len(running),
        running=len(running),
        ended=seen.ended,
    )
    told = [each for each in seen.problems if not concerns_hub(each) and each.code != "no_node"]
    listed = fragment("overview.html#problems", "problems", problems=told, now=now)
    loading = fragment("overview.html#loading", "loading", loads=seen.loads, now=now)
    more = max(0, len(jobs) - MOST_JOBS)
    pulling = fragment("overview.html#running", "running", jobs=jobs[:MOST_JOBS], more=more)
    return [summary, listed, loading, pulling, _container(cards), *cards]


def _container(cards: list[Fragment]) -> Fragment:
    """Hold the cards; what is shown of the container itself is only their order."""
    whole = fragment("overview.html#cards", "cards", cards=cards)
    order = digest(" ".join(card.id for card in cards))
    return Fragment(id=whole.id, html=whole.html, version=order)
