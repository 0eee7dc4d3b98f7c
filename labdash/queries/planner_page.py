"""A plan as its page shows it: what was wanted beside what each gets, and why."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from labdash.models import Deployment as Wanted
from labdash.models import Gpu, PlanItem
from labdash.planner.lab import Lab, Yields
from labdash.planner.plan import Choice, Placement, Plan, Refusal, Unproved
from labdash.planner.telling.words import all_of, layers, tokens
from labdash.queries.bars import loaded_models, view_gpus
from labdash.queries.lab import LabView
from labdash.queries.library import Library, read_library
from labdash.queries.plan_in_force import ItemView, view_item
from labdash.queries.planner_bars import NodeBars, measured_bytes, plan_bars

type Level = Literal["good", "attention", "bad", "quiet"]
# "old": of a lab that has changed since, until there is a new one.
type Stage = Literal["quick", "exact", "ended", "old"]

UNSURE: Mapping[Stage, str] = {
    "old": "Planning anew: something has changed",
    "quick": "A quick answer; still looking for a better one",
    "ended": "A quick answer; the search for a better one went wrong",
}
# A smaller gap is written as none.
LEAST_SHARE = 0.0005
GIVEN: Mapping[Yields, str] = {
    "ctx": "less context",
    "quant": "smaller quant",
    "offload": "partly on the CPU",
}
NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known beside a plan: the one in force, and by device its GPU and its models."""

    library: Library
    items: tuple[PlanItem, ...] = ()
    gpus: Mapping[str, Gpu] = field(default_factory=dict)
    measured: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Badge:
    """How well one is served, in a word or two."""

    text: str
    level: Level


@dataclass(frozen=True, kw_only=True)
class PlacementView:
    """Where one copy goes. ``gave_up`` says in figures what it has less than wished.

    ``given_up`` says why, ``reasons`` why it is there and what else there is to know.
    ``check`` is the part of the plan in force that is this placement, for what was seen of it.
    """

    copy: str
    where: str
    node: str
    choice: Choice
    size_bytes: int
    gave_up: Mapping[Yields, str]
    given_up: tuple[str, ...]
    reasons: tuple[str, ...]
    shares: str | None
    check: ItemView | None


@dataclass(frozen=True, kw_only=True)
class RefusalView:
    """Why one copy goes nowhere."""

    copy: str
    refusal: Refusal


@dataclass(frozen=True, kw_only=True)
class DeploymentView:
    """One of what is wanted, and what became of it. ``badge`` is None until there is a plan."""

    row: Wanted
    wants: str
    badge: Badge | None
    placements: tuple[PlacementView, ...] = ()
    refusals: tuple[RefusalView, ...] = ()
    colour: int = 1


@dataclass(frozen=True, kw_only=True)
class PlanView:
    """A whole plan. ``in_force``: it is what runs now already."""

    headline: str
    certainty: str
    stage: Stage
    plan: Plan
    deployments: tuple[DeploymentView, ...]
    nodes: tuple[NodeBars, ...]
    in_force: bool

    @property
    def download_bytes(self) -> int:
        """What its application would fetch."""
        return sum(move.bytes for move in self.plan.moves if move.kind == "pull")


def read_seen(lab: LabView) -> Seen:
    """Read what the page shows beside a plan."""
    library = read_library()
    measured: dict[str, int] = {}
    for view in lab.nodes:
        gpus = view_gpus(view, loaded_models(view, library))
        measured |= measured_bytes(view.node.slug, gpus)
    rows = [(view.node.slug, row) for view in lab.nodes for row in view.node.gpus.all()]
    return Seen(
        library=library,
        items=lab.served,
        gpus={f"{slug}/{row.index}": row for slug, row in rows},
        measured=measured,
    )


def view_plan(
    plan: Plan, lab: Lab, wanted: Sequence[Wanted], seen: Seen, *, stage: Stage
) -> PlanView:
    """Put a plan beside what was wanted and what is seen."""
    placements, refusals = _by_name(plan.placements), _by_name(plan.refusals)
    checks = {(item.deployment_name, item.replica): item for item in seen.items}
    colours = {row.name: colour_of(row.model, placements[row.name], seen.library) for row in wanted}
    views = [_view(row, placements[row.name], refusals[row.name], lab, checks) for row in wanted]
    in_force = bool(checks) and not plan.moves
    return PlanView(
        headline=headline(plan),
        certainty=certainty(plan, stage, in_force=in_force),
        stage=stage,
        plan=plan,
        in_force=in_force,
        deployments=tuple(replace(view, colour=colours[view.row.name]) for view in views),
        nodes=plan_bars(
            plan,
            lab,
            colours=colours,
            rows=seen.gpus,
            measured=seen.measured if seen.items else {},
        ),
    )


def wishes_alone(wanted: Iterable[Wanted], library: Library) -> tuple[DeploymentView, ...]:
    """Show what is wanted while there is no plan for it."""
    return tuple(
        DeploymentView(row=row, wants=wishes(row), badge=None, colour=library.colour(row.model))
        for row in wanted
    )


def headline(plan: Plan) -> str:
    """Say in one sentence how many are served."""
    served, refused = len(plan.placements), len(plan.refusals)
    if not served and not refused:
        return "Nothing is asked for."
    if not refused:
        return "It fits." if served == 1 else f"All {number(served)} fit."
    if not served:
        return "It does not fit." if refused == 1 else f"None of the {number(refused)} fits."
    verb = "fits" if served == 1 else "fit"
    return f"{number(served).capitalize()} of {number(served + refused)} {verb}."


