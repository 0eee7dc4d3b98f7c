"""Which places are alike for a deployment: by what it would download and move there."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from labdash.planner.lab import Deployment, Lab, Variant
from labdash.planner.placing.inventory import Spot, download_bytes, inventory_of, weights_bytes
from labdash.planner.placing.seats import Member
from labdash.planner.placing.ways import is_admitted

# What each variant downloads and moves; those that the disk does not take are left out.
type Price = Mapping[Variant, tuple[int, int]]


def groups_of(
    lab: Lab, deployment: Deployment, members: tuple[Member, ...]
) -> Iterator[tuple[Price, tuple[Member, ...]]]:
    """Part places that are alike in all else. Those where no variant could lie are left out."""
    prices = _Prices(lab, deployment)
    admitted = members
    if deployment.nodes or deployment.pin:
        admitted = tuple(each for each in members if is_admitted(lab, deployment, each))
    if prices.usual is not None:
        yield from [(prices.usual, admitted)] if admitted else []
        return
    found: dict[tuple[object, ...], tuple[Price, list[Member]]] = {}
    for member in admitted:
        key, price = prices.at(member)
        if price:
            found.setdefault(key, (price, []))[1].append(member)
    for price, group in found.values():
        yield price, tuple(group)


class _Prices:
    """``usual`` is the price everywhere, None where it is not the same everywhere."""

    def __init__(self, lab: Lab, deployment: Deployment) -> None:
        stock = inventory_of(lab)
        self._holders = {each: stock.holders(each) for each in deployment.variants}
        self._spots = stock.spots(deployment)
        self._free = _disks(lab)
        self._known: dict[str, tuple[tuple[object, ...], Price]] = {}
        costs = {each: (download_bytes(each), 0) for each in deployment.variants}
        least = min((free for free in self._free.values() if free is not None), default=None)
        is_same = not self._spots and not any(self._holders.values())
        fits = least is None or all(cost <= least for cost, _ in costs.values())
        self.usual: Price | None = costs if is_same and fits else None

    def at(self, member: Member) -> tuple[tuple[object, ...], Price]:
        """Tell the price in a place, with a key that is the same where the price is."""
        if member.instance not in self._known:
            self._known[member.instance] = self._of(member)
        key, price = self._known[member.instance]
        if not self._spots or _stays(self._spots, member):
            return key, price
        moved = {each: (cost, weights_bytes(each)) for each, (cost, _) in price.items()}
        return (*key, "moves"), moved

    def _of(self, member: Member) -> tuple[tuple[object, ...], Price]:
        free = self._free[member.node]
        costs = {
            each: (0 if member.instance in held else download_bytes(each), 0)
            for each, held in self._holders.items()
        }
        price = {v: cost for v, cost in costs.items() if free is None or cost[0] <= free}
        return tuple((each, cost[0]) for each, cost in price.items()), price


def _stays(spots: Sequence[Spot], member: Member) -> bool:
    return any(spot.is_at(member.instance, member.gpus) for spot in spots)


@lru_cache(maxsize=8)
def _disks(lab: Lab) -> Mapping[str, int | None]:
    return {node.name: node.disk_free_bytes for node in lab.nodes}
