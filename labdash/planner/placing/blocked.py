"""Why a deployment can be served nowhere, not even in an empty lab."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labdash.planner.lab import Deployment, Lab, Variant
from labdash.planner.ollama import GIB
from labdash.planner.placing.inventory import download_bytes
from labdash.planner.placing.outcome import Found, Miss, Outcome, Trial
from labdash.planner.placing.seats import Member, Seat, seats_of
from labdash.planner.placing.ways import is_admitted, labels_of, steps_of, suits, ways_at
from labdash.planner.plan import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """``short_bytes`` is what the nearest place lacks, None where memory does not bind."""

    limit: Limit
    short_bytes: int | None
    text: str


@dataclass(frozen=True, slots=True)
class _Try:
    variant: Variant
    found: Found
    member: Member
    seat: Seat


def why_none(lab: Lab, deployment: Deployment) -> Blocked:
    """Tell what binds a deployment that has no choice: the limit of the place that nearly does."""
    return (
        _unknown(deployment)
        or _nowhere(lab, deployment)
        or _too_long(deployment)
        or _unsuited(lab, deployment)
        or _nearest(lab, deployment)
    )


def _unknown(deployment: Deployment) -> Blocked | None:
    if deployment.variants:
        return None
    text = deployment.unknown_text or f"No file of {deployment.model} is known."
    return Blocked(limit=deployment.unknown or "quant", short_bytes=None, text=text)


def _nowhere(lab: Lab, deployment: Deployment) -> Blocked | None:
    """Tell whether there is no node, or not the device that it is pinned to."""
    wanted = deployment.nodes
    named = [node for node in lab.nodes if not wanted or wanted & labels_of(node)]
    if not named:
        text = f"No node is called {_any(wanted)}." if wanted else "The lab has no node."
        return Blocked(limit="nodes", short_bytes=None, text=text)
    if all(node.away or not node.instances for node in named):
        away = [f"{node.name} ({node.away or 'no Ollama'})" for node in named]
        text = f"Nothing can be planned on {', '.join(away)}."
        return Blocked(limit="nodes", short_bytes=None, text=text)
    if deployment.pin and not list(_places(lab, deployment)):
        text = f"{deployment.pin} is no device that a model can be pinned to here."
        return Blocked(limit="pin", short_bytes=None, text=text)
    return None


def _too_long(deployment: Deployment) -> Blocked | None:
    trained = max(each.model.shape.ctx_train for each in deployment.variants)
    if any(steps_of(deployment, each.model.shape.ctx_train) for each in deployment.variants):
        return None
    floor = deployment.ctx_floor
    text = f"The model was trained with {trained:,} tokens, fewer than the floor of {floor:,}."
    return Blocked(limit="context", short_bytes=None, text=text)


def _unsuited(lab: Lab, deployment: Deployment) -> Blocked | None:
    """Tell whether no server has the cache or the slots that are demanded."""
    places = list(_places(lab, deployment))
    if any(suits(deployment, each, seat) for each in deployment.variants for _, seat in places):
        return None
    wanted = [f"a cache of {_any(deployment.kv_types)}"] if deployment.kv_types else []
    wanted += [f"{deployment.parallel} slots"] if deployment.parallel else []
    text = f"No server that it may use has {' and '.join(wanted)}."
    return Blocked(limit="instance", short_bytes=None, text=text)


def _nearest(lab: Lab, deployment: Deployment) -> Blocked:
    tried = list(_tries(lab, deployment))
    if any(isinstance(each.found, Outcome) for each in tried):
        return _too_slow(deployment, tried) or _full_disk(lab, deployment, tried)
    short = [each for each in tried if _shortage(each) is not None]
    if short:
        return _short(lab, min(short, key=lambda each: _shortage(each) or 0))
    misses = [each.found for each in tried if isinstance(each.found, Miss)]
    refused = next((miss.text for miss in misses if miss.limit == "instance"), "")
    if refused:
        return Blocked(
            limit="instance", short_bytes=None, text=f"The engine refuses it: {refused}."
        )
    text = "It must not use the CPU, and no server that it may use has a GPU."
    return Blocked(limit="gpu", short_bytes=None, text=text)


def _too_slow(deployment: Deployment, tried: list[_Try]) -> Blocked | None:
    least = deployment.min_tokens_per_s
    speeds = [each.found.tokens_per_s for each in tried if isinstance(each.found, Outcome)]
    best = max((speed for speed in speeds if speed is not None), default=None)
    if not least or (best is not None and best >= least):
        return None
    known = "its speed is not known" if best is None else f"{best:.1f} tokens/s are the most"
    text = f"It needs {least:g} tokens/s; {known} where it fits, even with nothing beside it."
    return Blocked(limit="speed", short_bytes=None, text=text)


def _full_disk(lab: Lab, deployment: Deployment, tried: Iterable[_Try]) -> Blocked:
    """Tell of the disk that lacks least, of machines that could serve it but for that."""
    least = deployment.min_tokens_per_s or 0.0
    free = {node.name: node.disk_free_bytes or 0 for node in lab.nodes}
    short, name, smallest = min(
        (
            (download_bytes(each.variant) - free[member.node], member.node, each.variant)
            for each in tried
            if isinstance(each.found, Outcome) and (each.found.tokens_per_s or 0.0) >= least
            for member in seats_of(lab)[each.seat]
            if is_admitted(lab, deployment, member)
        ),
        key=lambda found: found[:2],
    )
    text = (
        f"{smallest.name} has to be downloaded, {download_bytes(smallest) / GIB:.1f} GiB;"
        f" {name} has {free[name] / GIB:.1f} GiB of disk free."
    )
    return Blocked(limit="disk", short_bytes=max(0, short), text=text)


def _shortage(each: _Try) -> int | None:
    return each.found.short_bytes if isinstance(each.found, Miss) else None


def _short(lab: Lab, nearest: _Try) -> Blocked:
    miss, member, seat = nearest.found, nearest.member, nearest.seat
    assert isinstance(miss, Miss)  # noqa: S101 - only misses are short of something
    needed = f"{miss.needed_bytes / GIB:.1f} GiB"
    node = next(each for each in lab.nodes if each.name == member.node)
    if miss.limit == "ram":
        room, total = (node.ram_room_bytes or 0) / GIB, (node.ram_bytes or 0) / GIB
        text = f"It needs {needed} of RAM; {node.name} has {room:.1f} free of {total:.1f}."
        return Blocked(limit="ram", short_bytes=miss.short_bytes, text=text)
    cards = seat.cards if miss.card is None else seat.cards[miss.card : miss.card + 1]
    total = sum(card.total_bytes for card in cards) / GIB
    room = sum(card.room_bytes for card in cards) / GIB
    margin = (miss.short_bytes or 0) / GIB - miss.needed_bytes / GIB + room
    where = (
        f"{member.node}/{member.gpus[miss.card]} has"
        if miss.card is not None
        else f"those of {member.instance} have"
    )
    on = "one GPU" if miss.card is not None else "the GPUs together"
    if seat.joined and miss.card is not None:
        on = f"{member.node}/{member.gpus[miss.card]}, split over the GPUs of {member.instance}"
    kept = f" ({margin:.1f} GiB of it is kept free)" if margin > 0 else ""
    text = f"It needs {needed} on {on}; {where} {room:.1f} free of {total:.1f}{kept}."
    return Blocked(limit="gpu", short_bytes=miss.short_bytes, text=text)


def _tries(lab: Lab, deployment: Deployment) -> Iterator[_Try]:
    """Yield what comes of the floor in each kind of place."""
    for member, seat in _places(lab, deployment):
        for variant in deployment.variants:
            steps = steps_of(deployment, variant.model.shape.ctx_train)
            if steps and suits(deployment, variant, seat):
                for way in ways_at(deployment, seat):
                    yield _Try(variant, way(Trial(variant, steps[0], seat)), member, seat)


def _places(lab: Lab, deployment: Deployment) -> Iterator[tuple[Member, Seat]]:
    """Yield the first place of each kind that a deployment may use."""
    for seat, members in seats_of(lab).items():
        first = next((each for each in members if is_admitted(lab, deployment, each)), None)
        if first is not None:
            yield first, seat


def _any(words: Iterable[str]) -> str:
    return " or ".join(sorted(words))
