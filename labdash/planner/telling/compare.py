"""What changes from one plan to another, deployment by deployment."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from labdash.planner.plan import Choice, Placement, Plan, Refusal
from labdash.planner.telling.words import all_of, device_name, rate, tokens

type Fate = Literal["served", "refused", "better", "worse", "mixed", "moved", "same", "gone"]
type Key = tuple[str, int]

# Smaller differences of speed are none: predictions are not that good.
LEAST_SPEED_CHANGE = 0.05
SAID: Mapping[Fate, str] = {
    "served": "more served",
    "refused": "refused now",
    "better": "better",
    "worse": "worse",
    "mixed": "better in one way and worse in another",
    "moved": "elsewhere",
    "same": "as before",
    "gone": "no longer asked for",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one replica. ``text`` is a sentence; both choices may be absent."""

    deployment: str
    replica: int
    fate: Fate
    text: str
    before: Choice | None
    after: Choice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All changes, those that matter first. ``text`` counts them in one sentence."""

    changes: tuple[Change, ...]
    counts: Mapping[Fate, int]
    served_before: int
    served_after: int
    text: str


@dataclass(frozen=True, slots=True)
class _Difference:
    text: str
    gain: int = 0
    is_speed: bool = False


def compare(before: Plan, after: Plan) -> Comparison:
    """Tell what the second plan has otherwise than the first."""
    old, new = _placed(before), _placed(after)
    refused = {_key(each): each for each in after.refusals}
    known = {*old, *(_key(each) for each in before.refusals)}
    changes = [
        _unasked(key, refused[key])
        if key in refused and key not in known
        else _change(key, old.get(key), new.get(key), refused.get(key))
        for key in sorted({*known, *new, *refused})
    ]
    order = list(SAID)
    counts = Counter(change.fate for change in changes)
    return Comparison(
        changes=tuple(sorted(changes, key=lambda change: order.index(change.fate))),
        counts={fate: counts[fate] for fate in SAID if counts[fate]},
        served_before=len(old),
        served_after=len(new),
        text=_summary(counts, len(old), len(new)),
    )


def _key(each: Placement | Refusal) -> Key:
    return each.deployment.name, each.replica


def _placed(plan: Plan) -> dict[Key, Choice]:
    return {_key(each): each.choice for each in plan.placements}


def _change(key: Key, old: Choice | None, new: Choice | None, refusal: Refusal | None) -> Change:
    fate, text = _told(_title(key), old, new, refusal)
    return Change(deployment=key[0], replica=key[1], fate=fate, text=text, before=old, after=new)


def _unasked(key: Key, refusal: Refusal) -> Change:
    """Tell of a refused deployment that the first plan was not asked for."""
    text = f"{_title(key)} is refused: {refusal.text}"
    return Change(
        deployment=key[0], replica=key[1], fate="refused", text=text, before=None, after=None
    )


def _title(key: Key) -> str:
    name, replica = key
    return f"{name}, copy {replica + 1}" if replica else name


def _told(
    title: str, old: Choice | None, new: Choice | None, refusal: Refusal | None
) -> tuple[Fate, str]:
    if old is None and new is not None:
        where, quant = _where(new), new.variant.quant
        return "served", f"{title} is served: {quant} at {tokens(new.ctx)} on {where}."
    if new is None and refusal is None:
        return "gone", f"{title} is no longer asked for."
    if old is not None and new is None and refusal is not None:
        return "refused", f"{title} is no longer served: {refusal.text}"
    if old is None or new is None:
        return "same", f"{title} stays refused."
    differences = list(_differences(old, new))
    if not differences:
        return "same", f"{title} stays as it is."
    return _fate(differences), f"{title}: {all_of(each.text for each in differences)}."


def _fate(differences: list[_Difference]) -> Fate:
    """Judge by what was wished; speed counts where nothing else differs: it follows from them."""
    wishes = {each.gain for each in differences if not each.is_speed} - {0}
    gains = wishes or {each.gain for each in differences} - {0}
    if len(gains) > 1:
        return "mixed"
    return "moved" if not gains else "better" if gains == {1} else "worse"


def _differences(old: Choice, new: Choice) -> Iterator[_Difference]:
    if old.ctx != new.ctx:
        text = f"context {tokens(new.ctx)} instead of {tokens(old.ctx)}"
        yield _Difference(text, _sign(new.ctx - old.ctx))
    if old.variant.quant != new.variant.quant:
        gain = _sign(new.variant.bits_per_weight - old.variant.bits_per_weight)
        yield _Difference(f"{new.variant.quant} instead of {old.variant.quant}", gain)
    if old.cpu_layers != new.cpu_layers:
        text = f"{new.cpu_layers} instead of {old.cpu_layers} layers on the CPU"
        yield _Difference(text, _sign(old.cpu_layers - new.cpu_layers))
    if old.instance != new.instance or set(old.gpu_devices) != set(new.gpu_devices):
        yield _Difference(f"on {_where(new)} instead of {_where(old)}")
    yield from _faster(old.tokens_per_s, new.tokens_per_s)


def _faster(old: float | None, new: float | None) -> Iterator[_Difference]:
    if old is None or new is None or abs(new - old) <= LEAST_SPEED_CHANGE * old:
        return
    text = f"about {rate(new)} instead of {rate(old)}"
    yield _Difference(text, _sign(new - old), is_speed=True)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _where(choice: Choice) -> str:
    devices = all_of(device_name(each) for each in sorted(choice.devices))
    return f"{devices} ({choice.instance})" if devices else choice.instance


def _summary(counts: Counter[Fate], before: int, after: int) -> str:
    parts = [f"{counts[fate]} {said}" for fate, said in SAID.items() if counts[fate]]
    served = f"{after} served" + (f" instead of {before}" if after != before else " as before")
    return f"{', '.join([served, *parts])}." if parts else "Nothing is asked for."
