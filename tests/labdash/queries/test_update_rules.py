"""What is outdated is one hint for the lab, and never more."""

import pytest
from django.utils import timezone

from labdash.domain.upstream import count_behind
from labdash.queries.lab import LabView, read_lab
from labdash.queries.problems import find_problems
from labdash.queries.update_rules import find
from tests.factories import WHEN, make_instance
from tests.labdash.update_rows import install, publish


def lab(*outdated: str) -> LabView:
    return LabView(now=WHEN, store_ok=True, nodes=(), outdated=outdated)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a:1b"], "a:1b is outdated."),
        (["a:1b", "b:1b"], "a:1b, b:1b are outdated."),
        (list("abcdef"), "a, b, c, d and 2 more are outdated."),
    ],
)
def test_one_line_names_a_few(names: list[str], text: str) -> None:
    (problem,) = find(lab(*names))
    assert (problem.text, problem.severity) == (text, "info")


def test_nothing_outdated_is_no_problem() -> None:
    assert list(find(lab())) == []


@pytest.mark.django_db
def test_servers_that_are_behind_are_counted_and_told() -> None:
    for slug in ("rog", "tower"):
        install(make_instance(slug))
    tag = publish()
    assert count_behind() == 1
    assert count_behind() == 0
    tag.refresh_from_db()
    assert tag.behind == 2
    assert "outdated" in {each.code for each in find_problems(read_lab(now=timezone.now()))}
