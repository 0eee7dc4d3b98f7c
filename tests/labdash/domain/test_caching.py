"""What the hub's cache is told to do, and where nodes find it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from labdash import live
from labdash.domain import caching
from labdash.domain.cache_origin import cache_origin, hosts_for
from labdash.domain.errors import LabDashError
from labdash.domain.progress import record_progress
from labdash.models import Membership, NodeKind, PullJob, PullSettings, PullState
from labdash.models.pull import PullSource
from labdash.queries.cache import cache_folder, read_cache
from labdash.queries.lab import read_lab
from labdash.queries.problems import find_problems
from tests.factories import (
    GIB,
    make_installed,
    make_instance,
    make_job,
    ollama,
    progress,
    running_job,
    seen,
)
from workers.wire.caching import (
    CachedModel,
    CacheSpec,
    CacheState,
    drops_key,
    rechecks_key,
    spec_key,
    state_key,
)
from workers.wire.origins import Origin

pytestmark = pytest.mark.django_db
WANTED = Path(settings.DATA_DIR) / "run" / "cache-wanted"


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    WANTED.parent.mkdir(exist_ok=True)
    yield
    WANTED.unlink(missing_ok=True)


@pytest.fixture
def _on() -> None:
    PullSettings.objects.create(pk=1, cache=True, bytes_per_s=5_000_000)


def spec() -> CacheSpec:
    return CacheSpec.model_validate_json(str(live.store().get(spec_key())))


def tell(*models: CachedModel, **fields: Any) -> None:
    values = {"ports": (11481,), "room_bytes": 100 * GIB, "models": models, **fields}
    live.store().set(state_key(), CacheState(**values).model_dump_json())


def cached(model: str = "qwen3:8b", here: int = 5 * GIB, of: int = 5 * GIB) -> CachedModel:
    return CachedModel(model=model, here_bytes=here, total_bytes=of, used_at=1)


def tend(now: datetime | None = None) -> None:
    caching.tend(now=now or timezone.now())


def test_the_process_is_wanted_while_it_is_on() -> None:
    tend()
    assert (WANTED.exists(), live.store().exists(spec_key())) == (False, 0)
    caching.switch(is_on=True)
    caching.limit(limit_bytes=7 * GIB)
    assert (WANTED.exists(), spec().limit_bytes) == (True, 7 * GIB)
    caching.switch(is_on=False)
    assert not WANTED.exists()


@pytest.mark.usefixtures("_on")
def test_only_jobs_that_nobody_stopped_may_ask() -> None:
    seen("rog")
    rog = make_instance("rog")
    running = running_job(rog)
    waiting = make_job(rog, model="qwen3:4b")
    stopped: list[dict[str, Any]] = [
        {"held": True},
        {"state": PullState.PAUSED},
        {"pause_requested": True},
        {"cancel_requested": True},
        {"state": PullState.INSTALLED},
    ]
    for number, fields in enumerate(stopped):
        make_job(rog, model=f"m{number}", **fields)
    tend()
    grants = {each.model: each.secret for each in spec().grants}
    assert set(grants) == {running.model, waiting.model}
    assert grants[running.model] != grants[waiting.model]
    assert (spec().ahead, spec().bytes_per_s, spec().plain_port) == ((), 5_000_000, False)


@pytest.mark.usefixtures("_on")
def test_what_is_newer_is_not_overwritten_unless_the_clock_was_put_back() -> None:
    tend()
    newest = spec()
    for later_s, is_kept in ((30, True), (3600, False)):
        ahead_of_us = newest.model_copy(update={"made_at": newest.made_at + later_s})
        live.store().set(spec_key(), ahead_of_us.model_dump_json())
        tend()
        assert (spec() == ahead_of_us) is is_kept


@pytest.mark.usefixtures("_on")
def test_what_a_sleeping_machine_wants_is_fetched_ahead_in_its_window() -> None:
    now = timezone.now()
    rog = make_instance("rog", last_seen_at=now - timedelta(hours=1))
    job = make_job(
        rog, not_before_at=now - timedelta(hours=1), not_after_at=now + timedelta(hours=1)
    )
    make_job(rog, model="later:1b", not_before_at=now + timedelta(minutes=1))
    tell(cached(here=2 * GIB))
    tend(now)
    assert [each.model for each in spec().ahead] == ["qwen3:8b"]
    job.refresh_from_db()
    assert job.source == PullSource.CACHE
    assert job.source_reason == "40 % of it is there already."
    seen("rog")
    tend(now)
    assert spec().ahead == ()


@pytest.mark.usefixtures("_on")
def test_a_version_that_is_none_stops_no_pull() -> None:
    now = timezone.now()
    rog = make_instance("rog", last_seen_at=now - timedelta(hours=1))
    rog.version = "0.6 é"
    rog.save()
    make_job(rog)
    tend(now)
    assert [each.version for each in spec().ahead] == [""]


@pytest.mark.usefixtures("_on")
def test_a_server_that_does_not_answer_counts_as_asleep() -> None:
    job = make_job(make_instance("rog", agentless=True))
    for state, models in (("ok", []), ("unreachable", [job.model])):
        seen("rog", instances=(ollama(state=state),))
        tend()
        assert [each.model for each in spec().ahead] == models


@pytest.mark.usefixtures("_on")
def test_a_damaged_file_from_the_cache_is_read_again_there() -> None:
    for source in (PullSource.INTERNET, PullSource.CACHE):
        assert live.store().smembers(rechecks_key()) == set()
        job = running_job(make_instance(f"node-{source}"), source=source)
        told = progress(job, "failed", cause="damaged", reason="digest mismatch")
        record_progress(told, arrived_at=timezone.now())
    assert live.store().smembers(rechecks_key()) == {job.model}
    live.store().delete(rechecks_key())
    job = running_job(make_instance("odd"), source=PullSource.CACHE)
    record_progress(progress(job, "downloading", cause="damaged"), arrived_at=timezone.now())
    assert live.store().smembers(rechecks_key()) == set()


@pytest.mark.usefixtures("_on")
def test_what_an_awake_neighbour_has_is_not_fetched_ahead() -> None:
    make_job(make_instance("rog"))
    make_installed(make_instance("tower", last_seen_at=timezone.now()))
    tend()
    assert spec().ahead == ()
    PullSettings.objects.update(neighbours=False)
    tend()
    assert len(spec().ahead) == 1


@pytest.mark.usefixtures("_on")
@pytest.mark.parametrize(
    ("name", "told"),
    [("qwen3:8b", "qwen3:8b"), ("huggingface.co/a/b:Q8_0", "hf.co/a/b:Q8_0")],
)
def test_a_machine_that_slept_through_its_window_gets_what_was_fetched_meanwhile(
    name: str, told: str
) -> None:
    now = timezone.now()
    tonight = {"not_before_at": now + timedelta(hours=9), "not_after_at": now + timedelta(hours=13)}
    rog = make_instance("rog")
    fetched = make_job(rog, model=name, source=PullSource.CACHE, **tonight)
    others = [
        make_job(rog, model="part:1b", source=PullSource.CACHE, **tonight),
        make_job(rog, model="whole:1b", **tonight),
        make_job(rog, model="begun:1b", source=PullSource.CACHE, attempt=1, **tonight),
    ]
    tell(cached(told), cached("part:1b", here=1), cached("whole:1b"), cached("begun:1b"))
    tend(now)
    assert PullJob.objects.filter(not_before_at=None).count() == 0
    seen("rog")
    tend(now)
    assert list(PullJob.objects.filter(not_before_at=None, not_after_at=None)) == [fetched]
    assert all(job.not_before_at for job in others)


@pytest.mark.usefixtures("_on")
def test_a_node_is_told_where_the_cache_is_and_the_cache_of_the_node() -> None:
    job = make_job(make_instance("rog", started_with="http://127.0.0.1:11434"))
    tell()
    origin = cache_origin(job)
    assert isinstance(origin, Origin)
    assert (origin.hosts, origin.port, origin.digest) == (("127.0.0.1",), 11481, None)
    (grant,) = spec().grants
    assert (grant.secret, grant.seal) == (origin.secret, origin.seal)
    assert origin.seal not in {None, origin.secret}


@pytest.mark.parametrize(
    ("state", "fields", "reason"),
    [
        (None, {}, "The hub's cache does not run."),
        (
            {"ports": (), "errors": {"11481": "another program has it"}},
            {},
            "another program has it",
        ),
        (
            {"room_bytes": GIB},
            {"total_bytes": 5 * GIB},
            "has room for 1.0 GiB; 5.0 GiB are missing",
        ),
        ({"room_bytes": GIB, "models": (cached(here=GIB),)}, {}, "4.0 GiB are missing"),
    ],
)
@pytest.mark.usefixtures("_on")
def test_why_a_node_cannot_pull_from_the_cache(
    state: dict[str, Any] | None, fields: dict[str, Any], reason: str
) -> None:
    job = make_job(make_instance("rog", started_with="x"), **fields)
    if state is not None:
        tell(*state.pop("models", ()), **state)
    told = cache_origin(job)
    assert isinstance(told, str)
    assert reason in told


@pytest.mark.usefixtures("_on")
def test_windows_machines_need_port_80() -> None:
    job = make_job(make_instance("box", kind=NodeKind.WINDOWS, started_with="x"))
    tell(errors={"80": "this user may not open it"})
    assert cache_origin(job) == (
        "Windows machines pull from port 80 of the hub alone: this user may not open it."
    )
    tell(ports=(11481, 80))
    origin = cache_origin(job)
    assert isinstance(origin, Origin)
    assert (origin.port, spec().plain_port) == (80, True)


def test_while_it_is_off_it_is_no_source() -> None:
    assert cache_origin(make_job()) == "The hub's cache is off."


def test_the_hub_is_named_as_the_machine_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(host: str | None, port: int) -> list[str]:
        return [f"http://{each}:{port}" for each in ("localhost", "192.0.2.5", "hub.local")]

    monkeypatch.setattr("labdash.domain.cache_origin.addresses", told)
    joined = make_instance("rog")
    Membership.objects.create(node=joined.node, address="127.0.0.7")
    assert hosts_for(joined) == ("192.0.2.5", "hub.local")
    near = make_instance("near", agentless=True, urls=["http://localhost:11434"])
    assert hosts_for(near) == ("127.0.0.1",)
    lost = make_instance("lost", agentless=True, urls=["http://no-such-host.invalid:11434"])
    assert hosts_for(lost) == ("192.0.2.5", "hub.local")


@pytest.mark.usefixtures("_on")
def test_a_hub_that_listens_at_one_address_is_found_there(settings: Any) -> None:
    job = make_job(make_instance("rog"))
    tell()
    settings.LABDASH_HOST = "192.0.2.9"
    assert hosts_for(job.instance) == ("192.0.2.9",)
    settings.LABDASH_HOST = "127.0.0.1"
    assert hosts_for(job.instance) == ()
    settings.LABDASH_HOST = "2001:db8::9"
    assert cache_origin(job) == "No address is known by which rog would reach the hub."


def test_what_lies_there_while_it_is_off_is_deleted_at_once() -> None:
    file = cache_folder() / "blobs" / "sha256-x"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    left = cache_folder().with_name("cache-gone-1") / "blobs" / "sha256-y"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"yy")
    assert read_cache().left_bytes == 3
    caching.drop_all()
    caching.drop_all()
    assert list(Path(settings.DATA_DIR).glob("cache*")) == []


@pytest.mark.usefixtures("_on")
def test_what_is_deleted_while_it_runs_is_its_own_to_do() -> None:
    caching.drop(model="qwen3:8b")
    caching.drop_all()
    assert live.store().smembers(drops_key()) == {"qwen3:8b", "*"}
    assert int(live.store().ttl(drops_key())) > 0


def test_a_store_that_is_down_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    PullSettings.objects.create(pk=1, cache=True)

    def down() -> None:
        raise live.StoreDown

    monkeypatch.setattr(live, "store", down)
    tend()
    with pytest.raises(LabDashError, match="The store does not answer"):
        caching.drop_all()
    told = cache_origin(make_job())
    assert told == "The hub's cache cannot be asked: the store does not answer."


@pytest.mark.usefixtures("_on")
def test_a_cache_that_serves_nobody_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> list[str]:
        tend()
        lab = read_lab(now=timezone.now())
        return [each.text for each in find_problems(lab) if each.code == "cache_closed"]

    assert told() == []
    monkeypatch.setattr(live, "CACHE_MISSING_AFTER_S", 0)
    assert told() == ["The hub's cache of models serves nobody: its process does not run."]
    live.store().delete(live.CACHE_TROUBLE_KEY)
    tell(ports=(), errors={"11481": "another program has it"})
    assert told() == [
        "The hub's cache of models serves nobody: port 11481: another program has it."
    ]
    live.store().delete(live.CACHE_TROUBLE_KEY)
    tell(errors={"80": "this user may not open it"})
    assert told() == []
