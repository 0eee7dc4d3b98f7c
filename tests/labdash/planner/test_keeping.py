"""What is brought back, in which order, and what is left alone."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from labdash.planner.keeping import (
    GRACE_S,
    MOST_MENDS,
    PAUSES_S,
    Cause,
    Kept,
    Mend,
    Place,
    Stranger,
    next_mend,
    why_not,
)

GIB = 1 << 30
HOUR_S = 3600.0
ROG = frozenset({"rog/0"})


def kept(number: int = 1, **fields: Any) -> Kept:
    """Return a resident of 6 GiB on one card that went away a minute ago."""
    values: dict[str, Any] = {
        "name": f"m{number}",
        "instance": "ollama",
        "order": number,
        "standing": "gone",
        "for_s": 60.0,
        "gpu_bytes": {"rog/0": 6 * GIB},
        **fields,
    }
    return Kept(id=number, **values)


def well(number: int = 2, **fields: Any) -> Kept:
    values = {"standing": "well", "holds": {"rog/0": 6 * GIB}, **fields}
    return kept(number, **values)


def place(*all_kept: Kept, free_gib: float | None = 20.0, **fields: Any) -> Place:
    free = None if free_gib is None else round(free_gib * GIB)
    values: dict[str, Any] = {"free": {"rog/0": free, "rog/1": free}, **fields}
    return Place(node="rog", kept=all_kept, **values)


def why(where: Place, number: int = 1) -> tuple[Cause, str]:
    assert next_mend(where) is None
    stay = why_not(where)[number]
    return stay.cause, stay.text


@pytest.mark.parametrize("standing", ["gone", "amiss"])
def test_resident_that_went_or_lies_elsewhere_is_loaded_anew(standing: str) -> None:
    wrong = kept(standing=standing)
    assert next_mend(place(wrong)) == Mend(kept=wrong)
    assert why_not(place(wrong)) == {}


@pytest.mark.parametrize("standing", ["well", "unknown"])
def test_what_is_well_or_cannot_be_seen_is_left(standing: str) -> None:
    assert next_mend(place(kept(standing=standing))) is None
    assert why_not(place(kept(standing=standing))) == {}


def test_first_of_the_order_comes_first() -> None:
    assert next_mend(place(kept(3), kept(1), kept(2))) == Mend(kept=kept(1))


def test_two_samples_are_waited_for() -> None:
    assert why(place(kept(for_s=GRACE_S - 1))) == ("soon", "")


@pytest.mark.parametrize(
    ("fields", "cause", "words"),
    [
        ({"away": "rog is paused."}, "away", "rog is paused."),
        ({"closed": {"rog/0": "rog/0 is given back."}}, "away", "rog/0 is given back."),
        ({"busy": {"ollama": "A download runs there."}}, "busy", "A download runs there."),
        (
            {"strangers": (Stranger(name="llama3:8b", instance="x", devices=ROG),)},
            "used",
            "llama3:8b is in use on rog/0.",
        ),
        (
            {"strangers": (Stranger(name="llama3:8b", instance="ollama"),)},
            "used",
            "llama3:8b is in use on ollama.",
        ),
        (
            {
                "strangers": (
                    Stranger(
                        name="m",
                        instance="ollama",
                        devices=frozenset({"rog/1"}),
                        takes=frozenset({1, 9}),
                    ),
                )
            },
            "used",
            "m is in use by its own name.",
        ),
    ],
)
def test_nothing_is_done_against_others(fields: dict[str, Any], cause: str, words: str) -> None:
    assert why(place(kept(), **fields)) == (cause, words)


def test_what_somebody_does_elsewhere_holds_nothing_up() -> None:
    strangers = (Stranger(name="a", instance="ollama", devices=frozenset({"rog/1"})),)
    where = place(kept(), strangers=strangers, busy={"ollama-2": "…"}, closed={"rog/1": "…"})
    assert next_mend(where) == Mend(kept=kept())


def test_the_hand_of_the_user_wins() -> None:
    assert why(place(kept(hand="It was unloaded by hand 3 min ago."))) == (
        "hand",
        "It was unloaded by hand 3 min ago.",
    )


def test_pauses_grow_and_then_it_is_given_up() -> None:
    for mends in range(1, MOST_MENDS):
        pause_s = PAUSES_S[mends]
        early = kept(mends=mends, mend_age_s=pause_s - 1)
        assert why(place(early))[0] == "soon"
        due = kept(mends=mends, mend_age_s=pause_s)
        assert next_mend(place(due)) == Mend(kept=due)
    cause, text = why(place(kept(mends=MOST_MENDS, mend_age_s=HOUR_S)))
    assert (cause, text) == (
        "given-up",
        "It was brought back 4 times within an hour and did not stay.",
    )


def test_what_lies_elsewhere_again_after_two_loads_is_left() -> None:
    amiss = kept(standing="amiss", mends=1, mend_age_s=HOUR_S)
    assert next_mend(place(amiss)) == Mend(kept=amiss)
    assert why(place(replace(amiss, mends=2))) == (
        "given-up",
        "It was brought back twice within an hour and lies elsewhere again.",
    )


def test_room_that_others_hold_is_told_with_names() -> None:
    others = {"rog/0": {"game.exe": 8 * GIB, "Xorg": GIB // 2, "tiny": 2**20}}
    where = place(kept(margin_bytes=GIB), free_gib=5, others=others)
    assert why(where) == (
        "room",
        "2.0 GiB are missing on rog/0: game.exe holds 8.0 GiB and Xorg holds 0.5 GiB.",
    )


def test_memory_that_nobody_measures_is_no_obstacle() -> None:
    assert next_mend(place(kept(), free_gib=None)) == Mend(kept=kept())


def test_what_it_holds_itself_is_room_for_it() -> None:
    amiss = kept(standing="amiss", holds={"rog/0": 5 * GIB})
    assert next_mend(place(amiss, free_gib=2)) == Mend(kept=amiss)


def test_later_ones_leave_first_where_layers_are_shared_by_what_is_free() -> None:
    both = {"rog/0": 3 * GIB, "rog/1": 3 * GIB}
    spread, later = kept(1, gpu_bytes=both), well(2)
    assert next_mend(place(spread, later)) == Mend(kept=spread, later=(later,))


def test_later_ones_leave_first_where_ollama_would_evict_one_of_them() -> None:
    big, later = kept(1, predicted_bytes=9 * GIB), well(2)
    assert next_mend(place(big, later, free_gib=10)) == Mend(kept=big, later=(later,))
    assert next_mend(place(big, later, free_gib=12)) == Mend(kept=big)


def test_earlier_ones_and_those_elsewhere_stay() -> None:
    big = kept(2, predicted_bytes=9 * GIB)
    others = (
        well(1),
        well(3, instance="ollama-2"),
        well(4, gpu_bytes={"rog/1": GIB}, holds={"rog/1": GIB}),
    )
    assert next_mend(place(big, *others, free_gib=10)) == Mend(kept=big)


def test_later_ones_that_may_not_be_touched_keep_it_waiting() -> None:
    both = {"rog/0": 3 * GIB, "rog/1": 3 * GIB}
    big = kept(1, gpu_bytes=both)
    for later in (well(2, mends=MOST_MENDS), well(2, hand="x"), well(2, mends=1, mend_age_s=5.0)):
        assert why(place(big, later))[0] == "given-up"


def simulate(
    models: tuple[Kept, ...], *, hours: float, free_gib: float, tick_s: float = 5.0
) -> dict[int, list[float]]:
    """Let an adversary evict everything as soon as it is loaded; return when each was mended."""
    mends: defaultdict[int, list[float]] = defaultdict(list)
    began: dict[int, float] = {}
    gone_since = dict.fromkeys((each.id for each in models), 0.0)
    now = 0.0
    while now < hours * HOUR_S:
        now += tick_s
        facts = []
        for each in models:
            window = began.get(each.id, -HOUR_S)
            count = sum(at >= window for at in mends[each.id]) if now - window < HOUR_S else 0
            last = mends[each.id][-1] if mends[each.id] else None
            facts.append(
                replace(
                    each,
                    for_s=now - gone_since[each.id],
                    mends=count,
                    mend_age_s=None if last is None else now - last,
                )
            )
        mend = next_mend(place(*facts, free_gib=free_gib))
        for each in mend.all if mend else ():
            if now - began.get(each.id, -HOUR_S) >= HOUR_S:
                began[each.id] = now
            mends[each.id].append(now)
            gone_since[each.id] = now
    return mends


@pytest.mark.parametrize(
    "models",
    [
        (kept(1),),
        (kept(1), kept(2), kept(3)),
        (kept(1, predicted_bytes=12 * GIB), well(2), well(3)),
        (kept(1, gpu_bytes={"rog/0": GIB, "rog/1": GIB}), well(2), kept(3, standing="amiss")),
    ],
)
def test_an_adversary_that_evicts_each_time_makes_it_thrash_nowhere(
    models: tuple[Kept, ...],
) -> None:
    hours = 3
    for at in simulate(models, hours=hours, free_gib=14).values():
        assert len(at) <= hours * MOST_MENDS
        for first in at:
            within = [other for other in at if first <= other < first + HOUR_S]
            assert len(within) <= MOST_MENDS
        gaps = [later - before for before, later in pairwise(at)]
        assert all(gap >= GRACE_S for gap in gaps)