def certainty(plan: Plan, stage: Stage, *, in_force: bool = False) -> str:
    """Say how far from the best the plan can be."""
    if stage == "quick" and in_force:
        return "In force; looking whether there is a better one"
    if stage in UNSURE:
        return UNSURE[stage]
    ended = " when the time for the search was over" if plan.limited_by == "time" else ""
    if plan.gap is None:
        how = f": {possible(plan.unproved)}" if plan.unproved else ""
        return f"Not proved to be the best{ended}{how}"
    if plan.gap < LEAST_SHARE:
        return "Proved best for your order of priorities"
    return f"Within {100 * plan.gap:.1f} % of the best possible{ended}"


def possible(unproved: Unproved) -> str:
    """Say what a better plan might have."""
    if unproved.part == "served":
        served = f"{unproved.got} served at priority {unproved.priority}"
        return f"{served}, perhaps {unproved.bound} can be"
    least = f"as few as {unproved.bound}" if unproved.bound else "none"
    return f"{layers(unproved.got)} on the CPU, perhaps {least} need be"


def number(count: int) -> str:
    """Write a small number as a word."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def wishes(row: Wanted) -> str:
    """Write in one line what is wanted, the least first."""
    quants = _span(row.quant_floor, row.quant_wish)
    contexts = _span(tokens(row.ctx_floor), tokens(row.ctx_wish))
    stays = "stays in memory" if row.residency == "resident" else "on demand"
    copies = f"{row.replicas} copies" if row.replicas > 1 else ""
    return " · ".join(part for part in (quants, contexts, stays, copies) if part)


def where(choice: Choice) -> str:
    """Name the devices of a placement as a person would."""
    gpus = sorted(int(device.rpartition("/")[2]) for device in choice.gpu_devices)
    named = ""
    if gpus:
        named = f"GPU {gpus[0]}" if len(gpus) == 1 else f"GPUs {all_of(map(str, gpus))}"
    if not named:
        return f"the CPU of {choice.node}"
    beside = " and the CPU" if choice.cpu_layers else ""
    return f"{named}{beside} of {choice.node}"


def size_of(choice: Choice) -> int:
    """Sum up what a placement takes, RAM included."""
    return sum(choice.bytes[each] for each in choice.gpu_devices) + choice.host_bytes


def _span(least: str, most: str) -> str:
    if least and most and least != most:
        return f"{least} to {most}"
    return least or (f"up to {most}" if most else "")


def _by_name[Part: (Placement, Refusal)](parts: Iterable[Part]) -> Mapping[str, list[Part]]:
    found: defaultdict[str, list[Part]] = defaultdict(list)
    for part in parts:
        found[part.deployment.name].append(part)
    return found


def _view(
    row: Wanted,
    placements: list[Placement],
    refusals: list[Refusal],
    lab: Lab,
    checks: Mapping[tuple[str, int], PlanItem],
) -> DeploymentView:
    views = tuple(_placed(each, row, lab, checks) for each in placements)
    return DeploymentView(
        row=row,
        wants=wishes(row),
        badge=_badge(views, refusals),
        placements=views,
        refusals=tuple(
            RefusalView(copy=_copy(row, each.replica), refusal=each) for each in refusals
        ),
    )


def colour_of(model: str, placements: Iterable[Placement], library: Library) -> int:
    """Return the colour that a model has on every page: by what of it is installed, if any."""
    names = [name for each in placements for name in each.choice.variant.names]
    known = next((name for name in names if name in library.families), model)
    return library.colour(known)


def _copy(row: Wanted, replica: int) -> str:
    return f"copy {replica + 1}" if row.replicas > 1 else ""


def _placed(
    placement: Placement, row: Wanted, lab: Lab, checks: Mapping[tuple[str, int], PlanItem]
) -> PlacementView:
    choice = placement.choice
    node, instance = lab.homes[choice.instance]
    server = f" ({instance.name})" if len(node.instances) > 1 else ""
    item = checks.get((row.name, placement.replica))
    is_same = item is not None and str(item.instance) == choice.instance and item.ctx == choice.ctx
    return PlacementView(
        copy=_copy(row, placement.replica),
        where=where(choice) + server,
        node=choice.node,
        choice=choice,
        size_bytes=size_of(choice),
        gave_up=dict(_gave_up(placement)),
        given_up=placement.given_up,
        reasons=tuple(each for each in placement.reasons if each not in placement.given_up),
        shares=placement.shares,
        check=view_item(item) if item and is_same else None,
    )


def _gave_up(placement: Placement) -> Iterable[tuple[Yields, str]]:
    wanted, choice = placement.deployment, placement.choice
    best = wanted.variants[0]
    most = min(wanted.ctx_wish, best.model.shape.ctx_train or wanted.ctx_wish)
    if choice.ctx < most:
        yield "ctx", f"{tokens(choice.ctx)} of {tokens(most)}"
    if choice.variant.quant != best.quant:
        yield "quant", f"{choice.variant.quant}, not {best.quant}"
    if choice.form == "cpu":
        yield "offload", "all layers on the CPU"
    elif choice.cpu_layers:
        yield "offload", f"{choice.cpu_layers} of {sum(choice.layers.values())} layers on the CPU"


def _badge(views: Sequence[PlacementView], refusals: Sequence[Refusal]) -> Badge | None:
    if refusals:
        part = f"{len(views)} of {len(views) + len(refusals)} copies" if views else "refused"
        return Badge(text=part, level="bad")
    if not views:
        return None
    if any(view.choice.form == "cpu" for view in views):
        return Badge(text="on the CPU", level="attention")
    given = {kind for view in views for kind in view.gave_up}
    said = [text for kind, text in GIVEN.items() if kind in given]
    return (
        Badge(text=all_of(said), level="attention")
        if said
        else Badge(text="as wished", level="good")
    )
