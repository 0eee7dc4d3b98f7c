"""What may be asked on a node, how an answer stands, and what its figures say."""

import json
from dataclasses import dataclass
from datetime import datetime

import redis
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from labdash import live
from labdash.models import InstalledModel, Node
from labdash.queries.bars import loaded_models
from labdash.queries.lab import view_node
from labdash.queries.library import plain_name, read_library
from workers import wire
from workers.wire.base import InstalledName
from workers.wire.tries import BEAT_S, MOST_ANSWER_BYTES, MOST_S, TAKE_S, WISH_S

# Longer than any answer takes, and then for a page that is loaded again.
RUN_KEPT_S = 900
# One read holds the longest line that a worker writes several times over.
READ_BYTES = 65_536
# A worker cuts a little later than it should, since it judges each piece when it is written.
CUT_BYTES = MOST_ANSWER_BYTES + 2 * READ_BYTES
PHASES = {None: "waiting", True: "reading", False: "loading"}
OVER = "This try is over, and its answer is no longer kept."
STRANGE = "The worker of this node writes an answer that this hub does not understand."

_names: TypeAdapter[str] = TypeAdapter(InstalledName)


class Run(BaseModel):
    """A prompt on its way, without the prompt. ``address`` is whose keys hold it."""

    model_config = ConfigDict(frozen=True)

    id: str
    user: int
    node: str
    address: str
    instance: str
    model: str
    asked_at: datetime


@dataclass(frozen=True, kw_only=True)
class Part:
    """What came of an answer since byte ``at``; ``at`` is where the next part begins."""

    at: int
    lines: tuple[wire.TryLine, ...] = ()

    @property
    def thought(self) -> str:
        """What the model thinks."""
        return self._text(thinking=True)

    @property
    def text(self) -> str:
        """What it answers."""
        return self._text(thinking=False)

    @property
    def end(self) -> wire.TryEnd | None:
        """How it ended, if it did."""
        return next((line for line in self.lines if isinstance(line, wire.TryEnd)), None)

    @property
    def phase(self) -> str:
        """What it is about, in one word; nothing where the part does not tell."""
        last = self.lines[-1] if self.lines else None
        match last:
            case wire.TryBegan():
                return PHASES[last.was_loaded]
            case wire.TryText():
                return "thinking" if last.thinking else "answering"
            case wire.TryEnd():
                return "ended"
        return ""

    def _text(self, *, thinking: bool) -> str:
        texts = (line for line in self.lines if isinstance(line, wire.TryText))
        return "".join(line.text for line in texts if line.thinking == thinking)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model that may be asked."""

    installed: InstalledModel
    name: str
    is_loaded: bool


def run_key(run_id: str) -> str:
    """Name the hub's own key for a try."""
    return f"hub:try:{run_id}"


def read_run(run_id: str, *, user: int, node: str) -> Run | None:
    """Return a try of this user on this node. Raises ``live.StoreDown``."""
    with live.store_errors():
        entry = live.store().get(run_key(run_id))
    try:
        run = Run.model_validate_json(str(entry))
    except ValidationError:
        return None
    return run if (run.user, run.node) == (user, node) else None


def read_part(run: Run, *, at: int, now: datetime) -> Part:
    """Return what came since ``at``, and say that it is still wanted.

    The worker of a hostile node may have written anything. Raises ``live.StoreDown``.
    """
    key = wire.try_answer_key(run.address, run.id)
    try:
        with live.store_errors():
            pipe = live.store().pipeline(transaction=False)
            pipe.expire(wire.try_wish_key(run.address, run.id), WISH_S)
            pipe.exists(key)
            pipe.getrange(key, at, at + READ_BYTES - 1)
            wished, exists, text = pipe.execute()
        lines = _whole_lines(text)
        part = Part(at=at + len(lines), lines=tuple(map(_line, lines.splitlines())))
    except live.StoreDown as down:
        if isinstance(down.__cause__, redis.ResponseError):
            return _ended(at, STRANGE)
        raise
    except (ValueError, RecursionError):
        return _ended(at, STRANGE)
    if part.lines and at < CUT_BYTES:
        return part
    reason = _reason(run, at=at, is_wanted=bool(wished), exists=bool(exists), now=now)
    return _ended(at, reason) if reason else part


def _whole_lines(text: str) -> str:
    if not text.isascii():
        raise ValueError("a worker writes ASCII alone")
    whole = text[: text.rfind("\n") + 1]
    if text and not whole and len(text) >= READ_BYTES:
        raise ValueError("a line without an end")
    return whole


def _line(line: str) -> wire.TryLine:
    # Not validate_json: it refuses the halves of letters that json reads and the fields clean.
    return wire.try_line_adapter.validate_python(json.loads(line))


def _reason(run: Run, *, at: int, is_wanted: bool, exists: bool, now: datetime) -> str:
    """Say why nothing more will come; nothing where it may."""
    age_s = (now - run.asked_at).total_seconds()
    if at >= CUT_BYTES:
        return "The answer is longer than LabDash shows."
    if exists:
        return "" if age_s < MOST_S + TAKE_S + BEAT_S else "The answer does not come to its end."
    if at:
        return f"The worker of {run.node} went silent in the middle of the answer."
    if not is_wanted:
        return "Stopped before it began."
    if age_s < TAKE_S:
        return ""
    return (
        f"The worker of {run.node} did not take it up within {TAKE_S} s. It may be stopped, or"
        " older than this hub."
    )


def _ended(at: int, reason: str) -> Part:
    return Part(at=at, lines=(wire.TryEnd(outcome="failed", reason=reason),))


def over() -> Part:
    """Return the end of a try of which nothing is known any more."""
    return _ended(0, OVER)


def read_choices(node: Node, *, now: datetime) -> tuple[Choice, ...]:
    """Return what is installed on a node and can be asked there; those in memory come first."""
    try:
        state = live.read_states([node.slug]).get(node.slug)
    except live.StoreDown:
        state = None
    view = view_node(node, state, now=now)
    loaded = {(each.instance, each.name) for each in loaded_models(view, read_library())}
    rows = InstalledModel.objects.in_use().filter(instance__node=node, is_cloud=False)
    choices = [
        Choice(
            installed=row,
            name=plain_name(row.name),
            is_loaded=(row.instance.name, plain_name(row.name)) in loaded,
        )
        for row in rows.select_related("instance__node")
        if may_be_named(row.name)
    ]
    return tuple(
        sorted(choices, key=lambda each: (each.installed.instance.name, not each.is_loaded))
    )


def cloud_names(node: Node) -> tuple[str, ...]:
    """Return the names on a node that run elsewhere."""
    rows = InstalledModel.objects.filter(instance__node=node, is_cloud=True)
    return tuple(rows.order_by("name").values_list("name", flat=True))


def may_be_named(name: str) -> bool:
    """Tell whether a name is one that an order may bear: a node may report any."""
    try:
        _names.validate_python(name)
    except ValidationError:
        return False
    return True
