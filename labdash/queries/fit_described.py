"""Hardware that somebody describes in words: a card, a Mac, a machine without a GPU, a phone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache

from labdash.catalog.engines import newest_engine
from labdash.catalog.gpus import GpuFacts, find_gpu, gpus
from labdash.catalog.hardware import GIB, HARDWARE, MINI_PC_GBS, PHONE_GBS, TIMES, Hardware
from labdash.catalog.hardware import mac_share_bytes as share_of
from labdash.planner.errors import PlannerError
from labdash.planner.memory.overhead import driver_reserve
from labdash.planner.telling.parting import MOST_GPUS
from labdash.queries.fit_places import Card, Place, what_if_place, with_margin
from labdash.queries.guide_places import place_of
from labdash.queries.margins import USUAL_MARGIN_BYTES
from labdash.wording import size

KEY = "described"
LONGEST = 100
USUAL_RAM_GIB = next(each.ram_gib for each in HARDWARE if each.kind == "ram")
USUAL_PHONE_GIB = next(each.ram_gib for each in HARDWARE if each.kind == "phone")
WRITE = (
    "Write a graphics card as RTX 4060 or 3060 12 GB, a Mac as M2 16 GB, a machine without a "
    "graphics card as mini-PC 32 GB."
)
SIZE = re.compile(
    r"(?P<before>\b(?:v?ram|memory)\W{0,3})?(?<![\d.])(?P<gb>\d{1,4})\s*(?:gb|gib|g)\b"
    r"(?P<after>\s*(?:of\s+)?(?:system\s+|unified\s+)?(?:v?ram|memory)\b)?"
)
COUNT = re.compile(r"^\s*(?:(\d{1,2})\s*x(?![a-z])|(\d{1,2})(?=\s+[a-z])|(dual|two)\b)")
COUNT_BEHIND = re.compile(r"\sx\s?(\d{1,2})\s*$")
NO_GPU = re.compile(r"\b(?:no|without(?:\s+an?)?)\s+(?:dedicated\s+)?(?:gpu|graphics(?:\s+card)?)")
# As in "rtx4060ti".
JOINED = re.compile(r"(?:(?<=rtx)|(?<=gtx)|(?<=rx))(?=\d)|(?<=\d{3})(?=(?:ti|super|xtx?|gre)\b)")
BEFORE_A_NUMBER = ("", "rtx ", "gtx ", "rx ", "arc ", "rtx pro ")
FILLERS = {
    "a", "an", "the", "my", "with", "of", "and", "only", "gaming", "graphics", "video", "card",
    "gpu", "vram", "memory", "unified", "nvidia", "geforce", "amd", "radeon", "apple", "chip",
}  # fmt: skip
MAC_WORDS = {
    "mac", "macbook", "macbooks", "imac", "macos", "mini", "air", "studio", "book", "laptop", "ram",
}  # fmt: skip
MAC = re.compile(r"\b(?:i?mac\w*|m\d)\b")
CHIP = re.compile(r"\bm\d(?:\s+(?:pro|max|ultra))?\b")
# Inches of a screen, beside a size of memory.
SCREENS = frozenset(("13", "14", "15", "16", "24", "27", "inch"))
# The line of a notebook; behind a chip these words are a part of its name.
MAC_LINE = re.compile(r"\b(mac\s?(?:book)?)\s+(?:pro|max)\b")
RAM_WORDS = {
    "mini": "Mini-PC", "nuc": "Mini-PC", "laptop": "Laptop", "notebook": "Laptop", "cpu": "PC",
    "pc": "PC", "desktop": "PC", "computer": "PC", "ram": "PC", "processor": "PC",
}  # fmt: skip
NO_CARD = frozenset(("cpu", "processor"))
PHONES = frozenset(("phone", "smartphone", "iphone", "android"))


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a description stands for. ``notes`` say what was taken for granted."""

    place: Place
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name it as it was understood."""
        return self.place.label


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A description taken apart. ``gb`` is the one size, ``ram_gb`` that of the RAM beside it."""

    written: str
    words: tuple[str, ...]
    gb: int | None
    ram_gb: int | None
    count: int
    has_no_gpu: bool

    @property
    def own_gb(self) -> int | None:
        """Return the size where there is one memory: that of the RAM then."""
        return self.gb or self.ram_gb


