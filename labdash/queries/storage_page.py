"""The page on storage: all disks, what may go, and what was done."""

from collections.abc import Iterable
from dataclasses import dataclass

from labdash.models import (
    MOVE_ENDED,
    NAME_ENDED,
    InstalledModel,
    Move,
    MoveState,
    NameAct,
    NameJob,
    NameState,
    PullSettings,
)
from labdash.models.shelf import MoveQuerySet, NameJobQuerySet
from labdash.queries.bars import Bar, Segment
from labdash.queries.lab import LabView
from labdash.queries.storage import Proposal, Row, Server, read_servers
from labdash.wording import size

HISTORY_LENGTH = 20
_DONE = {
    NameAct.COPY: "copied to",
    NameAct.RENAME: "renamed to",
    NameAct.DELETE: "deleted",
    NameAct.QUANTIZE: "made smaller as",
    NameAct.CLEAR: "deleted",
}
_DOING = {
    NameAct.COPY: "being copied to",
    NameAct.RENAME: "being renamed to",
    NameAct.DELETE: "being unloaded and deleted",
    NameAct.QUANTIZE: "being made smaller as",
    NameAct.CLEAR: "being deleted",
}


@dataclass(frozen=True, kw_only=True)
class Done:
    """An order about a name, or a move, in words. ``level`` colours how it ended."""

    title: str
    words: str
    level: str
    notes: tuple[str, ...]
    job: NameJob | Move
    is_move: bool

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.job.is_active


@dataclass(frozen=True, kw_only=True)
class StorageView:
    """``unique_bytes`` is what all names of the lab take together, each file once a server."""

    servers: tuple[Server, ...]
    doing: tuple[Done, ...]
    done: tuple[Done, ...]
    settings: PullSettings

    @property
    def cards(self) -> tuple[tuple[Server, Bar | None], ...]:
        """Return the servers, each with its disk as a bar."""
        return tuple((server, disk_bar(server)) for server in self.servers)

    @property
    def proposals(self) -> tuple[tuple[Server, Proposal], ...]:
        """Return what may go, with where it is."""
        return tuple((server, each) for server in self.servers for each in server.proposals)


@dataclass(frozen=True, kw_only=True)
class NameView:
    """One name with what can be done about it. ``targets`` are other servers."""

    server: Server
    row: Row
    targets: tuple[Server, ...]
    doing: tuple[Done, ...]


def read_storage(lab: LabView) -> StorageView:
    """Read the page."""
    settings = PullSettings.read()
    ended = _jobs().filter(state__in=NAME_ENDED)[:HISTORY_LENGTH]
    done = _all(ended, _moves().filter(state__in=MOVE_ENDED)[:HISTORY_LENGTH])
    return StorageView(
        servers=read_servers(lab, settings=settings),
        doing=_all(_jobs().active(), _moves().active()),
        done=done[:HISTORY_LENGTH],
        settings=settings,
    )


def read_name(lab: LabView, installed: InstalledModel) -> NameView | None:
    """Read the page of one name; ``None`` where it is gone."""
    servers = read_servers(lab, settings=PullSettings.read())
    found = next(
        (
            (server, row)
            for server in servers
            for row in server.rows
            if row.installed.pk == installed.pk
        ),
        None,
    )
    if found is None:
        return None
    server, row = found
    here = {"instance": installed.instance, "model": installed.name}
    doing = _all(_jobs().active().filter(**here), _moves().active().filter(**here))
    others = (each for each in servers if each.instance.pk != server.instance.pk)
    return NameView(server=server, row=row, targets=tuple(others), doing=doing)


def disk_bar(server: Server) -> Bar | None:
    """Draw a disk; ``None`` where nobody measured it. The mark is where it shall stay free."""
    if server.disk is None:
        return None
    parts = (
        Segment(kind="model", label="models", size_bytes=server.unique_bytes, colour=1),
        Segment(kind="model", label="unfinished", size_bytes=server.partial_bytes or 0, colour=2),
        Segment(kind="model", label="left over", size_bytes=server.orphan_bytes or 0, colour=4),
        Segment(kind="other", label="other files", size_bytes=server.others_bytes or 0),
        Segment(kind="free", label="free", size_bytes=server.disk.free_bytes),
    )
    total = server.disk.total_bytes
    return Bar(
        label=f"disk of {server.title}",
        total_bytes=total,
        used_bytes=total - server.disk.free_bytes,
        segments=tuple(part for part in parts if part.size_bytes),
        mark_bytes=max(0, total - server.keep_bytes) if server.keep_bytes else None,
        mark_label="free from here on, kept",
    )


def _all(jobs: Iterable[NameJob], moves: Iterable[Move]) -> tuple[Done, ...]:
    """Put both into words, the newest first."""
    found = [*map(_order, jobs), *map(_move, moves)]
    return tuple(sorted(found, key=lambda each: each.job.created_at, reverse=True))


def _jobs() -> NameJobQuerySet:
    return NameJob.objects.select_related("instance__node")


def _moves() -> MoveQuerySet:
    return Move.objects.select_related("instance__node", "target__node")


def _order(job: NameJob) -> Done:
    act, state = NameAct(job.act), NameState(job.state)
    words = f"{(_DOING if job.is_active else _DONE)[act]} {job.target}".strip()
    notes = [job.meaning, job.why and f"Why: {job.why}."]
    if state == NameState.DONE and job.frees_bytes and act in _FREEING:
        notes.insert(0, f"{size(job.frees_bytes)} freed.")
    if state in {NameState.FAILED, NameState.CANCELLED}:
        words = f"not {_DONE[act]} {job.target}: {state.label}".replace(" :", ":")
        notes.insert(0, job.reason)
    return Done(
        title=job.model or "Unfinished downloads",
        words=words,
        level=_level(state == NameState.DONE, state == NameState.FAILED),
        notes=tuple(filter(None, notes)),
        job=job,
        is_move=False,
    )


_FREEING = {NameAct.DELETE, NameAct.CLEAR}


def _move(job: Move) -> Done:
    state = MoveState(job.state)
    return Done(
        title=job.model,
        words=f"to {job.target}: {state.label}",
        level=_level(state == MoveState.DONE, state == MoveState.FAILED),
        notes=(job.reason,) if job.reason else (),
        job=job,
        is_move=True,
    )


def _level(is_good: bool, is_bad: bool) -> str:  # noqa: FBT001 - two of a kind
    return "good" if is_good else "bad" if is_bad else "quiet"
