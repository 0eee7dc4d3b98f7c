"""What every template keeps to, whoever renders it."""

import re
from pathlib import Path

from labdash.env import ROOT
from labdash.guide import CHAPTERS

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SOURCES = "".join(
    path.read_text()
    for folder in ("templates", "labdash")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".html", ".py"}
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "templates"))


def test_no_style_or_script_stands_in_the_markup() -> None:
    markup = r"\sstyle\s*=|<style|\son\w+\s*=|hx-on|javascript:|<script(?![^>]*\ssrc=)"
    assert [name_of(path) for path in TEMPLATES if re.search(markup, path.read_text())] == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    outside = r'(?:src|href|action)="(?:https?:)?//[^"]*"'
    assert [name_of(path) for path in TEMPLATES if re.search(outside, path.read_text())] == []


def test_what_loads_by_itself_gives_way_to_the_form_that_asks_for_something_else() -> None:
    found = []
    for path in TEMPLATES:
        text = path.read_text()
        for tag in re.findall(r'<\w+[^>]*hx-trigger="load"[^>]*>', re.sub(r"{%.*?%}", "", text)):
            target = re.search(r'hx-target="#([\w-]+)"', tag)
            form = re.search(r'hx-sync="#([\w-]+):abort"', tag)
            if target:
                found.append((name_of(path), bool(form and f'<form id="{form[1]}"' in text)))
    assert found
    assert [name for name, is_synced in found if not is_synced] == []


# Django finds these by their names, and the guide its chapters.
FOUND_BY_NAME = {"403.html", "403_csrf.html", "404.html", "500.html"} | {
    f"guide/{chapter.template}.html" for chapter in CHAPTERS
}


def test_every_template_is_used() -> None:
    named = [name for path in TEMPLATES if not (name := name_of(path)).startswith("admin/")]
    assert [name for name in named if name not in FOUND_BY_NAME and name not in SOURCES] == []


def test_the_page_of_a_fault_names_the_log_of_the_web_process() -> None:
    assert (
        "<code>log/web.log</code> in the data folder"
        in (ROOT / "templates" / "500.html").read_text()
    )
