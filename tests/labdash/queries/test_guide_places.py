"""The guide's machines: each with the facts of the very chip that is meant."""

import pytest

from labdash.catalog.hardware import HARDWARE, Hardware
from labdash.queries.guide_places import find_place, machine_choices, place_of

WITH_GPU = [each for each in HARDWARE if each.gpu]


@pytest.mark.parametrize("hardware", WITH_GPU, ids=lambda each: each.key)
def test_chip_is_one_that_was_sold_with_this_memory(hardware: Hardware) -> None:
    sold = hardware.ram_gib if hardware.kind == "mac" else hardware.gpu_gb
    for card in place_of(hardware).cards:
        assert card.facts is not None
        assert sold in card.facts.vram_gb


def test_wider_memory_of_a_chip_that_was_sold_with_two_counts() -> None:
    wide = next(each for each in HARDWARE if each.key == "m3-max-64")
    facts = place_of(wide).cards[0].facts
    assert facts is not None
    assert facts.bandwidth_gbs == 400


def test_every_chip_of_the_catalog_can_be_chosen_once() -> None:
    keys = [key for _, choices in machine_choices(()) for key, _ in choices]
    assert len(keys) == len(set(keys))
    places = {key: find_place(key, ()) for key in keys}
    assert all(places.values())
    mac, card = places["chip-apple-m2-16-gb"], places["chip-amd-radeon-rx-7600-xt-16-gb"]
    assert mac is not None
    assert mac.cards[0].unified
    assert card is not None
    assert card.cards[0].total_bytes == 16 << 30


def test_place_that_nobody_offers_is_not_found() -> None:
    assert find_place("chip-none", ()) is None
