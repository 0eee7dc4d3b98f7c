"""One load on one server: whole, divided, in RAM, not at all; and how long a context fits."""

from dataclasses import replace

import pytest

from labdash.planner.lab import Node, Variant
from labdash.planner.placing.forms import whole
from labdash.planner.placing.outcome import Miss, Trial
from labdash.planner.placing.seats import seats_at
from labdash.planner.prospects import STEP, Prospect, prospect
from tests.labdash.planner.small_labs import GIB, card, node, variant


def told(where: Node, what: Variant, ctx: int = 8192) -> Prospect:
    return prospect(where, where.instances[0], what, ctx)


def test_model_that_fits_one_card_is_whole_up_to_a_context() -> None:
    home, what = node("pc", 12.0), variant("qwen3:14b")
    found = told(home, what)
    assert (found.verdict, found.gpus, found.layers, found.all_layers) == ("whole", (0,), 41, 41)
    assert found.tokens_per_s
    seat = next(s for m, s in seats_at(home, home.instances[0]).items() if m.gpus)
    assert found.most_ctx == max(
        ctx
        for ctx in range(STEP, 40_960 + 1, STEP)
        if not isinstance(whole(Trial(what, ctx, seat)), Miss)
    )


def test_longer_context_than_fits_splits_it_and_says_what_is_missing() -> None:
    found = told(node("pc", 12.0), variant("qwen3:14b"), ctx=32_768)
    assert found.verdict == "part"
    assert 0 < found.layers < 41
    assert found.short_bytes
    assert found.short_bytes > 0


def test_context_that_takes_more_cards_than_the_load_says_which() -> None:
    found = told(node("rog", 24.0, 24.0), variant("qwen3:32b"))
    assert (found.gpus, found.most_ctx, found.most_gpus) == ((0,), 40_960, (0, 1))
    assert told(node("rog", 24.0, 24.0), variant("qwen3:8b")).most_gpus == ()


def test_cards_are_joined_where_one_is_not_enough() -> None:
    found = told(node("rog", 24.0, 24.0), variant("qwen3:32b", "Q8_0"))
    assert (found.verdict, found.gpus) == ("whole", (0, 1))
    assert found.most_ctx
    assert found.most_ctx >= 8192


@pytest.mark.parametrize(("ram_gib", "verdict"), [(64, "ram"), (8, "no")])
def test_server_without_a_gpu_has_it_in_ram_or_not_at_all(ram_gib: int, verdict: str) -> None:
    home = node("mini", ram_bytes=ram_gib * GIB)
    found = told(home, variant("qwen3:14b"))
    assert found.verdict == verdict
    assert (found.limit == "ram") == (verdict == "no")


def test_what_is_too_large_for_gpu_and_ram_together_says_how_much_is_missing() -> None:
    home = node("pc", 12.0, ram_bytes=16 * GIB)
    found = told(home, variant("qwen3:235b"))
    assert found.verdict == "no"
    assert found.short_bytes
    assert found.short_bytes > 60 * GIB


def test_card_of_unknown_size_is_unknown() -> None:
    home = replace(node("pc", 12.0), cards=(replace(card(), total_bytes=0),))
    assert told(home, variant("qwen3:14b")).verdict == "unknown"
    unheard = node("mini", ram_bytes=None)
    assert told(unheard, variant("qwen3:14b")).verdict == "unknown"


def test_slots_and_cache_of_the_server_count() -> None:
    what = variant("qwen3:14b")
    plain = told(node("pc", 12.0), what)
    small = told(node("pc", 12.0, env={"OLLAMA_KV_CACHE_TYPE": "q8_0"}), what)
    slots = told(node("pc", 12.0, env={"OLLAMA_NUM_PARALLEL": "2"}), what)
    assert (small.most_ctx or 0) > (plain.most_ctx or 0) > (slots.most_ctx or 0) > 0


def test_old_server_with_two_cards_divides_by_its_own_rules() -> None:
    home = node("rog", 24.0, 24.0)
    old = replace(home, instances=(replace(home.instances[0], version="0.24.0", build=7000),))
    assert told(old, variant("qwen3:32b", "Q8_0")).verdict == "whole"
    parted = told(old, variant("qwen3:235b"))
    assert (parted.verdict, len(parted.gpus)) == ("no", 0)
    parted = told(old, variant("qwen2.5:72b", "Q8_0"))
    assert (parted.verdict, len(parted.gpus)) == ("part", 1)
