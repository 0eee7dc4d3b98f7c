from dataclasses import replace

from tests.planning.labs import want
from tests.planning.refusals import BIG, SMALL, kinds, node, refusal, way

APART = want("apart", "llama3.2:1b", ("Q8_0",), (4096, 4096), keep_apart=frozenset({"small"}))


def test_with_whom_it_would_have_to_share_a_device_is_offered() -> None:
    found = refusal(node("rog", 24), wanted=APART, beside=(SMALL,))
    assert found.limit == "apart"
    told = way(found, "apart")
    assert told.value == "small"
    assert told.text == "It fits on rog/0 if it need not be kept apart from small."


def test_one_that_others_keep_apart_from_is_offered_the_same() -> None:
    wary = replace(SMALL, keep_apart=frozenset({"apart"}))
    found = refusal(node("rog", 24), wanted=replace(APART, keep_apart=frozenset()), beside=(wary,))
    assert way(found, "apart").value == "small"


def test_the_place_where_the_fewest_are_met_is_offered() -> None:
    others = tuple(
        replace(SMALL, name=name, pin=pin)
        for name, pin in (("a", "rog/0"), ("b", "rog/0"), ("c", "tower/0"))
    )
    other = want("b", "llama3.2:1b", ("Q8_0",), (4096, 4096), pin="rog/0", priority=1)
    wanted = replace(APART, keep_apart=frozenset({"a", "b", "c"}))
    found = refusal(
        node("rog", 24), node("tower", 24), wanted=wanted, beside=(others[0], other, others[2])
    )
    assert way(found, "apart").value == "c"
    alone = refusal(node("rog", 24), wanted=wanted, beside=(others[0], other))
    assert way(alone, "apart").value == "a,b"


def test_one_that_is_kept_apart_and_has_no_room_either_is_not_offered_to_share() -> None:
    found = refusal(node("rog", 5.5), wanted=replace(BIG, keep_apart=frozenset({"small"})),
                    beside=(SMALL,))  # fmt: skip
    assert "apart" not in kinds(found)
