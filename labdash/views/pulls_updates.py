"""Updates: what is outdated where, and the buttons that take, keep back and return versions."""

from collections.abc import Callable, Iterable

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from labdash.domain import updates, upstream
from labdash.domain.errors import LabDashError
from labdash.models import Update
from labdash.queries.lab import LabView, read_lab
from labdash.queries.problems import find_problems
from labdash.queries.radar import Copy, read_radar
from labdash.queries.updates import UpdatesView, read_updates
from labdash.views.http import Fragment, Request, button, done, fragment, live_page, refused

PAGE = "pull_updates"


@require_safe
def pull_updates(request: Request) -> HttpResponse:
    """Show what is outdated, what is under way, and what is as it is published."""
    lab = read_lab(now=timezone.now())
    seen = read_updates(lab)
    return live_page(
        request,
        "pulls/updates.html",
        _fragments(seen, lab),
        title="Updates · LabDash",
        lab=lab,
        problems=find_problems(lab),
    )


@button(PAGE)
def updates_look(request: Request) -> HttpResponse:
    """Ask soon for all names that were not asked for in the last hour."""
    names = [line.tag.name for line in read_radar() if line.tag is not None]
    count = upstream.hurry(names, now=timezone.now())
    text = "Asking now." if count else "All known names were asked for within the last hour."
    return done(request, text, default=PAGE)


@button(PAGE)
def update_begin(request: Request) -> HttpResponse:
    """Update one copy, all of a name, or everything: now, or tonight."""
    when = updates.NOW
    if request.GET.get("when") == "tonight":
        when = updates.tonight(now=timezone.now())

    def begin(copy: Copy) -> None:
        updates.update(copy=copy, user=request.user, when=when)

    return _each(request, begin)


@button(PAGE)
def update_decline(request: Request) -> HttpResponse:
    """Keep back the version that is here; a newer one is offered again."""
    return _each(request, lambda copy: updates.decline(copy=copy))


@button(PAGE)
def update_offer(request: Request, pk: int) -> HttpResponse:
    """Offer again what was kept back."""
    for copy in _copies():
        if copy.installed.pk == pk:
            updates.offer_again(copy=copy)
    return done(request, default=PAGE)


@button(PAGE)
def update_cancel(request: Request, pk: int) -> HttpResponse:
    """Give an update up that is not in place yet."""
    return _act(request, pk, lambda row: updates.cancel(update=row))


@button(PAGE)
def update_back(request: Request, pk: int) -> HttpResponse:
    """Go back to the version before."""
    return _act(request, pk, lambda row: updates.roll_back(update=row))


@button(PAGE)
def update_settle(request: Request, pk: int) -> HttpResponse:
    """Delete the version before at once."""
    return _act(request, pk, lambda row: updates.settle(update=row))


def _fragments(seen: UpdatesView, lab: LabView) -> list[Fragment]:
    return [
        fragment("pulls/updates.html#look", "look", seen=seen, now=lab.now),
        fragment("pulls/updates.html#running", "running", running=seen.running),
        fragment("pulls/updates.html#old", "old", seen=seen),
        fragment("pulls/updates.html#held", "held", held=seen.held),
        fragment("pulls/updates.html#quiet", "quiet", quiet=seen.quiet, now=lab.now),
        fragment("pulls/updates.html#ended", "ended", ended=seen.ended, now=lab.now),
    ]


def _copies() -> Iterable[Copy]:
    return (copy for line in read_radar() for copy in line.copies)


def _each(request: Request, act: Callable[[Copy], object]) -> HttpResponse:
    """Act on the copies that a button names; where it can be done for none, say why not."""
    chosen = [copy for copy in _copies() if copy.standing == "newer" and _is_meant(request, copy)]
    errors, count = [], 0
    for copy in chosen:
        try:
            act(copy)
        except LabDashError as error:
            errors.append(error)
        else:
            count += 1
    if errors and not count:
        return refused(request, errors[0], default=PAGE)
    if not count:
        nothing = LabDashError("Nothing of that is outdated any more.")
        return refused(request, nothing, default=PAGE)
    return done(request, default=PAGE)


def _is_meant(request: Request, copy: Copy) -> bool:
    """Tell whether a button means a copy: by its key, by its name, or all that can be updated."""
    if key := request.GET.get("copy"):
        return str(copy.installed.pk) == key
    if name := request.GET.get("model"):
        return copy.installed.name == name and copy.is_free
    return copy.is_free


def _act(request: Request, pk: int, act: Callable[[Update], None]) -> HttpResponse:
    row = get_object_or_404(Update.objects.select_related("instance__node", "pull_job"), pk=pk)
    try:
        act(row)
    except LabDashError as error:
        return refused(request, error, default=PAGE)
    return done(request, default=PAGE)