def describe(written: str) -> Described:
    """Understand a description. Raises ``PlannerError`` with one line that says what to write."""
    text = _take_apart(" ".join(written.split())[:LONGEST])
    joined = " ".join(text.words)
    if MAC.search(joined):
        return _one(text, _mac(text, joined))
    if PHONES.intersection(text.words):
        return _one(text, _phone(text))
    if text.has_no_gpu or (text.words and all(word in RAM_WORDS for word in text.words)):
        return _one(text, _in_ram(text))
    return _cards(text) if text.words else _plain_card(text)


def describe_card(written: str) -> tuple[GpuFacts, int | None]:
    """Understand one card alone, with its size where that was said. Raises ``PlannerError``."""
    text = _take_apart(" ".join(written.split())[:LONGEST])
    try:
        facts, gb = _card(text)
    except PlannerError:
        facts, gb = None, None
    if facts is None or facts.unified or text.count > 1 or text.ram_gb:
        words = (f"The catalog has no card named {text.written}.", _meant(text.written))
        raise PlannerError(" ".join(filter(None, words)))
    return facts, gb


def _take_apart(written: str) -> _Text:
    low = written.lower().replace(TIMES, "x").replace("(r)", " ").replace("(tm)", " ")
    if "+" in low or "&" in low:
        raise PlannerError("One kind of card at a time: write RTX 3090, or 2 x RTX 3090.")
    own, ram = _sizes(written, low)
    low, has_no_gpu = NO_GPU.sub(" ", SIZE.sub(" ", low)), bool(NO_GPU.search(low))
    count, low = _count(low)
    words = re.findall(r"[a-z0-9]+", JOINED.sub(" ", low))
    kept = tuple(word for word in words if word not in FILLERS)
    return _Text(
        written=written, words=kept, gb=own, ram_gb=ram, count=count, has_no_gpu=has_no_gpu
    )


def _sizes(written: str, low: str) -> tuple[int | None, int | None]:
    """Return the size that stands alone, and that of RAM."""
    own: list[int] = []
    ram: list[int] = []
    for found in SIZE.finditer(low):
        unit = f"{found['before'] or ''} {found['after'] or ''}"
        is_ram = re.search(r"\bram\b", unit) is not None
        (ram if is_ram else own).append(int(found["gb"]))
    if len(own) > 1 or len(ram) > 1:
        raise PlannerError(
            f"Which of the sizes in “{written}” is whose? Write it as RTX 4060 8 GB, 32 GB RAM."
        )
    if 0 in (*own, *ram):
        raise PlannerError("A size is 1 GB or more.")
    return next(iter(own), None), next(iter(ram), None)


def _count(low: str) -> tuple[int, str]:
    """Take the number of cards off a text."""
    found = COUNT.search(low) or COUNT_BEHIND.search(low)
    if found is None:
        return 1, low
    count = int(next((each for each in found.groups() if each and each.isdecimal()), "2"))
    if not 1 <= count <= MOST_GPUS:
        raise PlannerError(f"From 1 to {MOST_GPUS} cards are reckoned together, not {count}.")
    return count, low[: found.start()] + low[found.end() :]


def _one(text: _Text, found: Described) -> Described:
    if text.count > 1:
        raise PlannerError("Only cards of one machine are reckoned together: write one machine.")
    return found


def _mac(text: _Text, joined: str) -> Described:
    line = MAC_LINE.sub(r"\1", joined)
    chip = CHIP.search(line)
    rest = [word for word in CHIP.sub(" ", line).split() if word not in MAC_WORDS]
    gb = text.own_gb
    if gb is None and len(rest) == 1 and rest[0].isdecimal() and int(rest[0]):
        gb = int(rest.pop())
    if set(rest) - SCREENS or (text.gb and text.ram_gb):
        raise _unknown(text)
    if chip is not None:
        return _chip(text, chip[0], gb)
    if gb is None:
        raise PlannerError(
            f"“{text.written}”: of how much memory? Write Mac 16 GB, or its chip too: M2 16 GB."
        )
    slow = min(_macs_of(gb), key=lambda gpu: gpu.bandwidth_gbs)
    note = (
        f"Its chip was not said: speeds are those of the {slow.name}, the slowest "
        f"with {gb} GB. With its chip, as in M2 {gb} GB, they are its own."
    )
    return _described(_mac_of(slow, gb, f"Mac, {gb} GB"), note)


