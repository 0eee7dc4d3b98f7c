"""Where the guide says something: its sections, found by the words of the pages themselves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from html import unescape

from django.template import Engine

from labdash.catalog.models import models
from labdash.guide import CHAPTERS, Chapter
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type

_NOT_WORDS = re.compile(r"\{#.*?#\}|\{%.*?%\}|<svg.*?</svg>|<tbody>.*?</tbody>|<[^>]+>", re.DOTALL)
_FIGURE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_HEADING = re.compile(r'<h2 id="([\w-]+)"[^>]*>(.*?)</h2>', re.DOTALL)
LONGEST_SEARCH = 100
# Letters shown around what was found.
AROUND = 70
TITLE, HEADING, WORD = 0, 1, 2
# What a question is asked with, and what no section is about.
ASKING = re.compile(
    r"a|an|and|any|are|as|at|be|best|by|can|do|does|for|from|get|gb|"
    r"gib|have|how|i|in|into|is|it|its|me|much|many|my|need|of|on|one|"
    r"or|should|take|than|that|the|there|this|to|use|versus|vs|want|what|"
    r"when|where|which|who|why|will|with|work|you|your"
)
# From so many letters on a word is also looked for as the beginning of another.
SHORTEST_STEM = 4
MOST_IN_PART = 8
MOST_FAMILIES = 6
# More words than a search holds.
MOST_PATTERNS = 256


@dataclass(frozen=True, kw_only=True)
class Section:
    """Part of a chapter under a heading. The first of each has none: it is the chapter itself."""

    chapter: Chapter
    anchor: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A section that answers, and the text around the first word found."""

    section: Section
    excerpt: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search finds. ``in_part`` where no section holds all words: these hold the most.

    ``quants`` and ``families`` are those that the search names: the first are explained in the
    chapter of names, the others stand in the catalog.
    """

    hits: tuple[Hit, ...]
    in_part: bool
    quants: tuple[str, ...]
    families: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.hits or self.quants or self.families)


def search(text: str) -> Found:
    """Find the sections that hold the words: whole words first, then by title, heading, text."""
    words = _asked_words(text)
    ranked = sorted(((_rank(each, words), each) for each in sections()), key=lambda pair: pair[0])
    least = ranked[0][0][0] if words else 0
    found = [each for rank, each in ranked if rank[0] == least and least < len(words)]
    return Found(
        hits=tuple(
            Hit(section=each, excerpt=_excerpt(each, words))
            for each in found[: MOST_IN_PART if least else None]
        ),
        in_part=bool(least),
        quants=tuple(dict.fromkeys(quant for word in words if (quant := _quant(word)))),
        families=tuple(dict.fromkeys(name for word in words for name in _families(word)))[
            :MOST_FAMILIES
        ],
    )


@cache
def sections() -> tuple[Section, ...]:
    """Return all parts of all chapters."""
    return tuple(section for chapter in CHAPTERS for section in _sections_of(chapter))


def headings(chapter: Chapter) -> list[Section]:
    """Return what a chapter is made of."""
    return [each for each in sections() if each.chapter == chapter and each.anchor]


def _sections_of(chapter: Chapter) -> Iterable[Section]:
    template = Engine.get_default().get_template(f"guide/{chapter.template}.html")
    _, *parts = _HEADING.split(str(template.source))
    yield Section(
        chapter=chapter,
        anchor="",
        title=chapter.title,
        text=f"{chapter.sentence} {chapter.words}",
    )
    for anchor, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield Section(chapter=chapter, anchor=anchor, title=_words(title), text=_words(text))


def _words(source: str) -> str:
    """Keep what is read of a template; figures that are computed leave three dots."""
    text = " ".join(unescape(_FIGURE.sub("…", _NOT_WORDS.sub(" ", source))).split())
    return re.sub(r"…(?: ?…)+", "…", text)


def _asked_words(text: str) -> tuple[str, ...]:
    """Read what is asked for: "How much for a Mac with 16GB?" is mac and 16."""
    apart = re.sub(r"(?<=\d)(?=gi?b\b)", " ", text[:LONGEST_SEARCH].lower())
    apart = re.sub(r"is(?=ation|ed?\b|ing\b)", "iz", apart) if "quanti" in apart else apart
    words = [word for each in apart.split() if (word := each.strip(".,:;!?()\"'“”"))]
    about = [word for word in words if not ASKING.fullmatch(word)]
    return tuple(dict.fromkeys(about or words))


def _rank(section: Section, words: tuple[str, ...]) -> tuple[int, int, int]:
    """Tell how well a section answers, the less the better: words lacking, stems only, place."""
    text = f"{section.title} {section.text}"
    lacking = [word for word in words if not _stem(word).search(text)]
    whole = [word for word in words if _whole(word).search(text)]
    place = WORD
    if any(_stem(word).search(section.title) for word in words):
        place = HEADING if section.anchor else TITLE
    return len(lacking), len(words) - len(whole), place


@lru_cache(maxsize=MOST_PATTERNS)
def _whole(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}s?(?!\w)", re.IGNORECASE)


def _stem(word: str) -> re.Pattern[str]:
    return _beginning(word) if len(word) >= SHORTEST_STEM else _whole(word)


@lru_cache(maxsize=MOST_PATTERNS)
def _beginning(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word.removesuffix('s'))}", re.IGNORECASE)


def _quant(word: str) -> str | None:
    try:
        return find_file_type(word).name
    except PlannerError:
        return None


def _families(word: str) -> Iterable[str]:
    """Name the families of the catalog that begin with a word: qwen3 finds Qwen3 and Qwen3-VL."""
    if len(word) < SHORTEST_STEM - 1 or not word[0].isalpha():
        return ()
    return (
        each.family for each in models() if each.family.lower().replace(" ", "").startswith(word)
    )


def _excerpt(section: Section, words: tuple[str, ...]) -> str:
    """Cut the text around the first word; a chapter is told by its sentence."""
    if not section.anchor:
        return section.chapter.sentence
    text = section.text
    at = min((hit.start() for word in words if (hit := _stem(word).search(text))), default=0)
    begin = text.rfind(" ", 0, at - AROUND) + 1 if at > AROUND else 0
    end = text.find(" ", at + AROUND)
    cut = text[begin : end if end > 0 else None].strip(" …")
    return f"{'… ' if begin else ''}{cut}{' …' if end > 0 else ''}"
