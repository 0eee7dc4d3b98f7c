"""What may be wrong with the plan in force: what failed, what drifted, and who took its memory."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from labdash.models import ITEM_OVER, Gpu, ItemState, ItemWish, PlanItem, Residency, Verdict
from labdash.models.plan import CANCELLED
from labdash.planner.faults import Fault
from labdash.planner.keeping import Cause, Place, Stay, why_not
from labdash.queries.lab import LabView, NodeView
from labdash.queries.library import plain_name
from labdash.queries.memory_now import others_on
from labdash.queries.plan_faults import fault_of
from labdash.queries.problem_view import ProblemView, Severity, about
from labdash.queries.upkeep import is_kept, owner_text, places
from labdash.queries.upkeep_rows import Upkeep
from labdash.wording import GIB, size

# Less than this comes and goes with windows and browsers.
NOTABLE_BYTES = GIB // 2
# What is loaded anew makes room first, and others wait for it: that is over by then.
PASSES_AFTER = timedelta(minutes=2)
_DRIFT = {Verdict.SPILLED, Verdict.WRONG_GPU, Verdict.EVICTED, Verdict.NOT_LOADED}
_STEPS: Mapping[Cause, str] = {
    "soon": "Nothing: it is brought back by itself. See who loads other models there.",
    "away": "It is brought back once that is over.",
    "busy": "Wait: it is brought back afterwards.",
    "hand": "Press Try again on Planner to have it brought back, or apply a plan without it.",
    "used": "It is brought back when that model leaves. To have it sooner, unload that one.",
    "room": "End what holds the memory, or plan anew on Planner: the plan then does without it.",
    "given-up": "See who loads other models there, then press Try again on Planner, or plan anew.",
}


def find(view: NodeView, lab: LabView) -> Iterator[ProblemView]:
    """Yield what is wrong with the part of the plan that is on a node that reports."""
    upkeep = lab.upkeep
    if upkeep is None:
        return
    place = places(upkeep, (view,), now=lab.now).get(view.node.pk)
    here = [item for item in upkeep.items if item.instance.node_id == view.node.pk]
    failed = [item for item in here if item.state == ItemState.FAILED]
    yield from (_failed(view, item) for item in failed if item.reason != CANCELLED)
    yield from _cancelled(view, [item for item in failed if item.reason == CANCELLED])
    if place is not None:
        yield from _drifts(view, lab, here, place)
    yield from _returned(view, upkeep)
    yield from _taken(view, upkeep, here)


def on_cpu(view: NodeView, lab: LabView) -> frozenset[tuple[str, str]]:
    """Return what may lie on a node's CPU without a word, by instance and name.

    It is planned so, in part at least, or the plan tells of it itself, or just moves it.
    """
    items = lab.upkeep.items if lab.upkeep else ()
    return frozenset(
        (item.instance.name, plain_name(name).lower())
        for item in items
        if item.instance.node_id == view.node.pk
        for name in _on_cpu(item, view)
    )


def _on_cpu(item: PlanItem, view: NodeView) -> tuple[str, ...]:
    if item.wish == ItemWish.SERVE and item.layers.get(f"{view.node.slug}/cpu"):
        return (item.served_name, item.model)
    is_minded = is_kept(item) and item.verdict in {*_DRIFT, Verdict.UNCHECKED}
    return (item.served_name,) if is_minded or item.state not in ITEM_OVER else ()


def _failed(view: NodeView, item: PlanItem) -> ProblemView:
    name = item.deployment_name or item.model
    verb = "could not be ended" if item.wish == ItemWish.UNLOAD else "is not served"
    text = f"{name} {verb} on {item.instance}: {_inner(item.reason)}"
    step = "On Planner: press Try again once that is mended, or plan anew."
    return about(view, "plan_failed", text, step, severity="bad", subject=_subject(item))


def _cancelled(view: NodeView, items: list[PlanItem]) -> Iterator[ProblemView]:
    """Tell in one line of a node what its owner stopped; what was to leave is no matter."""
    lacks = [item.deployment_name for item in items if item.wish == ItemWish.SERVE]
    if lacks:
        verb = "is" if len(lacks) == 1 else "are"
        text = f"The plan was cancelled, so {_listed(lacks)} {verb} not served on {view.node.slug}."
        step = "On Planner: press Try again to go on with it, or plan anew."
        yield about(view, "plan_cancelled", text, step, severity="attention")


def _inner(reason: str) -> str:
    return reason or "nobody said why."


def _subject(item: PlanItem) -> str:
    return f"{item.instance.name} {item.deployment_name or item.model} {item.replica}"


# --- drift ---------------------------------------------------------------------------------------


def _drifts(
    view: NodeView, lab: LabView, here: Iterable[PlanItem], place: Place
) -> Iterator[ProblemView]:
    stays = why_not(place)
    for item in here:
        if item.wish != ItemWish.SERVE or item.state != ItemState.READY or item.shares:
            continue
        if is_kept(item) and item.verdict in _DRIFT:
            yield from _kept(view, lab, item, stays.get(item.pk))
        elif item.verdict in {Verdict.SPILLED, Verdict.WRONG_GPU, Verdict.MORE}:
            yield _otherwise(view, lab, item)


def _kept(view: NodeView, lab: LabView, item: PlanItem, stay: Stay | None) -> Iterator[ProblemView]:
    """Tell of a resident that is not as planned, unless it is about to be brought back."""
    if stay is None or not stay.text:
        return
    if stay.cause == "busy" and item.verdict_since and lab.now - item.verdict_since < PASSES_AFTER:
        return
    fault = _fault(view, lab, item)
    why = f" {fault.text}" if fault else ""
    text = f"{item.deployment_name} on {item.instance}: {item.verdict_text}{why} {stay.text}"
    step = fault.remedy if fault and stay.cause == "given-up" else _STEPS[stay.cause]
    severity: Severity = "bad" if stay.cause in {"given-up", "room"} else "attention"
    yield about(view, "plan_drift", text, step, severity=severity, subject=_subject(item))


def _fault(view: NodeView, lab: LabView, item: PlanItem) -> Fault | None:
    return fault_of(view, lab.upkeep, item, now=lab.now) if lab.upkeep else None


def _otherwise(view: NodeView, lab: LabView, item: PlanItem) -> ProblemView:
    """Tell of what is in memory otherwise than planned, where nothing is done about it."""
    fault = _fault(view, lab, item)
    text = f"{item.deployment_name} on {item.instance}: {item.verdict_text}"
    step = "If it lasts, plan anew on Planner: what was seen is then reckoned with."
    if fault is not None:
        text, step = f"{text} {fault.text}", fault.remedy
    elif item.residency == Residency.ON_DEMAND and item.verdict != Verdict.MORE:
        step = "Unload it: it is loaded as planned when somebody asks again."
    severity: Severity = "info" if item.verdict == Verdict.MORE else "attention"
    return about(view, "plan_drift", text, step, severity=severity, subject=_subject(item))


# --- cards and their owners ----------------------------------------------------------------------


def _returned(view: NodeView, upkeep: Upkeep) -> Iterator[ProblemView]:
    """Tell of cards that the plan leaves to their owners, and what it does meanwhile."""
    others = others_on(view)
    for gpu in view.node.gpus.all():
        if not gpu.is_returned:
            continue
        device = f"{view.node.slug}/{gpu.index}"
        used = [item.deployment_name for item in upkeep.served if device in item.bytes]
        if used and gpu.pk in upkeep.plan.without:
            yield _kept_from(view, gpu, used)
            continue
        who = "" if gpu.given_back else _who(others.get(device, {}), device)
        did = _dot(upkeep.plan.why) if upkeep.plan.instead_of is not None else ""
        if not who and not did.startswith(f"{device} "):
            who = owner_text(gpu, view.node.slug)
        text = " ".join(filter(None, (who, did)))
        yield about(view, "gpu_returned", text, _way_back(gpu), severity="info", subject=gpu.uuid)


def _kept_from(view: NodeView, gpu: Gpu, used: Iterable[str]) -> ProblemView:
    """Tell that a plan that was asked back uses a card all the same."""
    text = (
        f"{owner_text(gpu, view.node.slug)} The plan that you asked back has {_listed(used)} there."
    )
    step = "To leave the card to its owner: plan anew on Planner, and apply that."
    return about(view, "gpu_returned", text, step, subject=gpu.uuid)


def _dot(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def _way_back(gpu: Gpu) -> str:
    if gpu.given_back:
        return "To let the plan use it again: on its page, from Planner."
    return "Nothing: the plan comes back a minute after those programs end."


def _who(others: Mapping[str, int], device: str) -> str:
    held = sorted(others.items(), key=lambda other: (-other[1], other[0]))[:2]
    told = " and ".join(f"{name} holds {size(taken)}" for name, taken in held)
    return f"{told} of {device}: the plan leaves it the card." if told else ""


def _taken(view: NodeView, upkeep: Upkeep, here: list[PlanItem]) -> Iterator[ProblemView]:
    """Tell of programs that took memory since the plan was made, card by card."""
    served = [item for item in here if item.wish == ItemWish.SERVE and not item.shares]
    others = others_on(view)
    for gpu in view.node.gpus.all():
        device = f"{view.node.slug}/{gpu.index}"
        users = [item for item in served if device in item.bytes]
        new = _new(others.get(device, {}), upkeep.plan.others.get(device, {}))
        if gpu.is_returned or not users or sum(new.values()) < NOTABLE_BYTES:
            continue
        total = _total(view, gpu)
        if total is not None:
            held = sum(others[device].values())
            yield _taking(view, gpu, users, new, short=_planned(users, device) + held - total)


def _new(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    more = {name: held - before.get(name, 0) for name, held in now.items()}
    return {name: grown for name, grown in more.items() if grown > 0}


def _total(view: NodeView, gpu: Gpu) -> int | None:
    """Return what programs and models may hold of a card together."""
    readings = view.sample.gpus if view.sample else ()
    reading = next((each for each in readings if each.index == gpu.index), None)
    if reading is None or reading.memory_total_bytes is None:
        return None
    return reading.memory_total_bytes - (reading.memory_reserved_bytes or 0)


def _planned(users: Iterable[PlanItem], device: str) -> int:
    """Sum what stays, and the largest of what loads on demand."""
    sizes = [(item.residency == Residency.RESIDENT, int(item.bytes[device])) for item in users]
    stays: int = sum(size_bytes for is_resident, size_bytes in sizes if is_resident)
    return stays + max((each for is_resident, each in sizes if not is_resident), default=0)


def _taking(
    view: NodeView, gpu: Gpu, users: list[PlanItem], new: Mapping[str, int], *, short: int
) -> ProblemView:
    device = f"{view.node.slug}/{gpu.index}"
    largest = sorted(new.items(), key=lambda each: (-each[1], each[0]))[:2]
    who = " and ".join(f"{name} took {size(taken)}" for name, taken in largest)
    text = f"{who} of {device} since it was planned. {_effect(users, short)}"
    severity: Severity = "attention" if short > 0 else "info"
    step = _remedy(gpu, largest[0][0]) if short > 0 else "Nothing: the plan fits beside it."
    return about(view, "memory_taken", text, step, severity=severity, subject=gpu.uuid or device)


def _effect(users: list[PlanItem], short: int) -> str:
    """Say what it does to whom."""
    if short <= 0:
        return f"All that is planned there still fits, with {size(-short)} to spare."
    gone = [item for item in users if is_kept(item) and item.verdict in _DRIFT]
    lost = _listed(item.deployment_name for item in gone)
    left = _listed(item.deployment_name for item in users if item not in gone)
    if not left:
        return f"{lost} had to leave or spilled: {size(short)} are missing."
    said = f"{lost} had to leave or spilled. " if lost else ""
    rest = (
        "stay as they are while they are in memory; to come back they lack"
        if len(users) - len(gone) > 1
        else "stays as it is while it is in memory; to come back it lacks"
    )
    return f"{said}{left} {rest} {size(short)}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _remedy(gpu: Gpu, who: str) -> str:
    if gpu.game_bytes is not None:
        amount = size(gpu.game_bytes)
        return f"The card is given back by itself from {amount} on. Until then: end {who}."
    return (
        f"End {who}, or give the card back on its page, from Planner: the plan then does without"
        " it. There it can be set to happen by itself."
    )
