"""Schedules on their pages."""

from datetime import time, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labdash.domain import schedule_runs, schedules
from labdash.models import (
    PullJob,
    PullSchedule,
    PullSettings,
    PullState,
    RunState,
    ScheduleRun,
)
from labdash.queries.due import Window
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import make_instance
from tests.labdash.views.polling import count_queries, parts, poll, text_of
from tests.labdash.views.test_overview import bare

URL = "/pulls/schedules/"
BUTTON = {"HX-Request": "true", "HX-Target": "run-1"}
FORM = {
    "name": "nightly",
    "what": "models",
    "models": "qwen3:14b\nqwen3:8b, gemma3:12b",
    "nodes": ["rog"],
    "at": "02:00",
    "until": "06:00",
    "updates": "never",
}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rog() -> None:
    make_instance("rog", tags=["desk"])


def add(name: str = "nightly", **fields: Any) -> PullSchedule:
    """Store a schedule."""
    return schedules.create(**{"name": name, "model_names": ["qwen3:8b"], "zone": "UTC", **fields})


def test_the_page_without_schedules_tells_what_they_are_for(page: Client) -> None:
    shown = bare(text_of(page.get(URL)))
    assert "No schedule yet" in shown
    assert "The next seven nights" in shown


def test_a_schedule_is_made_from_few_fields_and_shown_as_a_sentence(page: Client) -> None:
    response = page.post(f"{URL}new/", FORM)
    assert response.headers["Location"] == URL
    row = PullSchedule.objects.get()
    assert (row.cron, row.model_names) == ("0 2 * * *", ["qwen3:14b", "qwen3:8b", "gemma3:12b"])
    shown = bare(text_of(page.get(URL)))
    words = "Pulls qwen3:14b, qwen3:8b and gemma3:12b to rog every day at 02:00 until 06:00."
    assert words in shown
    assert text_of(page.get(URL)).count("02:00 to 06:00 nightly") == 7


