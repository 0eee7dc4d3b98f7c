"""Where the guide says something: its sections, found by the words of the pages themselves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from html import unescape

from django.template import Engine

from labdash.guide import CHAPTERS, Chapter

_NOT_WORDS = re.compile(r"\{#.*?#\}|\{%.*?%\}|<svg.*?</svg>|<[^>]+>", re.DOTALL)
_FIGURE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_HEADING = re.compile(r'<h2 id="([\w-]+)"[^>]*>(.*?)</h2>', re.DOTALL)
LONGEST_SEARCH = 100
# Letters shown around what was found.
AROUND = 70
TITLE, HEADING, WORD = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Section:
    """Part of a chapter under a heading. The first of each has none: it is the chapter itself."""

    chapter: Chapter
    anchor: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A section where all words stand, and the text around the first of them."""

    section: Section
    excerpt: str


def search(text: str) -> list[Hit]:
    """Find the sections that hold all words: by title first, then heading, then text."""
    words = text[:LONGEST_SEARCH].lower().split()
    ranked = [(rank, each) for each in sections() if (rank := _rank(each, words)) is not None]
    return [
        Hit(section=each, excerpt=_excerpt(each, words))
        for _, each in sorted(ranked, key=lambda pair: pair[0])
    ]


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
    """Keep what is read of a template; a figure that is computed leaves a dash of dots."""
    text = _FIGURE.sub("…", _NOT_WORDS.sub(" ", source))
    return " ".join(unescape(text).split())


def _rank(section: Section, words: list[str]) -> int | None:
    """Tell how well a section answers, None where it lacks a word."""
    if not words or not all(word in f"{section.title} {section.text}".lower() for word in words):
        return None
    if any(word in section.title.lower() for word in words):
        return HEADING if section.anchor else TITLE
    return WORD


def _excerpt(section: Section, words: list[str]) -> str:
    """Cut the text around the first word; a chapter is told by its sentence."""
    if not section.anchor:
        return section.chapter.sentence
    text = section.text
    at = max(0, min((text.lower().find(word) for word in words if word in text.lower()), default=0))
    begin = text.rfind(" ", 0, at - AROUND) + 1 if at > AROUND else 0
    end = text.find(" ", at + AROUND)
    cut = text[begin : end if end > 0 else None]
    return f"{'… ' if begin else ''}{cut}{' …' if end > 0 else ''}"
