"""Where a model ran and how fast it was, in words."""

from typing import Any

import pytest

from labdash.queries.verdict import judge, where
from workers.wire import TryEnd, TryGpu, TryOutcome, TryPlace

GIB = 2**30
CARD = TryGpu(index=1, name="RTX 3090", used_bytes=6 * GIB)


def place(size_gib: float | None, vram_gib: float | None, gpus: Any = None) -> TryPlace:
    return TryPlace(
        size_bytes=None if size_gib is None else int(size_gib * GIB),
        size_vram_bytes=None if vram_gib is None else int(vram_gib * GIB),
        gpus=gpus,
    )


@pytest.mark.parametrize(
    ("seen", "level", "title", "text"),
    [
        (place(6, 6, (CARD,)), "good", "GPU 1", "6.0 GiB on GPU 1 (RTX 3090)"),
        (place(10, 6, (CARD,)), "attention", "GPU 1, and 40 % on the CPU", "Of 10.0 GiB in all"),
        (place(None, None, (CARD,)), "good", "GPU 1", "Measured by the driver"),
        (
            place(12, 12, (TryGpu(index=0), CARD)),
            "good",
            "GPU 0 and GPU 1",
            "an untold part on GPU 0, 6.0 GiB on GPU 1",
        ),
        # Ollama's word alone, on a node where nothing measures.
        (place(6, 6), "good", "GPU", "So Ollama reports, of 6.0 GiB. Nothing measures it"),
        (place(10, 6), "attention", "GPU, and 40 % on the CPU", "So Ollama reports"),
        (place(6, 0), "info", "CPU", "6.0 GiB in RAM and none on a GPU"),
        (place(None, None), "info", "Where it ran is not known", "did not list it"),
        (place(6, None), "info", "Where it ran is not known", "did not list it"),
        # The driver tells of processes, and of none of this model.
        (place(6, 6, ()), "attention", "GPU", "the driver shows no process of this model"),
        (place(6, 0, ()), "attention", "CPU", "none on a GPU"),
    ],
)
def test_where_it_ran_is_the_drivers_word_before_ollamas(
    seen: TryPlace, level: str, title: str, text: str
) -> None:
    said = where(seen)
    assert (said.level, said.title) == (level, title)
    assert text in said.text


def test_figures_are_ollamas_own_counts_by_its_own_times() -> None:
    said = judge(
        TryEnd(
            outcome="answered",
            was_loaded=False,
            first_token_s=4.04,
            load_s=3.5,
            prompt_tokens=28,
            prompt_s=0.027,
            answer_tokens=312,
            answer_s=4.0,
        )
    )
    assert [(fact.name, fact.value, fact.note) for fact in said.facts] == [
        ("Answer", "78.0 tokens/s", "312 tokens in 4.0 s"),
        ("Prompt", "1,037 tokens/s", "28 tokens in 27 ms, those that it still knew included"),
        ("First token", "4.0 s", "after it was asked"),
        ("Load", "3.5 s", "it was not in memory"),
    ]
    assert (said.trouble, said.where) == ("", None)


@pytest.mark.parametrize(
    ("was_loaded", "load_s", "note"),
    [
        (True, 0.04, "it was in memory"),
        (True, 6.0, "it was in memory, but was loaded anew or had to wait"),
        (False, 6.0, "it was not in memory"),
        (None, 6.0, "it was not in memory"),
    ],
)
def test_a_load_that_nobody_expected_is_told(
    was_loaded: bool | None, load_s: float, note: str
) -> None:
    said = judge(TryEnd(outcome="answered", was_loaded=was_loaded, load_s=load_s))
    assert said.facts[0].note == note


def test_what_is_not_known_or_took_no_time_has_no_speed() -> None:
    for end in (
        TryEnd(outcome="answered"),
        TryEnd(outcome="answered", answer_tokens=5, answer_s=0.0),
        TryEnd(outcome="answered", answer_tokens=0, answer_s=1.0),
    ):
        assert judge(end).facts == ()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("length", "Cut short at 2,000 tokens, thinking included: more is not asked for."),
        ("stopped", "Stopped before its end: by hand, or since no page asked for it any more."),
        ("too_long", "Cut short: the answer is longer than LabDash shows."),
        ("too_late", "Cut short after 10 min."),
    ],
)
def test_an_answer_that_is_not_whole_says_so(outcome: TryOutcome, said: str) -> None:
    verdict = judge(TryEnd(outcome=outcome))
    assert (verdict.trouble, verdict.is_failed) == (said, False)


def test_an_empty_answer_and_a_failure_say_so() -> None:
    empty = judge(TryEnd(outcome="answered", is_empty=True))
    assert empty.trouble == "It ended without a word of an answer."
    failed = judge(TryEnd(outcome="failed", reason="Ollama says: no.", is_empty=True))
    assert (failed.trouble, failed.is_failed) == ("Ollama says: no.", True)
