"""Where a model could be loaded: places that stay the same while nothing happens."""

from dataclasses import replace

from labdash.queries.fit_places import STEP_BYTES, Place, steady
from labdash.queries.guide_places import usual_places


def wavering(place: Place, by_bytes: int) -> Place:
    """Return a place whose free memory is a little more than a step's, and in doubt."""
    room = 40 * STEP_BYTES + by_bytes
    cards = tuple(replace(card, room_bytes=room, doubt=f"{by_bytes}") for card in place.cards)
    return replace(place, cards=cards, ram_bytes=room)


def test_place_whose_free_memory_wavers_is_equal_to_itself() -> None:
    place = usual_places()[0]
    assert steady(wavering(place, 1)) == steady(wavering(place, STEP_BYTES - 1))
    assert steady(wavering(place, 1)) != steady(wavering(place, STEP_BYTES + 1))


def test_memory_that_is_not_known_stays_unknown() -> None:
    place = usual_places()[0]
    cards = tuple(replace(card, room_bytes=None) for card in place.cards)
    found = steady(replace(place, cards=cards, ram_bytes=None))
    assert (found.cards[0].room_bytes, found.ram_bytes) == (None, None)
