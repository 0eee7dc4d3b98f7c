"""Hardware in words: what is understood, with which sizes, and what is said where it is not."""

import pytest

from labdash.catalog.gpus import gpus, known_names
from labdash.catalog.hardware import HARDWARE, TIMES
from labdash.planner.errors import PlannerError
from labdash.queries.fit_described import describe, describe_card
from labdash.queries.guide_places import place_of

GIB = 1 << 30


def short(name: str) -> str:
    """Write a name as the page proposes it."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Mac 16 GB", "Mac, 16 GB"),
        ("16 GB mac", "Mac, 16 GB"),
        ("MacBook Pro 16GB", "Mac, 16 GB"),
        ("M2 16GB", "Mac M2, 16 GB"),
        ("m2 16", "Mac M2, 16 GB"),
        ("mac mini m4 pro 24gb", "Mac M4 Pro, 24 GB"),
        ("MacBook Pro 14 M3 Pro 36GB", "Mac M3 Pro, 36 GB"),
        ("3060 12gb", "RTX 3060, 12 GB"),
        ("rtx4060 8 gb", "RTX 4060, 8 GB"),
        ("4060ti 16gb", "RTX 4060 Ti, 16 GB"),
        ("gaming pc with a geforce RTX 4070", "RTX 4070, 12 GB"),
        ("laptop rtx 4060", "RTX 4060 Laptop GPU, 8 GB"),
        ("4060 mobile", "RTX 4060 Laptop GPU, 8 GB"),
        ("7900xtx", "AMD Radeon RX 7900 XTX, 24 GB"),
        ("b580", "Intel Arc B580, 12 GB"),
        ("P40 24", "Tesla P40, 24 GB"),
        ("m40 24gb", "Tesla M40, 24 GB"),
        ("2x3090", f"2 {TIMES} RTX 3090, 24 GB"),
        ("RTX 3090 x 2", f"2 {TIMES} RTX 3090, 24 GB"),
        ("dual 3090", f"2 {TIMES} RTX 3090, 24 GB"),
        ("8gb", "8 GB card"),
        ("24 GB VRAM", "24 GB card"),
        ("mini-pc", "Mini-PC, 32 GB, no GPU"),
        ("mini PC 16 GB without a graphics card", "Mini-PC, 16 GB, no GPU"),
        ("laptop 32 GB", "Laptop, 32 GB, no GPU"),
        ("cpu", "PC, 32 GB, no GPU"),
        ("64 GB RAM", "PC, 64 GB, no GPU"),
        ("iphone 8gb", "Phone, 8 GB"),
        ("dgx spark", "GB10, 128 GB"),
    ],
)
def test_what_people_write_is_understood(text: str, label: str) -> None:
    assert describe(text).label == label


def test_every_name_that_the_page_proposes_stands_for_itself() -> None:
    for name in known_names():
        for text in (name, short(name), short(name).lower()):
            (card,) = describe(text).place.cards
            assert card.name == name, text
    for known in HARDWARE:
        found, meant = describe(known.label).place, place_of(known)
        rooms = [[card.room_bytes for card in place.cards] for place in (found, meant)]
        assert rooms[0] == rooms[1], known.label
        assert found.cards or found.ram_bytes == meant.ram_bytes


@pytest.mark.parametrize(
    ("text", "room_gib", "note"),
    [
        ("Apple M2", 5.2, "Reckoned with 8 GB; it was sold with 16 or 24 GB too: write M2 16 GB"),
        ("RTX 3060", 11.6, "Reckoned with 12 GB; it was sold with 8 GB too: write RTX 3060 8 GB"),
        ("rtx 4060 12gb", 11.6, "the 12 GB that you wrote; the catalog has it with 8 GB"),
        ("Mac 16 GB", 10.6, "speeds are those of the Apple M1, the slowest with 16 GB"),
        ("8gb", 7.6, "its speed is not known. Write its name for that, and Mac 8 GB or mini-PC"),
        ("Strix Halo", 127.6, "How much of its 128 GB its GPU may use is not known"),
    ],
)
def test_what_was_not_said_is_taken_for_granted_aloud(
    text: str, room_gib: float, note: str
) -> None:
    found = describe(text)
    (card,) = found.place.cards
    assert card.room_bytes == pytest.approx((room_gib - 1) * GIB, abs=0.5 * GIB)
    assert note in " ".join(found.notes)


@pytest.mark.parametrize(
    ("text", "ram_gib", "note"),
    [
        ("laptop 32 GB", 28, "with one, write the card, such as RTX 4060 Laptop."),
        ("mini-pc", 28, "reckoned with 32 GB of RAM, as no size was said"),
        ("phone", 3, "With another, write it as phone 8 GB."),
        ("2 GB laptop", 0, "without a graphics card"),
    ],
)
def test_machine_without_a_card_has_its_ram(text: str, ram_gib: int, note: str) -> None:
    found = describe(text)
    assert (found.place.cards, found.place.ram_bytes) == ((), ram_gib * GIB)
    assert note in " ".join(found.notes)


def test_ram_beside_a_card_counts_where_it_was_said() -> None:
    assert describe("RTX 4060 8 GB").place.ram_bytes is None
    found = describe("RTX 4060 8 GB, 32 GB RAM").place
    assert (found.ram_bytes, found.label) == (28 * GIB, "RTX 4060, 8 GB, 32 GB RAM")


def test_size_and_chip_that_were_said_leave_nothing_to_add() -> None:
    assert describe("M2 16 GB").notes == describe("3060 12 GB").notes == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("macbook", "of how much memory? Write Mac 16 GB, or its chip too: M2 16 GB."),
        ("M2 12 GB", "The Apple M2 was not sold with 12 GB of memory: write one of 8, 16, 24 GB."),
        ("Mac 17 GB", "No Mac of 17 GB is known: write one of 8, 16,"),
        ("Mac 16 GB intel", "Not known: Mac 16 GB intel."),
        ("m9 16gb", "a Mac as M2 16 GB"),
        ("rtx 40", "Did you mean RTX 4090, RTX 4080 or RTX 4070?"),
        ("Voodoo 9", "Not known: Voodoo 9. Write a graphics card as RTX 4060"),
        ("i7-12700", "a machine without a graphics card as mini-PC 32 GB."),
        ("RTX 3090 + RTX 3060", "One kind of card at a time"),
        ("rtx 4060 8gb 16gb", "Which of the sizes in “rtx 4060 8gb 16gb” is whose?"),
        ("99 x 3090", "From 1 to 8 cards are reckoned together, not 99."),
        ("2 x Mac 16 GB", "write one machine"),
        ("0 gb", "A size is 1 GB or more."),
        ("laptop 8 GB 16 GB RAM", "Not known"),
        ("gpu", "Not known: gpu."),
        ("🙂", "Not known: 🙂."),
    ],
)
def test_what_is_not_understood_gets_one_line_that_says_what_to_write(text: str, line: str) -> None:
    with pytest.raises(PlannerError) as refused:
        describe(text)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_card_alone_tells_its_size_only_where_that_was_said() -> None:
    said, unsaid = describe_card("4060ti 16 gb"), describe_card("geforce 4060 ti")
    assert [said[0].name, said[1]] == ["NVIDIA GeForce RTX 4060 Ti", 16]
    assert (unsaid[0], unsaid[1]) == (said[0], None)


def test_macs_are_those_of_the_catalog() -> None:
    for gpu in gpus():
        for size in gpu.vram_gb if gpu.vendor == "apple" else ():
            (card,) = describe(f"{gpu.name} {size:g} GB").place.cards
            assert card.facts == gpu
