"""Whose turn it is."""

from labdash.queries.turns import Candidate, turn_words, whose_turn


def test_who_has_begun_goes_on() -> None:
    two = [Candidate(node="attic"), Candidate(node="rog", is_busy=True)]
    assert whose_turn(two, 1) == {"rog"}


def test_who_sleeps_keeps_nobody_out() -> None:
    asleep = Candidate(node="attic", is_busy=True, is_able=False)
    assert whose_turn([asleep, Candidate(node="rog")], 1) == {"rog"}
    assert whose_turn([asleep], 1) == {"attic"}


def test_without_a_limit_it_is_everybodys_turn() -> None:
    assert whose_turn([Candidate(node="a"), Candidate(node="b")], None) == {"a", "b"}


def test_the_reason_names_the_schedule() -> None:
    assert turn_words("nightly", 2) == "Waits for its turn: nightly pulls to 2 machines at a time."
