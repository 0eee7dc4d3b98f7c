"""The search of the guide."""

import pytest

from labdash.queries.guide import MOST_IN_PART, search, sections


def found(text: str) -> list[tuple[str, str]]:
    return [(hit.section.chapter.slug, hit.section.anchor) for hit in search(text).hits]


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("nvlink", ("mistakes", "pool")),
        ("What is the KV cache?", ("memory", "sum")),
        ("how much VRAM for 70b", ("memory", "")),
        ("rtx 3060 12GB", ("hardware", "")),
        ("which port has the OpenAI api", ("start", "")),
    ],
)
def test_question_finds_its_section_first(question: str, first: tuple[str, str]) -> None:
    assert found(question)[0] == first


def test_word_is_not_found_within_another() -> None:
    hits = search("mac").hits
    assert hits
    assert ("memory", "why") not in found("mac"), "it says machine"


def test_beginning_of_a_long_word_finds_it_while_it_is_written() -> None:
    assert set(found("perplex")) == set(found("perplexity"))


def test_what_no_section_holds_whole_is_found_in_part_and_said() -> None:
    whole, part = search("imatrix"), search("imatrix zzyzx")
    assert not whole.in_part
    assert part.in_part
    assert 0 < len(part.hits) <= MOST_IN_PART


def test_quants_and_families_lead_to_where_they_are_explained() -> None:
    answer = search("qwen3 q5_k_s or Q4_0?")
    assert answer.quants == ("Q5_K_S", "Q4_0")
    assert "Qwen3" in answer.families


@pytest.mark.parametrize("text", ["", "  ", "?", "(", "[a-", "\\", "zzyzx", "é" * 99])
def test_nothing_to_look_for_finds_nothing(text: str) -> None:
    assert search(text).is_nothing


def test_every_heading_is_found_by_its_own_words() -> None:
    for each in sections():
        if each.anchor:
            assert (each.chapter.slug, each.anchor) in found(each.title), each.title


@pytest.mark.parametrize(
    ("question", "chapter"),
    [
        ("no graphics card", "hardware"),
        ("chatbot on a computer without gpu", "hardware"),
        ("how do I install", "start"),
        ("which file should I download", "start"),
        ("macbook", "hardware"),
        ("what is quantisation", "memory"),
    ],
)
def test_everyday_words_lead_to_a_chapter_that_answers(question: str, chapter: str) -> None:
    assert chapter in {slug for slug, _ in found(question)[:3]}


def test_excerpts_have_no_holes_of_tables() -> None:
    for word in ("quant", "file", "card", "speed"):
        assert not any("… …" in hit.excerpt for hit in search(word).hits)
