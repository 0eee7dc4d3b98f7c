"""Which machines pull now where a schedule goes to some at once."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from labdash import live
from labdash.domain.reconcile import SILENT_AFTER_S
from labdash.models import Node, PullJob, ScheduleRun
from labdash.queries.heard import heard_at
from labdash.queries.run_words import Part
from labdash.queries.turns import Candidate, turn_words, whose_turn

# Who was not heard of for so long cannot be counted on.
SILENT_AFTER = timedelta(seconds=SILENT_AFTER_S)


def awake(*, now: datetime) -> frozenset[str]:
    """Return the nodes that can be counted on; all of them where the store cannot tell."""
    nodes = {each.slug: each for each in Node.objects.filter(paused=False)}
    try:
        states = live.read_states(nodes)
    except live.StoreDown:
        return frozenset(nodes)
    heard = {slug: heard_at(node, states.get(slug)) for slug, node in nodes.items()}
    return frozenset(slug for slug, at in heard.items() if at and now - at <= SILENT_AFTER)


def first_turn(*, run: ScheduleRun, nodes: Iterable[str], now: datetime) -> frozenset[str]:
    """Return the nodes that begin."""
    places = set(nodes)
    if not run.schedule.at_once:
        return frozenset(places)
    ready = awake(now=now)
    candidates = [Candidate(node=slug, is_able=slug in ready) for slug in places]
    return whose_turn(candidates, run.schedule.at_once)


def waits_of(*, run: ScheduleRun) -> str:
    """Say why a machine of a run waits for its turn."""
    return turn_words(run.schedule.name, run.schedule.at_once or 0)


def take_turns(*, run: ScheduleRun, left: Iterable[Part], ready: Collection[str]) -> None:
    """Let the machines pull whose turn it is, and tell the others' jobs to wait."""
    own = [part for part in left if part.run == run.pk]
    busy = {part.node for part in own if part.is_busy}
    # Whose pulls are all held by somebody would keep the others out all night.
    able = {part.node for part in own if not part.is_kept}.intersection(ready)
    candidates = [
        Candidate(node=slug, is_busy=slug in busy, is_able=slug in able)
        for slug in {part.node for part in own}
    ]
    turn = whose_turn(candidates, run.schedule.at_once)
    # What somebody lets go on by hand is not stopped again.
    waits = waits_of(run=run)
    told: dict[str, list[int]] = {"": [], waits: []}
    for part in own:
        text = "" if part.node in turn else waits
        if part.waits != text and not (text and part.is_busy and part.node in ready):
            told[text].append(part.key)
    for text, keys in told.items():
        if keys:
            PullJob.objects.active().filter(pk__in=keys).update(waits=text)
