"""Asking registries what is published: how often, and what their silence means."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from pytest_django.fixtures import Settings

from labdash.domain import upstream
from labdash.models import InstalledModel, PullSettings, UpstreamHost, UpstreamManifest, UpstreamTag
from labdash.queries import registries
from labdash.sources.ranges import Service
from tests.factories import WHEN, make_installed, make_instance
from tests.labdash.sources.test_registry import registry

pytestmark = pytest.mark.django_db
NAME = "qwen3:8b"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CHANCE = random.Random(1)  # noqa: S311 - spreads questions


@pytest.fixture(autouse=True)
def _installed() -> None:
    make_installed(make_instance(), NAME)


def look(at: datetime) -> int:
    return upstream.look(now=at, chance=CHANCE)


def tag(name: str = NAME) -> UpstreamTag:
    return UpstreamTag.objects.get(name=name)


def due(at: datetime = WHEN) -> datetime:
    """Let the name be known and asked for at ``at``."""
    look(at - HOUR)
    UpstreamTag.objects.update(next_at=at)
    return at


@contextmanager
def upstream_is(monkeypatch: pytest.MonkeyPatch, **answers: object) -> Iterator[list[str]]:
    with registry(**answers) as (service, asked):
        monkeypatch.setattr(upstream, "ollama_registry", lambda: service)
        yield asked


def test_new_name_is_asked_for_within_minutes_and_then_once_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with upstream_is(monkeypatch) as asked:
        assert look(WHEN) == 0
        assert WHEN + timedelta(minutes=2) <= tag().next_at <= WHEN + timedelta(minutes=10)
        now = WHEN
        while now < WHEN + 3 * DAY:
            look(now)
            now += HOUR
    # The first time its description is looked at too, but there is none.
    assert asked == ["/v2/library/qwen3/manifests/8b"] * 3
    assert (tag().state, tag().was_there) == ("there", True)
    assert UpstreamManifest.objects.count() == 1


def test_names_of_one_digest_are_asked_for_once_and_own_names_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_instance("tower")
    for name in (NAME, "labdash/chat:latest", "labdash-before/qwen3:8b", "nas/library/x:1b"):
        make_installed(other, name)
    make_installed(other, "mine:latest", parent_model="qwen3:8b")
    make_installed(other, "gpt:cloud", is_cloud=True)
    with upstream_is(monkeypatch):
        look(WHEN)
    assert list(UpstreamTag.objects.values_list("name", flat=True)) == [NAME]


def test_registry_that_is_down_is_left_alone_longer_each_time_and_nothing_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_installed(make_instance("tower"), "llama3.2:1b")
    with upstream_is(monkeypatch) as asked:
        look(due())
    now, before = WHEN + 2 * DAY, len(asked)
    pauses = []
    with upstream_is(monkeypatch, status=503) as asked:
        for _ in range(9):
            UpstreamTag.objects.update(next_at=now)
            assert look(now) == 0
            host = UpstreamHost.objects.get()
            assert host.not_before_at is not None
            pauses.append(host.not_before_at - now)
            # While it is left alone, nothing is asked.
            UpstreamTag.objects.update(next_at=now)
            assert look(now + timedelta(seconds=1)) == 0
            now = host.not_before_at
    assert before == 2
    # One name each time, not all that are due.
    assert len(asked) == 9
    assert timedelta(minutes=5) <= pauses[0] <= timedelta(minutes=8)
    assert pauses[3] > 3 * pauses[0]
    assert max(pauses) <= 9 * HOUR
    assert {each.state for each in UpstreamTag.objects.all()} == {"there"}
    assert host.down_since == WHEN + 2 * DAY
    assert any("answers 503" in each.error for each in UpstreamTag.objects.all())
    with upstream_is(monkeypatch):
        UpstreamTag.objects.update(next_at=now)
        assert look(now) == 2
    assert not UpstreamHost.objects.exists()
    assert tag().error == ""


def test_registry_is_given_the_time_that_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream_is(monkeypatch, status=429, waits="40000"):
        look(due())
    assert UpstreamHost.objects.get().not_before_at == WHEN + timedelta(seconds=40000)


def test_what_is_not_found_on_two_days_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream_is(monkeypatch):
        look(due())
    states = []
    with upstream_is(monkeypatch, status=404):
        for hours in (25, 26, 52):
            look(due(WHEN + hours * HOUR))
            states.append(tag().state)
    assert states == ["missing", "missing", "gone"]
    assert tag().missing_since == WHEN + 25 * HOUR
    with upstream_is(monkeypatch):
        look(due(WHEN + 80 * HOUR))
    assert (tag().state, tag().missing_since) == ("there", None)


def test_what_was_never_published_is_asked_for_once_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream_is(monkeypatch, status=404):
        look(due())
        look(due(WHEN + 25 * HOUR))
    assert (tag().state, tag().was_there) == ("gone", False)
    assert tag().next_at == WHEN + 25 * HOUR + 7 * DAY


def test_answer_that_makes_no_sense_changes_nothing_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with upstream_is(monkeypatch):
        look(due())
    with upstream_is(monkeypatch, manifest=b"<html>"):
        assert look(due(WHEN + 2 * DAY)) == 1
    assert (tag().state, tag().checked_at) == ("there", WHEN)
    assert "damaged" in tag().error


def test_for_signed_in_users_only_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream_is(monkeypatch, status=401):
        look(due())
    assert tag().state == "closed"


def test_nothing_is_asked_where_the_owner_does_not_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    PullSettings(pk=1, check_updates=False).save()
    with upstream_is(monkeypatch) as asked:
        look(WHEN)
        look(WHEN + DAY)
    assert asked == []


def test_two_at_once_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = due()
    with upstream_is(monkeypatch) as asked:
        row = tag()
        look(now)
        assert upstream._ask_each([row], now=now, chance=CHANCE) == 0
    assert len(asked) == 1


def test_look_that_is_wanted_now_asks_for_what_is_older_than_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with upstream_is(monkeypatch):
        look(due())
        assert upstream.hurry([NAME], now=WHEN + HOUR / 2) == 0
        assert upstream.hurry(["QWEN3:8B", "none"], now=WHEN + 2 * HOUR) == 1
        # Also where they wait for their turn already.
        assert upstream.hurry([NAME], now=WHEN + 2 * HOUR) == 1
        assert look(WHEN + 2 * HOUR) == 1


def test_name_that_is_installed_no_more_is_forgotten_after_its_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with upstream_is(monkeypatch):
        look(due())
        InstalledModel.objects.all().delete()
        look(WHEN + HOUR)
        assert UpstreamTag.objects.exists()
        look(WHEN + 2 * DAY)
    assert not UpstreamTag.objects.exists()


def test_demo_asks_its_own_registry_and_nothing_of_the_internet(settings: Settings) -> None:
    settings.DEMO = True
    assert isinstance(registries.ollama_registry(), Service)
    assert registries.ollama_registry().base.startswith("http://127.0.0.1")
    assert not registries.may_be_asked("hf.co")


def test_another_registry_is_asked_where_a_setting_names_it(settings: Settings) -> None:
    settings.DEMO = False
    settings.REGISTRY_URL = None
    assert registries.ollama_registry().name == "registry.ollama.ai"
    settings.REGISTRY_URL = "http://models.lan:5000"
    assert registries.ollama_registry().base == "http://models.lan:5000"
