"""What every template keeps to, whoever renders it."""

import re
from pathlib import Path

import pytest

from labdash.env import ROOT

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SOURCES = "".join(
    path.read_text()
    for folder in ("templates", "labdash")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".html", ".py"}
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "templates"))


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_no_style_or_script_stands_in_the_markup(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son\w+\s*=|hx-on|javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_nothing_is_loaded_from_elsewhere(path: Path) -> None:
    outside = re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]*"', path.read_text())
    assert outside == []


# Django finds these by their names.
FOUND_BY_NAME = {"403.html", "403_csrf.html", "404.html", "500.html"}


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_template_is_used(path: Path) -> None:
    name = name_of(path)
    assert name in FOUND_BY_NAME or name.startswith("admin/") or name in SOURCES


def test_the_page_of_a_fault_names_the_log_of_the_web_process() -> None:
    assert (
        "<code>log/web.log</code> in the data folder"
        in (ROOT / "templates" / "500.html").read_text()
    )
