"""Tests that share a running demo, or look at all processes, are handed out together."""

import re

import pytest

from labdash.env import ROOT
from tests.scheduling import GROUPS, SCOPES

# What a test of the demo asks for: its page or its lab.
NEEDS_DEMO = re.compile(r"^def test_\w+\([^)]*\b(lab: LiveLab|window: Page)\b", re.MULTILINE)


@pytest.mark.parametrize("path", sorted(SCOPES))
def test_every_file_that_stays_together_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_file_that_needs_the_demo_shares_it() -> None:
    shared = {path for name, files in GROUPS.items() if "demo" in name for path in files}
    files = (ROOT / "tests" / "e2e").glob("test_*.py")
    needs = {str(f.relative_to(ROOT)) for f in files if NEEDS_DEMO.search(f.read_text())}
    assert needs
    assert needs <= shared
