"""What if: the lab otherwise than it is, to be planned beside it. Nothing is stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from labdash.models import Deployment as Wanted
from labdash.planner import what_if
from labdash.planner.lab import Card, Deployment, Lab
from labdash.planner.plan import Choice, Plan
from labdash.planner.telling.compare import Comparison, compare
from labdash.planner.telling.words import all_of, tokens
from labdash.queries.fit_described import describe_card
from labdash.queries.lab_of_entries import make_of, unseen_bytes
from labdash.queries.planner_page import where
from labdash.queries.snapshot import read_shelf
from labdash.queries.variants import variants_of
from labdash.wording import GIB

KV_TYPE = "OLLAMA_KV_CACHE_TYPE"
FLASH = "OLLAMA_FLASH_ATTENTION"
SLOTS = "OLLAMA_NUM_PARALLEL"
ADDED = "added"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be otherwise; what is empty stays as it is."""

    card: str = ""
    card_node: str = ""
    more: str = ""
    more_ctx: int | None = None
    instance: str = ""
    kv_type: str = ""
    slots: int | None = None
    asleep: str = ""
    awake: str = ""
    model: str = ""
    model_quant: str = ""
    model_ctx: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not any((self.card, self.more, self.instance, self.asleep, self.awake, self.model))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One replica, now and then."""

    name: str
    now: str
    then: str
    fate: Literal["good", "bad", "attention", "quiet"]


@dataclass(frozen=True, kw_only=True)
class Otherwise:
    """Both plans side by side. ``text`` counts what changes."""

    rows: tuple[Row, ...]
    text: str
    then: Plan


LEVELS: dict[str, Literal["good", "bad", "attention", "quiet"]] = {
    "served": "good", "better": "good", "refused": "bad", "worse": "bad", "mixed": "attention",
    "moved": "attention",
}  # fmt: skip


def changed_lab(lab: Lab, asked: Asked) -> Lab:
    """Change a lab as it is asked. Raises ``PlannerError`` with one line."""
    for is_asked, change in (
        (asked.card, _with_card),
        (asked.more, _with_context),
        (asked.instance, _with_settings),
        (asked.asleep, lambda lab, asked: what_if.asleep(lab, asked.asleep)),
        (asked.awake, lambda lab, asked: what_if.awake(lab, asked.awake)),
    ):
        if is_asked:
            lab = change(lab, asked)
    return _with_model(lab, asked) if asked.model else lab


def in_words(asked: Asked) -> str:
    """Say what is otherwise."""
    return all_of(_said(asked)) if not asked.is_empty else ""


def side_by_side(now: Plan, then: Plan) -> Otherwise:
    """Compare what is with what would be."""
    told: Comparison = compare(now, then)
    before, after = _refused(now), _refused(then)
    rows = tuple(
        Row(
            name=f"{each.deployment}, copy {each.replica + 1}" if each.replica else each.deployment,
            now=_short(each.before, is_asked=(each.deployment, each.replica) in before),
            then=_short(each.after, is_asked=(each.deployment, each.replica) in after),
            fate=LEVELS.get(each.fate, "quiet"),
        )
        for each in told.changes
    )
    return Otherwise(rows=rows, text=told.text, then=then)


def _refused(plan: Plan) -> set[tuple[str, int]]:
    return {(each.deployment.name, each.replica) for each in plan.refusals}


def _said(asked: Asked) -> Iterator[str]:
    more, slots = tokens(asked.more_ctx or 0), asked.slots
    said = (
        (asked.card, f"another {asked.card} in {asked.card_node}"),
        (asked.more, f"at least {more} for {asked.more}"),
        (asked.instance and asked.kv_type, f"a {asked.kv_type} KV cache on {asked.instance}"),
        (asked.instance and slots, f"{slots} slots on {asked.instance}"),
        (asked.asleep, f"{asked.asleep} asleep"),
        (asked.awake, f"{asked.awake} awake"),
        (asked.model, f"{asked.model} added"),
    )
    yield from (text for is_asked, text in said if is_asked)


def _short(choice: Choice | None, *, is_asked: bool) -> str:
    if choice is None:
        return "refused" if is_asked else "not asked for"
    speed = f", {choice.tokens_per_s:.0f} tokens/s" if choice.tokens_per_s else ""
    return f"{choice.variant.quant} at {tokens(choice.ctx)} on {where(choice)}{speed}"


def _with_card(lab: Lab, asked: Asked) -> Lab:
    return what_if.with_card(lab, asked.card_node, catalog_card(asked.card))


def catalog_card(name: str) -> Card:
    """Make an empty card of the catalog. Raises ``PlannerError`` where it has none such."""
    facts, gb = describe_card(name)
    total = round((gb or max(facts.vram_gb)) * GIB)
    vendor, speed_class = make_of(facts.name, facts)
    return Card(
        index=0,
        name=facts.name,
        total_bytes=total,
        used_bytes=unseen_bytes(total, vendor),
        vendor=vendor,
        sm_count=facts.sm_count,
        speed_class=speed_class,
        bandwidth_gbs=facts.bandwidth_gbs,
    )


def _with_context(lab: Lab, asked: Asked) -> Lab:
    return what_if.with_ctx(lab, asked.more, floor=asked.more_ctx)


def _with_settings(lab: Lab, asked: Asked) -> Lab:
    changes: dict[str, str | None] = {}
    if asked.kv_type:
        changes |= {KV_TYPE: asked.kv_type, FLASH: "1"}
    if asked.slots:
        changes[SLOTS] = str(asked.slots)
    return what_if.with_env(lab, asked.instance, changes)


def _with_model(lab: Lab, asked: Asked) -> Lab:
    ctx = asked.model_ctx or Wanted._meta.get_field("ctx_floor").default  # noqa: SLF001 - public
    taken = {each.name for each in lab.deployments}
    name = asked.model if asked.model not in taken else f"{asked.model}-{ADDED}"
    added = Deployment(
        name=name,
        model=asked.model,
        variants=variants_of(asked.model, asked.model_quant, asked.model_quant, shelf=read_shelf()),
        ctx_floor=ctx,
        ctx_wish=ctx,
    )
    return what_if.with_deployment(lab, added)
