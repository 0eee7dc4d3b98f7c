"""Where the guide tries models: the reader's own machines as if they were empty, and usual ones."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from labdash.catalog.engines import newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu
from labdash.catalog.hardware import GIB, HARDWARE, PC_SYSTEM_BYTES, PHONE_SHARE, TIMES, Hardware
from labdash.catalog.hardware import mac_share_bytes as share_of
from labdash.planner.memory.overhead import driver_reserve
from labdash.queries.fit_places import Card, Place, places_of, steady
from labdash.queries.lab import LabView
from labdash.queries.lab_of_entries import system_bytes
from labdash.queries.library import Library

MOST_OWN = 12


@cache
def usual_places() -> tuple[Place, ...]:
    """Return the machines of the catalog, each as a place."""
    return tuple(place_of(each) for each in HARDWARE)


def place_of(hardware: Hardware) -> Place:
    """Return an empty machine."""
    facts = find_gpu(hardware.gpu, _gpu_bytes(hardware))
    cards = tuple(_card(hardware, facts, i) for i in range(hardware.count)) if facts else ()
    return Place(
        key=hardware.key,
        node="",
        label=hardware.label,
        cards=cards,
        ram_bytes=_free_ram(hardware),
        build=newest_engine(),
        ram_gbs=hardware.ram_gbs,
    )


def _card(hardware: Hardware, facts: GpuFacts, index: int) -> Card:
    total = _gpu_bytes(hardware)
    return Card(
        label=f"GPU {index}",
        name=facts.name,
        total_bytes=total,
        room_bytes=total - driver_reserve(total, facts.vendor),
        held=(),
        doubt="",
        facts=facts,
        unified=hardware.kind == "mac",
    )


def _gpu_bytes(hardware: Hardware) -> int:
    """Tell what a GPU reports as its own: of a Mac's RAM its share."""
    return share_of(hardware.ram_gib) if hardware.kind == "mac" else hardware.gpu_gb * GIB


def _free_ram(hardware: Hardware) -> int:
    ram = hardware.ram_gib * GIB
    if hardware.kind == "phone":
        return round(ram * PHONE_SHARE)
    return ram - (system_bytes("mac", ram) if hardware.kind == "mac" else PC_SYSTEM_BYTES)


def own_places(lab: LabView, library: Library) -> tuple[Place, ...]:
    """Return the roomiest place of each of the reader's machines, as if nothing were loaded."""
    found = []
    for view in lab.nodes[:MOST_OWN]:
        places = places_of(view, library, without_models=True)
        best = max(places, key=lambda each: (room_of(each), -len(each.cards)))
        found.append(steady(replace(best, key=view.node.slug, label=_label(best.cards))))
    return tuple(found)


def room_of(place: Place) -> int:
    """Tell what the GPUs of a place hold together, 0 where there is none."""
    return sum(card.room_bytes or 0 for card in place.cards)


def _label(cards: Iterable[Card]) -> str:
    names = [card.name.removeprefix("NVIDIA ").removeprefix("GeForce ") for card in cards]
    counts = {name: names.count(name) for name in names}
    told = [f"{count} {TIMES} {name}" if count > 1 else name for name, count in counts.items()]
    return " + ".join(told) or "no GPU"


def find_place(key: str, own: Iterable[Place]) -> Place | None:
    """Find a place by the key that an address carries."""
    return next((each for each in (*own, *usual_places()) if each.key == key), None)
