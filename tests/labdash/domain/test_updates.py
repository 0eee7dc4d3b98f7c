"""What a person or a schedule does with updates."""

from datetime import datetime, timedelta

import pytest

from labdash.domain import updates, upstream
from labdash.domain.errors import LabDashError
from labdash.domain.names import kept_name
from labdash.models import Instance, PullJob, PullState, Update, UpdateState, UpstreamManifest
from tests.factories import make_instance, seen
from tests.labdash.domain.test_updating import begin, go_on, named
from tests.labdash.update_rows import MODEL, copy_of, install, publish

pytestmark = pytest.mark.django_db


@pytest.fixture
def rog() -> Instance:
    rog = make_instance("rog")
    seen()
    install(rog)
    publish()
    return rog


def test_what_cannot_be_updated_is_refused_with_the_reason(rog: Instance) -> None:
    install(rog, "mine:latest", digest="f" * 64, parent_model=MODEL)
    with pytest.raises(LabDashError, match="made from qwen3:8b"):
        updates.update(copy=copy_of(rog, "mine:latest"), user=None)
    Instance.objects.update(version="0.32.15")
    publish(digest="c" * 64, requires="0.40.0")
    with pytest.raises(LabDashError, match=r"needs Ollama 0\.40\.0: rog/ollama runs 0\.32\.15"):
        begin(rog)
    install(rog, digest="c" * 64)
    with pytest.raises(LabDashError, match="not outdated"):
        begin(rog)


def test_schedule_takes_what_it_can_and_says_what_it_cannot(rog: Instance) -> None:
    tower = make_instance("tower")
    install(tower, digest="c" * 64)
    Instance.objects.filter(pk=tower.pk).update(version="0.1.0")
    publish(digest="d" * 64, requires="0.19.0")
    begun, notes = updates.take(instances=[rog, tower])
    assert [row.instance for row in begun] == [rog]
    assert len(notes) == 1
    assert updates.take(instances=[rog], models=["other:1b"]) == ((), ())
    # Twice is once.
    assert updates.take(instances=[rog])[0] == begun


def test_question_is_answered_with_yes_or_no(rog: Instance) -> None:
    (row,) = updates.ask(instances=[rog])
    assert go_on(row).state == UpdateState.ASKED
    assert begin(rog).pk == row.pk
    row.refresh_from_db()
    assert row.state == UpdateState.WAITING
    updates.cancel(update=row)
    assert row.state == UpdateState.CANCELLED
    (row,) = updates.ask(instances=[rog])
    assert updates.decline(copy=copy_of(rog)).pk == row.pk
    assert copy_of(rog).standing == "held"
    assert updates.ask(instances=[rog]) == ()


def test_cancelling_a_pull_that_runs_stops_it(rog: Instance) -> None:
    row = go_on(begin(rog))
    named(row)
    row = go_on(row)
    updates.cancel(update=row)
    job = PullJob.objects.get()
    assert job.state == PullState.CANCELLED
    assert go_on(row).state == UpdateState.CANCELLED


@pytest.mark.parametrize(
    ("hour", "day", "starts"),
    [(20, 25, 26), (1, 26, 26), (4, 26, 26), (6, 26, 27)],
)
def test_tonight_is_the_next_night_of_the_labs_own_clock(hour: int, day: int, starts: int) -> None:
    zone = updates.lab_zone()
    when = updates.tonight(now=datetime(2026, 11, day, hour, 30, tzinfo=zone))
    assert when.not_before_at == datetime(2026, 11, starts, 2, tzinfo=zone)
    assert when.not_after_at == datetime(2026, 11, starts, 6, tzinfo=zone)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("qwen3:8b", "labdash-before/qwen3:8b"),
        ("me/mine:latest", "labdash-before/me--mine:latest"),
        ("hf.co/a/b-GGUF:Q4_K_M", "labdash-before/hf.co--a--b-GGUF:Q4_K_M"),
    ],
)
def test_name_of_the_version_before_tells_what_it_is(name: str, kept: str) -> None:
    assert kept_name(name) == kept


def test_long_names_stay_apart_and_within_what_ollama_takes() -> None:
    names = {kept_name(f"hf.co/{'u' * 60}/{'m' * 70}{end}:Q8_0") for end in "ab"}
    assert len(names) == 2
    assert all(len(name.partition("/")[2].partition(":")[0]) <= 80 for name in names)


def test_what_is_long_over_is_forgotten_and_what_was_kept_back_is_not(rog: Instance) -> None:
    row = begin(rog)
    updates.cancel(update=row)
    assert row.finished_at
    held = updates.decline(copy=copy_of(rog))
    later = row.finished_at + timedelta(days=200)
    UpstreamManifest.objects.create(digest="e" * 64, first_seen_at=row.finished_at)
    assert (updates.prune(now=row.finished_at), updates.prune(now=later)) == (0, 1)
    assert upstream.prune(now=later) == 1
    assert list(Update.objects.all()) == [held]
    assert copy_of(rog).standing == "held"
