"""Where the guide tries models: the reader's own machines as if they were empty, and usual ones."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from django.utils.text import slugify

from labdash.catalog.engines import newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu, gpus
from labdash.catalog.hardware import GIB, HARDWARE, PC_SYSTEM_BYTES, PHONE_SHARE, TIMES, Hardware
from labdash.catalog.hardware import mac_share_bytes as share_of
from labdash.planner.memory.overhead import driver_reserve
from labdash.queries.fit_places import Card, Place, places_of, steady, with_margin
from labdash.queries.lab import LabView
from labdash.queries.lab_of_entries import system_bytes
from labdash.queries.library import Library
from labdash.queries.margins import USUAL_MARGIN_BYTES

MOST_OWN = 12
PHONE_KEYS = frozenset(each.key for each in HARDWARE if each.kind == "phone")
YOURS, USUAL = "Your lab", "Usual machines"
VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Macs"}
# The RAM that is assumed beside a card: more where the card is large.
USUAL_RAM_GIB, MUCH_RAM_GIB, LARGE_CARD_GB = 32, 64, 24


@cache
def usual_places() -> tuple[Place, ...]:
    """Return the machines of the catalog, each as a place."""
    return tuple(place_of(each) for each in HARDWARE)


@cache
def _by_chip() -> Mapping[str, Hardware]:
    """Return a machine for each GPU of the catalog that has a memory, or a Mac, of its own."""
    found = (_machine(facts, size) for facts in gpus() for size in facts.vram_gb)
    return {each.key: each for each in found if each}


def _machine(facts: GpuFacts, size_gb: float) -> Hardware | None:
    is_mac = facts.vendor == "apple"
    if size_gb != int(size_gb) or (facts.unified and not is_mac):
        return None
    label = f"{_short(facts.name)}, {size_gb:g} GB"
    usual = MUCH_RAM_GIB if size_gb >= LARGE_CARD_GB else USUAL_RAM_GIB
    return Hardware(
        key=f"chip-{slugify(label)}",
        label=label,
        kind="mac" if is_mac else "cards",
        gpu=facts.name,
        gpu_gb=0 if is_mac else int(size_gb),
        ram_gib=int(size_gb) if is_mac else usual,
    )


def machine_choices(own: Iterable[Place]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what a reader may look for, in groups: key and title of each."""
    groups = [(YOURS, [(each.key, f"{each.node}: {each.label}") for each in own])]
    groups.append((USUAL, [(each.key, each.label) for each in HARDWARE]))
    usual = {each.label for each in HARDWARE}
    for vendor, title in VENDORS.items():
        chips = [(key, each) for key, each in _by_chip().items() if each.label not in usual]
        groups.append((title, [(key, each.label) for key, each in chips if _is_of(each, vendor)]))
    return [(title, choices) for title, choices in groups if choices]


def _is_of(hardware: Hardware, vendor: str) -> bool:
    facts = find_gpu(hardware.gpu)
    return facts is not None and facts.vendor == vendor


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
    empty = Card(
        label=f"GPU {index}",
        name=facts.name,
        total_bytes=total,
        room_bytes=total - driver_reserve(total, facts.vendor),
        held=(),
        doubt="",
        facts=facts,
        unified=hardware.kind == "mac",
    )
    return with_margin(empty, USUAL_MARGIN_BYTES)


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
    names = [_short(card.name) for card in cards]
    counts = {name: names.count(name) for name in names}
    told = [f"{count} {TIMES} {name}" if count > 1 else name for name, count in counts.items()]
    return " + ".join(told) or "no GPU"


def model_room(place: Place) -> int | None:
    """Tell what there is for a model: on the GPUs, or in the RAM of a machine without any."""
    if any(card.room_bytes is None for card in place.cards):
        return None
    return room_of(place) if place.cards else place.ram_bytes


def is_phone(place: Place) -> bool:
    """Tell whether it is a phone of the catalog: none is a machine of a lab."""
    return not place.node and place.key in PHONE_KEYS


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def find_place(key: str, own: Iterable[Place]) -> Place | None:
    """Find a place by the key that an address carries."""
    usual = next((each for each in (*own, *usual_places()) if each.key == key), None)
    return place_of(_by_chip()[key]) if usual is None and key in _by_chip() else usual