@pytest.mark.parametrize(
    ("changes", "field", "line"),
    [
        ({"name": ""}, "name", "Write a name, such as nightly."),
        ({"models": ""}, "models", "Write at least one model name, such as qwen3:14b."),
        ({"at": ""}, "at", "Write a time of the day, such as 02:00."),
        ({"at": "", "cron": "0 2 * *"}, "cron", "Write five fields"),
        ({"zone": "Mars"}, "zone", "&#x27;Mars&#x27; is no time zone"),
        ({"what": "gpus", "until": ""}, "until", "Say until when"),
        ({"what": "installed"}, "updates", "What is installed is there already"),
        ({"at_once": "none"}, "at_once", "Write a whole number from 1 to 100, or nothing."),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    page: Client, changes: dict[str, str], field: str, line: str
) -> None:
    response = page.post(f"{URL}new/", {**FORM, **changes})
    assert response.status_code == 422
    assert line in text_of(response).partition(f'id="id_{field}_error"')[2][:300]
    assert not PullSchedule.objects.exists()


@pytest.mark.parametrize("cron", ["30 23 * * 1-5", "0 2 1 * *"])
def test_the_form_of_a_schedule_gives_it_back_as_it_is(page: Client, cron: str) -> None:
    row = add(cron=cron, nodes=["desk"], at_once=2, updates="take", catch_up=True, priority=2)
    was = PullSchedule.objects.values().get()
    form = page.get(f"{URL}{row.pk}/edit/").context["form"]
    data = {
        field.name: field.value() if isinstance(field.value(), list) else str(field.value())
        for field in form
        if field.value() not in (None, "", False)
    }
    response = page.post(f"{URL}{row.pk}/edit/", data)
    assert response.headers["Location"] == f"{URL}{row.pk}/"
    now = PullSchedule.objects.values().get()
    ignored = ("changed_at", "decided_to", "cron")
    assert {k: v for k, v in was.items() if k not in ignored} == {
        k: v for k, v in now.items() if k not in ignored
    }
    assert now["cron"] == cron.replace("1-5", "1,2,3,4,5")


def test_what_the_end_of_a_window_may_cost_is_told_before(page: Client) -> None:
    row = add(until=time(6))
    words = "If Ollama on rog is restarted more than an hour later, it deletes what had come of it"
    pages = (f"{URL}new/", f"{URL}{row.pk}/")
    assert all(words in bare(text_of(page.get(url))) for url in pages)
    assert words not in bare(text_of(page.get(f"{URL}{add('endless').pk}/")))
    PullSettings.objects.create(pk=1, cache=True)
    assert not any(words in bare(text_of(page.get(url))) for url in pages)


def test_buttons_run_stop_pause_and_resume(page: Client) -> None:
    row = add()
    for verb, words in (
        ("run", "0 of 1 done"),
        ("stop", "Stopped by hand."),
        ("pause", "paused"),
        ("resume", "next: "),
    ):
        response = page.post(f"{URL}{row.pk}/{verb}/", headers=BUTTON)
        assert (response.status_code, response.headers["HX-Trigger"]) == (204, "tick")
        assert words in bare(text_of(page.get(URL)))
    page.post(f"{URL}{row.pk}/run/")
    twice = page.post(f"{URL}{row.pk}/run/", headers=BUTTON)
    assert (twice.status_code, "nightly runs already" in text_of(twice)) == (422, True)


def test_a_run_is_followed_and_then_told_in_the_history(page: Client) -> None:
    row = add()
    run = schedules.run_now(schedule=row, user=None)
    shown = text_of(page.get(f"{URL}{row.pk}/"))
    assert "0 of 1 done" in shown
    assert poll(page, shown).status_code == 204
    PullJob.objects.update(state=PullState.FAILED, reason="There is no such tag.")
    schedule_runs.carry_on(runs=[run], now=timezone.now())
    answer = text_of(poll(page, shown))
    assert {"state", "jobs", "runs"} <= set(parts(answer))
    assert "1 failed: qwen3:8b on rog (There is no such tag)." in bare(answer)


def test_a_second_schedule_says_that_the_first_one_pulls_it(page: Client) -> None:
    first, second = add(), add("weekly")
    for row in (first, second):
        schedules.run_now(schedule=row, user=None)
    shown = bare(text_of(page.get(f"{URL}{second.pk}/")))
    assert "qwen3:8b on rog was asked for already, by nightly: it is pulled once." in shown
    assert "0 of 1 done" in shown
    assert PullJob.objects.count() == 1


def test_deleting_cancels_what_was_asked_for(page: Client) -> None:
    row = add()
    schedules.run_now(schedule=row, user=None)
    assert page.post(f"{URL}{row.pk}/delete/").headers["Location"] == URL
    assert (PullSchedule.objects.count(), PullJob.objects.get().state) == (0, PullState.CANCELLED)


def test_as_many_queries_for_three_schedules_as_for_one(page: Client) -> None:
    schedules.run_now(schedule=add("one"), user=None)
    once = count_queries(page, URL)
    for name in ("two", "three"):
        schedules.run_now(schedule=add(name, model_names=[f"{name}:1b"]), user=None)
    assert count_queries(page, URL) == once


def test_problems_tell_of_places_failures_and_windows_that_are_too_short() -> None:
    now = timezone.now()
    add("gone"), add("failed"), add("short", until=time(6))
    PullSchedule.objects.filter(name="gone").update(nodes=["attic"])
    PullSchedule.objects.create(name="lost", zone="Atlantis", decided_to=now)
    for name, state, days in (
        ("failed", RunState.FINISHED, 2),
        ("failed", RunState.FAILED, 1),
        ("short", RunState.UNFINISHED, 2),
        ("short", RunState.UNFINISHED, 1),
        ("gone", RunState.UNFINISHED, 1),
    ):
        at = now - timedelta(days=days)
        ScheduleRun.objects.create(
            schedule=PullSchedule.objects.get(name=name),
            due_at=at,
            started_at=at,
            state=state,
            text="1 failed.",
        )
    found = {each.code: each for each in find_problems(read_lab(now=now))}
    told = {code: each.text for code, each in found.items() if code.startswith("schedule")}
    assert told == {
        "schedule_place_gone": "gone is for attic, which is no machine and no tag now.",
        "schedule_failed": "failed failed in part: 1 failed.",
        "schedule_unfinished": "short was not finished in its window twice in a row. 1 failed.",
        "schedule_unreadable": "lost is never due: 'Atlantis' is no time zone: write one as"
        " Europe/Berlin.",
    }
    PullSchedule.objects.update(paused=True)
    assert not any(each.code.startswith("schedule") for each in find_problems(read_lab(now=now)))


def test_a_schedule_that_cannot_be_read_is_shown_with_the_reason(page: Client) -> None:
    row = PullSchedule.objects.create(
        name="lost", zone="Atlantis", cron="nonsense", decided_to=timezone.now()
    )
    window = Window(opens_at=timezone.now())
    schedule_runs.start(schedule=row, due_at=timezone.now(), window=window, now=timezone.now())
    for url in (URL, f"{URL}{row.pk}/", f"{URL}{row.pk}/edit/"):
        assert page.get(url).status_code == 200
    assert "never due" in text_of(page.get(URL))
