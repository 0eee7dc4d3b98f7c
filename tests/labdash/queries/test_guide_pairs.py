"""Two cards are two memories: more is carried, and nothing is faster."""

from dataclasses import replace

from labdash.queries.guide_pairs import pairs
from labdash.queries.guide_places import usual_places

TWO_OLD = replace(
    next(each for each in usual_places() if each.key == "2-p40"), key="oldie", node="oldie"
)


def test_second_card_carries_more_and_answers_no_faster() -> None:
    alone, together = pairs((), 8192)
    assert (alone.one.verdict, alone.all.verdict) == ("whole", "whole")
    assert (together.one.verdict, together.all.verdict) == ("part", "whole")
    assert alone.one.speed is not None
    assert alone.all.speed is not None
    assert alone.all.speed.high <= alone.one.speed.high


def test_own_machine_of_two_cards_takes_the_place_of_a_usual_one() -> None:
    assert {each.place.key for each in pairs((), 8192)} == {"2-rtx-3090"}
    assert {each.place.node for each in pairs((usual_places()[0], TWO_OLD), 8192)} == {"oldie"}


def test_each_card_holds_its_part() -> None:
    for pair in pairs((TWO_OLD,), 8192):
        assert len(pair.all.by_card) == 2
        assert sum(pair.all.by_card) == pair.all.used_bytes