def _macs_of(gb: int) -> list[GpuFacts]:
    """Return the chips that were sold with so much memory."""
    macs = [each for each in gpus() if each.vendor == "apple"]
    sizes = sorted({each for gpu in macs for each in gpu.vram_gb})
    if gb not in sizes:
        near = ", ".join(f"{each:g}" for each in sizes)
        raise PlannerError(f"No Mac of {gb} GB is known: write one of {near} GB.")
    return [each for each in macs if gb in each.vram_gb]


def _chip(text: _Text, chip: str, gb: int | None) -> Described:
    name = f"apple {chip}"
    facts = find_gpu(name, share_of(gb) if gb else None)
    if facts is None:
        raise _unknown(text)
    found = _sold(facts)
    if gb is not None and gb not in found:
        known = ", ".join(f"{each:g}" for each in found)
        raise PlannerError(
            f"The {facts.name} was not sold with {gb} GB of memory: write one of {known} GB."
        )
    given = gb or int(found[0])
    short = facts.name.removeprefix("Apple ")
    return _described(
        _mac_of(facts, given, f"Mac {short}, {given} GB"), *_assumed(short, found, gb)
    )


def _mac_of(facts: GpuFacts, gb: int, label: str) -> Place:
    found = place_of(Hardware(key=KEY, label=label, kind="mac", gpu=facts.name, ram_gib=gb))
    doubt = f"of its {gb} GB macOS lets a GPU use {size(share_of(gb))}"
    return replace(found, cards=tuple(replace(card, doubt=doubt) for card in found.cards))


def _phone(text: _Text) -> Described:
    if set(text.words) - PHONES - {"ram"} or (text.gb and text.ram_gb):
        raise _unknown(text)
    gb = text.own_gb or USUAL_PHONE_GIB
    hardware = Hardware(
        key=KEY, label=f"Phone, {gb} GB", kind="phone", ram_gib=gb, ram_gbs=PHONE_GBS
    )
    half = "An app is taken to get about half of a phone's memory: nobody tells."
    said = () if text.own_gb else (_without_size("Phone", gb, "phone 8 GB"),)
    return _described(place_of(hardware), half, *said)


def _in_ram(text: _Text) -> Described:
    if set(text.words) - set(RAM_WORDS) or (text.gb and text.ram_gb):
        raise _unknown(text)
    gb, kind = text.own_gb or USUAL_RAM_GIB, _kind(text.words)
    label = f"{kind}, {gb} GB, no GPU"
    hardware = Hardware(key=KEY, label=label, kind="ram", ram_gib=gb, ram_gbs=MINI_PC_GBS)
    found = place_of(hardware)
    notes = []
    if not text.own_gb:
        notes.append(_without_size(kind, gb, f"{kind} 16 GB"))
    if not text.has_no_gpu and kind != "Mini-PC" and not NO_CARD.intersection(text.words):
        notes.append(
            "Taken as one without a graphics card: with one, write the card, such as RTX 4060"
            f"{' Laptop' if kind == 'Laptop' else ''}."
        )
    return _described(replace(found, ram_bytes=max(0, found.ram_bytes or 0)), *notes)


def _kind(words: Iterable[str]) -> str:
    """Choose the word that says most."""
    kinds = [RAM_WORDS[word] for word in words]
    return next((kind for kind in kinds if kind != "PC"), "PC")


def _plain_card(text: _Text) -> Described:
    """Take a size alone for a card's."""
    gb = text.gb
    if gb is None:
        if text.ram_gb:
            return _one(text, _in_ram(replace(text, words=("ram",))))
        raise _unknown(text)
    label = _counted(text.count, f"{gb} GB card")
    cards = tuple(_unnamed(index, gb) for index in range(text.count))
    note = (
        f"Taken as a graphics card with {gb} GB of its own; its kind was not said, so its speed is"
        f" not known. Write its name for that, and Mac {gb} GB or mini-PC {gb} GB for those."
    )
    return _described(_beside(cards, label, text.ram_gb), note)


def _unnamed(index: int, gb: int) -> Card:
    total = gb * GIB
    empty = Card(
        label=f"GPU {index}",
        name=f"{gb} GB card",
        total_bytes=total,
        room_bytes=total - driver_reserve(total, None),
        held=(),
        doubt="an empty card that is not in the lab",
        facts=None,
    )
    return with_margin(empty, USUAL_MARGIN_BYTES)


