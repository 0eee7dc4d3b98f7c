"""The page of updates: what is outdated where, what is under way, and what was kept back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from labdash.models import (
    UPDATE_ENDED,
    PullSettings,
    Update,
    UpdateState,
    UpstreamHost,
    UpstreamState,
    UpstreamTag,
)
from labdash.models.update import UpdateQuerySet
from labdash.queries.lab import LabView
from labdash.queries.pulls import JobView, view_jobs
from labdash.queries.radar import Copy, Line, read_radar
from labdash.queries.versions import Difference
from labdash.wording import size

HISTORY_LENGTH = 20
SMALL_PARTS = "template, parameters or another small part"
NOT_ASKED = "It is not known where this comes from, so nobody is asked."
_WORDS = {
    UpdateState.WAITING: "waits for its turn",
    UpdateState.COPYING: "keeping the version before under a second name",
    UpdateState.TRYING: "in place. The version before is kept until this one has been loaded once",
    UpdateState.RETURNING: "going back to the version before",
}


@dataclass(frozen=True, kw_only=True)
class OldLine:
    """A name that is outdated. ``bytes`` are for all servers that can take it.

    ``changed`` says what changed, ``fetches`` how much comes in words; ``requires`` is told where
    a server is too old for it.
    """

    line: Line
    copies: tuple[Copy, ...]
    changed: str
    fetches: str
    requires: str

    @property
    def free(self) -> tuple[Copy, ...]:
        """Return the copies that can be updated now."""
        return tuple(copy for copy in self.copies if copy.is_free)


@dataclass(frozen=True, kw_only=True)
class UpdateView:
    """An update and what to say of it. ``job`` is its pull while that runs."""

    update: Update
    words: str
    job: JobView | None
    can_go_back: bool
    can_cancel: bool


@dataclass(frozen=True, kw_only=True)
class QuietLine:
    """A name of which nothing is to be done, and why."""

    name: str
    nodes: tuple[str, ...]
    words: str
    is_fresh: bool
    checked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class UpdatesView:
    """All that the page shows. ``bytes`` would come if everything was updated."""

    old: tuple[OldLine, ...]
    asked: tuple[Copy, ...]
    running: tuple[UpdateView, ...]
    held: tuple[Copy, ...]
    quiet: tuple[QuietLine, ...]
    ended: tuple[Update, ...]
    down: tuple[UpstreamHost, ...]
    is_on: bool
    checked_at: datetime | None
    waiting: int

    @property
    def free(self) -> tuple[Copy, ...]:
        """Return all copies that can be updated now."""
        return tuple(copy for old in self.old for copy in old.free)

    @property
    def fetches(self) -> str:
        """Say how much everything together would fetch."""
        return fetched(self.free)


def read_updates(lab: LabView) -> UpdatesView:
    """Read the page."""
    lines = read_radar()
    copies = [copy for line in lines for copy in line.copies]
    tags = [line.tag for line in lines if line.tag is not None]
    checked = [tag.checked_at for tag in tags if tag.checked_at is not None]
    return UpdatesView(
        old=tuple(_old(line) for line in lines if _shown(line)),
        asked=tuple(copy for copy in copies if _is_asked(copy)),
        running=tuple(_running(lab)),
        held=tuple(copy for copy in copies if copy.standing == "held" and not copy.update),
        quiet=tuple(_quiet(line) for line in lines if not (_shown(line) or _is_busy(line))),
        ended=tuple(_rows().filter(state__in=UPDATE_ENDED)[:HISTORY_LENGTH]),
        down=tuple(UpstreamHost.objects.all()),
        is_on=PullSettings.read().check_updates,
        checked_at=max(checked, default=None),
        waiting=sum(tag.state == UpstreamState.NEW for tag in tags),
    )


def changed_words(found: Difference) -> str:
    """Say what changed between two versions."""
    if found.what == "weights":
        more = [part for part in found.parts if part != "weights"]
        return " and ".join(["new weights", *more[:2]])
    return f"only the {' and the '.join(found.parts)}" if found.parts else f"only {SMALL_PARTS}"


def fetched(copies: Iterable[Copy]) -> str:
    """Say how much an update of all copies fetches: sizes that are not exact are at most that."""
    found = [copy.difference for copy in copies if copy.difference is not None]
    total = sum(each.bytes or 0 for each in found)
    if not total:
        return "nothing to fetch" if found else ""
    small = "less than 1 MiB"
    text = size(total) if total >= 2**20 else small
    return text if all(each.is_exact for each in found) or text == small else f"at most {text}"


def _rows() -> UpdateQuerySet:
    rows = Update.objects.select_related("instance__node", "pull_job__instance__node", "name_job")
    return rows.defer("instance__shelf", "instance__node__last_sample")


def _shown(line: Line) -> bool:
    return any(copy.standing == "newer" and copy.is_idle for copy in line.copies)


def _is_busy(line: Line) -> bool:
    return any(copy.update is not None for copy in line.copies)


def _is_asked(copy: Copy) -> bool:
    return copy.update is not None and copy.update.state == UpdateState.ASKED


def _old(line: Line) -> OldLine:
    copies = tuple(copy for copy in line.newer if copy.is_idle)
    changed = dict.fromkeys(changed_words(c.difference) for c in copies if c.difference)
    return OldLine(
        line=line,
        copies=copies,
        changed="; ".join(changed),
        fetches=fetched([copy for copy in copies if not copy.parent]),
        requires=next((copy.needs for copy in copies if copy.needs), ""),
    )


def _running(lab: LabView) -> Iterable[UpdateView]:
    hidden = [*UPDATE_ENDED, UpdateState.ASKED]
    rows = _rows().exclude(state__in=hidden).order_by("created_at", "pk")
    for row in rows:
        job = row.pull_job if row.state == UpdateState.PULLING else None
        view = view_jobs([job], lab)[0] if job is not None and job.is_active else None
        yield UpdateView(
            update=row,
            words=_words(row, view),
            job=view,
            can_go_back=row.state == UpdateState.TRYING and bool(row.kept_name),
            can_cancel=row.state == UpdateState.WAITING or view is not None,
        )


def _words(row: Update, job: JobView | None) -> str:
    if job is not None:
        return job.words
    if row.state == UpdateState.PULLING:
        return "pulled; its server is about to list it"
    if row.state == UpdateState.WAITING and row.not_before_at is not None and not row.reason:
        return "waits for its window"
    return row.reason or _WORDS[UpdateState(row.state)]


def _quiet(line: Line) -> QuietLine:
    words, is_fresh = _standing(line)
    nodes = tuple(dict.fromkeys(copy.instance.node.slug for copy in line.copies))
    checked_at = line.tag.checked_at if line.tag else None
    return QuietLine(
        name=line.name, nodes=nodes, words=words, is_fresh=is_fresh, checked_at=checked_at
    )


def _standing(line: Line) -> tuple[str, bool]:
    tag, parent = line.tag, next((copy.parent for copy in line.copies if copy.parent), "")
    if tag is None:
        return NOT_ASKED, False
    if held := [str(copy.instance.node) for copy in line.copies if copy.standing == "held"]:
        return f"kept back by you on {', '.join(held)}", False
    if tag.manifest is None or tag.state not in {UpstreamState.THERE, UpstreamState.MISSING}:
        return _untold(tag), False
    if any(copy.standing == "unknown" for copy in line.copies):
        return "its own version cannot be told, so it cannot be compared", False
    return (f"made from {parent}, which is the newest" if parent else "the newest"), not tag.error


def _untold(tag: UpstreamTag) -> str:
    match tag.state:
        case UpstreamState.GONE if tag.was_there:
            return "not published any more: what is here works on, and cannot be pulled again"
        case UpstreamState.GONE:
            return "not in the registry under this name: withdrawn, or made or copied here"
        case UpstreamState.MISSING:
            return "not found in the registry; it is asked again tomorrow"
        case UpstreamState.CLOSED:
            return "for signed-in users only, so nobody can look"
    return f"not known yet: {tag.error}" if tag.error else "not asked yet"
