"""Which loads by hand are a problem on the overview."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.models import Instance, LoadJob
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import make_instance, seen

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    seen()
    return instance


def put(instance: Instance, state: str = "failed", *, ago_s: float = 60, **fields: Any) -> None:
    values = {"model": "qwen3:8b", "wish": "load", "meaning": "Too small.", **fields}
    job = LoadJob.objects.create(instance=instance, state=state, **values)
    at = timezone.now() - timedelta(seconds=ago_s)
    LoadJob.objects.filter(pk=job.pk).update(created_at=at, finished_at=at)


def told() -> list[tuple[str, str, str]]:
    problems = find_problems(read_lab(now=timezone.now()))
    return [(p.severity, p.text, p.next_step) for p in problems if p.code == "load_failed"]


def test_load_that_failed_lately_is_told_with_what_it_means(instance: Instance) -> None:
    put(instance)
    assert told() == [("attention", "qwen3:8b could not be loaded on rog.", "Too small.")]


@pytest.mark.parametrize(
    "fields",
    [{"ago_s": 3600}, {"state": "cancelled"}, {"wish": "keep"}, {"state": "loaded"}],
)
def test_what_is_old_or_was_no_failed_load_is_no_problem(
    instance: Instance, fields: dict[str, Any]
) -> None:
    put(instance, **fields)
    assert told() == []


def test_what_was_done_to_it_afterwards_ends_the_problem(instance: Instance) -> None:
    put(instance)
    put(instance, "loaded", ago_s=30)
    assert told() == []