def _cards(text: _Text) -> Described:
    facts, gb = _card(text)
    sold = _sold(facts)
    given = gb or int(sold[0])
    short = _short(facts.name)
    label = _counted(text.count, f"{short}, {given} GB")
    notes = _assumed(short, sold, gb)
    if not facts.unified:
        one = what_if_place(facts, given).cards[0]
        cards = (replace(one, label=f"GPU {index}") for index in range(text.count))
        return _described(_beside(tuple(cards), label, text.ram_gb), *notes)
    found = replace(_one(text, Described(place=what_if_place(facts, given), notes=())).place)
    shared = f"How much of its {given} GB its GPU may use is not known: reckoned with all of it."
    return _described(replace(found, key=KEY, label=label), *notes, shared)


def _card(text: _Text) -> tuple[GpuFacts, int | None]:
    """Find a card, by its name or by its number alone; a number behind it is its size."""
    words = list(text.words)
    facts = _exact(text.written) or _by_name(words, text.gb)
    if facts is None and text.gb is None and words and words[-1].isdecimal() and int(words[-1]):
        gb = int(words.pop())
        facts = _by_name(words, gb)
        if facts is not None:
            return facts, gb
    if facts is None:
        raise _unknown(text)
    return facts, text.gb


def _exact(written: str) -> GpuFacts | None:
    low = written.lower()
    return next(
        (each for each in gpus() if low in {each.name.lower(), _short(each.name).lower()}), None
    )


def _by_name(words: list[str], gb: int | None) -> GpuFacts | None:
    named = ["laptop" if word in {"mobile", "notebook"} else word for word in words]
    total = gb * GIB if gb else None
    for kept in (named, [word for word in named if word not in {"pc", "desktop", "computer"}]):
        for before in BEFORE_A_NUMBER if kept else ():
            if found := find_gpu(before + " ".join(kept), total):
                return found
    return None


def _beside(cards: tuple[Card, ...], label: str, ram_gb: int | None) -> Place:
    """Put cards into a machine, whose RAM counts where it was said."""
    hardware = Hardware(key=KEY, label=label, kind="ram", ram_gib=ram_gb or USUAL_RAM_GIB)
    ram = max(0, place_of(hardware).ram_bytes or 0) if ram_gb else None
    label += f", {ram_gb} GB RAM" if ram_gb else ""
    return Place(key=KEY, node="", label=label, cards=cards, ram_bytes=ram, build=newest_engine())


def _described(place: Place, *notes: str) -> Described:
    return Described(place=place, notes=notes)


def _assumed(name: str, sold: tuple[float, ...], said: int | None) -> tuple[str, ...]:
    """Say which size was taken where that is not plain."""
    others = [f"{each:g}" for each in sold if said is None and each != sold[0]]
    if others:
        more = f"it was sold with {' or '.join(others)} GB too: write {name} {others[0]} GB"
        return (f"Reckoned with {sold[0]:g} GB; {more} for that.",)
    if said is not None and said not in sold:
        known = " or ".join(f"{each:g}" for each in sold)
        return (f"Reckoned with the {said} GB that you wrote; the catalog has it with {known} GB.",)
    return ()


def _without_size(kind: str, gb: int, such_as: str) -> str:
    return (
        f"{kind}: reckoned with {gb} GB of RAM, as no size was said. With another, write it as "
        f"{such_as}."
    )


def _sold(facts: GpuFacts) -> tuple[float, ...]:
    """Return the sizes that a name was sold with: the first sold first, of a Mac the smallest."""
    found = [gb for each in gpus() if each.name == facts.name for gb in each.vram_gb]
    return tuple(sorted(found) if facts.vendor == "apple" else dict.fromkeys(found))


def _counted(count: int, label: str) -> str:
    return f"{count} {TIMES} {label}" if count > 1 else label


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _unknown(text: _Text) -> PlannerError:
    """Name what is near, and say how hardware is written."""
    words = (f"Not known: {text.written}.", _meant(text.written), WRITE)
    return PlannerError(" ".join(filter(None, words)))


def _meant(written: str) -> str:
    near = get_close_matches(written.lower(), _names(), n=3)
    if not near:
        return ""
    names = [_names()[each] for each in near]
    return f"Did you mean {' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}?"


@cache
def _names() -> dict[str, str]:
    """Return the names to propose, by what they are compared with."""
    cards = (_short(each.name) for each in gpus())
    return {each.lower(): each for each in (*cards, *(known.label for known in HARDWARE))}
