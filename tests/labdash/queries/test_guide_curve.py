"""Reduce context before quant: the drawing crosses the room where the planner says that it does."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from labdash.catalog.entries import read_entries
from labdash.catalog.own import take
from labdash.planner.errors import PlannerError
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, variant_at
from labdash.queries.guide_curve import (
    DENSE,
    HEIGHT,
    LEAST_CONTEXT,
    NAME_HEIGHT,
    Curve,
    choose,
    curve,
)
from labdash.queries.guide_places import usual_places
from tests.labdash.catalog.test_entries import ENTRY, SHAPE


def usual(key: str) -> Place:
    return next(each for each in usual_places() if each.key == key)


def mine(key: str, name: str) -> Place:
    """Return a usual machine as one of the reader's."""
    return replace(usual(key), key=name, node=name)


def quants(found: Curve) -> list[str]:
    return [step.variant.quant for step in found.steps]


def test_smaller_file_fits_to_a_longer_context() -> None:
    longest = [step.most_context for step in curve(usual("rtx-3060"), "qwen3:14b").steps]
    assert longest == sorted(longest)
    assert longest[-1] > longest[-2] > 0


def test_mark_is_where_a_line_meets_the_room() -> None:
    found = curve(usual("rtx-3060"), "qwen3:14b")
    marks = [step.mark for step in found.steps if step.mark]
    assert len(marks) > 1
    assert found.room_y is not None
    for mark in marks:
        # A context is told in whole thousands, so a mark lies a little below.
        assert 0 <= mark.y - found.room_y < HEIGHT / 25
    across = [mark.x_percent for mark in marks]
    assert across == sorted(across)


def test_every_line_begins_within_the_drawing_and_ends_of_axes_too() -> None:
    found = curve(usual("rtx-3060"), "qwen3:14b")
    assert all(0 <= step.name_y <= HEIGHT for step in found.steps if step.name_y is not None)
    assert sum(step.name_y is not None for step in found.steps) == len(found.steps)
    assert all(0 <= tick.at <= HEIGHT for tick in found.up)
    assert (found.across[0].at, found.across[0].value) == (0, 2048)
    assert all(0 <= tick.at < 100 for tick in found.across)


def test_halves_of_the_context_are_as_far_apart_as_each_other() -> None:
    found = curve(usual("rtx-3060"), "llama3.2:1b")
    steps = [b.at - a.at for a, b in pairwise(found.across)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=0.11)


def test_lesson_is_half_of_a_context_for_a_better_quant() -> None:
    lesson = curve(usual("rtx-3060"), "qwen3:14b").lesson
    assert lesson is not None
    assert lesson.worse is not None
    assert lesson.half * 2 == lesson.context
    assert (lesson.better.loss or 0) < (lesson.worse.loss or 0)
    assert lesson.saved_bytes > 0
    assert lesson.stepped_bytes > 0


def test_nobody_is_asked_to_do_with_hardly_any_context() -> None:
    found = [curve(each, "qwen3:8b").lesson for each in usual_places()]
    halves = [lesson.half for lesson in found if lesson]
    assert halves
    assert min(halves) >= LEAST_CONTEXT


def test_context_is_the_answer_where_its_half_saves_as_much_as_the_step() -> None:
    lesson = curve(usual("rtx-3060"), "qwen3:14b").lesson
    assert lesson
    saved = lesson.saved_bytes
    told = [replace(lesson, stepped_bytes=size).saves_most for size in (saved, saved + 1)]
    assert told == [True, False]


def test_where_all_fits_there_is_no_lesson() -> None:
    found = curve(usual("2-rtx-3090"), "qwen3:8b")
    assert (found.lesson, found.all_fit, found.none_fits) == (None, True, False)
    assert not any(step.mark for step in found.steps)


def test_where_nothing_fits_there_is_no_lesson() -> None:
    found = curve(usual("rtx-4060"), "llama3.3:70b")
    assert (found.lesson, found.all_fit, found.none_fits) == (None, False, True)
    assert not any(step.inside for step in found.steps)


def test_room_that_is_not_known_is_not_drawn() -> None:
    place = usual("rtx-3060")
    cards = tuple(replace(card, room_bytes=None) for card in place.cards)
    found = curve(replace(place, cards=cards), "qwen3:8b")
    assert (found.room_bytes, found.room_y, found.lesson) == (None, None, None)
    assert not any(step.most_context for step in found.steps)


@pytest.mark.parametrize("name", ["gpt-oss:20b", "all-minilm", "nomic-embed-text", "gemma3:4b"])
@pytest.mark.parametrize("key", ["rtx-4060", "2-p40", "m2-32", "mini-pc", "phone-6"])
def test_any_model_can_be_drawn_anywhere(key: str, name: str) -> None:
    found = curve(usual(key), name)
    assert all(step.line.startswith("M0.0,") for step in found.steps)


def test_what_was_chosen_is_kept() -> None:
    roomy, own = usual("2-rtx-3090"), (mine("rtx-3060", "den"),)
    assert choose(own, roomy, "qwen3:8b") == (roomy, "qwen3:8b")
    assert choose(own, roomy, "")[0] == roomy
    assert choose(own, None, "qwen3:4b")[1] == "qwen3:4b"


def test_own_machine_on_which_context_decides_comes_first() -> None:
    own = (mine("2-rtx-3090", "rog"), mine("rtx-3060", "den"))
    place, model = choose(own, None, "")
    assert place.node == "den"
    assert curve(place, model).lesson is not None


@pytest.mark.parametrize("own", [(), (mine("mini-pc", "mini"),)])
def test_usual_card_is_looked_at_where_context_decides_nothing(own: tuple[Place, ...]) -> None:
    place, model = choose(own, None, "")
    assert place.key == "rtx-3060"
    assert curve(place, model).lesson is not None


def test_model_that_fits_everywhere_is_drawn_on_the_own_machine() -> None:
    own = (mine("mini-pc", "mini"),)
    assert choose(own, None, "llama3.2:1b") == (own[0], "llama3.2:1b")


@pytest.mark.parametrize("key", ["rtx-3090", "mini-pc", "rtx-4060", "rtx-5090"])
def test_chosen_machine_is_shown_with_a_model_that_teaches_there(key: str) -> None:
    assert curve(*choose((), usual(key), "")).lesson is not None


def test_names_of_lines_that_lie_together_are_not_written_over_each_other() -> None:
    steps = curve(usual("2-p40"), "llama3.2:1b").steps
    named = [step.name_y for step in steps if step.name_y is not None]
    assert len(named) < len(steps)
    assert all(b - a >= NAME_HEIGHT for a, b in pairwise(named))


def test_dense_models_are_those_of_the_table() -> None:
    dense = [name for name in SIZES if variant_at(name, "Q8_0").model.shape.experts is None]
    assert tuple(reversed(dense)) == DENSE


def test_unknown_model_is_refused_with_and_without_a_machine() -> None:
    for place in (usual("rtx-3060"), None):
        with pytest.raises(PlannerError):
            curve(*choose((), place, "no-such-model"))


@pytest.mark.parametrize("trained", [1, 2, 3, 7, 8, 9, 300])
def test_model_of_hardly_any_context_can_be_drawn(trained: int) -> None:
    shape = {**SHAPE, "context_length": trained}
    take(read_entries(json.dumps({**ENTRY, "name": f"Short-{trained}", "metadata": shape})))
    try:
        found = curve(usual("rtx-3060"), f"Short-{trained}")
    finally:
        take(())
    assert len(found.contexts) > 1
    assert all(step.line.startswith("M0.0,") for step in found.steps)
