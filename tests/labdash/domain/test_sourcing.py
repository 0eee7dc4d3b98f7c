"""Where pulls come from: rows and reports in, orders out."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.progress import record_progress
from labdash.domain.reconciliation import carry_on
from labdash.domain.sharing import record_share
from labdash.models import (
    Instance,
    Manifest,
    Membership,
    PullJob,
    PullSettings,
    PullState,
    Transfer,
    UpstreamManifest,
    UpstreamTag,
)
from labdash.queries import givers, published
from labdash.queries.hosts_of import hosts_of
from tests.factories import make_installed, make_instance, make_job, orders, progress, seen
from workers import wire

pytestmark = pytest.mark.django_db

DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every registry be silent, unless a test says what it published."""
    monkeypatch.setattr(published, "look_up", lambda names: {})


def has_it(slug: str, **fields: Any) -> Instance:
    """Store a machine that has the model, whose worker reads its files, and that reports."""
    instance = make_instance(slug, **fields)
    make_installed(instance, digest=DIGEST)
    Manifest.objects.create(instance=instance, digest=DIGEST, layers=[["a" * 64, 5, "model"]])
    Membership.objects.create(node=instance.node, password_hash="x", address="192.168.1.20")
    seen(slug)
    return instance


def wants_it(slug: str = "tower", **fields: Any) -> PullJob:
    job = make_job(make_instance(slug, **fields))
    seen(slug)
    return job


def opens(job: PullJob, *, at: datetime | None = None) -> Transfer:
    """Let the machine that was asked say that it gives."""
    row = job.transfers.active().get()
    assert row.giver
    report = wire.ShareProgress(
        node=row.giver.node.slug,
        sent_at=timezone.now(),
        job_id=job.pk,
        secret=row.secret,
        phase="open",
        port=11480,
        hosts=("192.168.1.21",),
    )
    assert record_share(report, arrived_at=at or timezone.now())
    return row


def test_a_machine_is_asked_first_and_then_the_order_names_it() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    job.refresh_from_db()
    (share,) = orders("rog")
    assert (share["task"], share["model"], share["digest"]) == ("workers.share", "qwen3:8b", DIGEST)
    assert (job.sent_at, job.reason, orders("tower")) == (None, "Asks rog to give it.", [])

    row = opens(job)
    (pull,) = orders("tower")
    job.refresh_from_db()
    assert pull["origin"] == {
        "giver": "rog",
        "hosts": ["192.168.1.20", "192.168.1.21"],
        "port": 11480,
        "secret": row.secret,
        "digest": DIGEST,
        "seal": None,
    }
    assert (job.source, str(job.source_node), job.source_reason) == ("neighbour", "rog", "")


def test_a_machine_that_refuses_is_not_asked_again_and_the_reason_is_kept() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    row = job.transfers.get()
    report = wire.ShareProgress(
        node="rog",
        sent_at=timezone.now(),
        job_id=job.pk,
        secret=row.secret,
        phase="refused",
        reason="rog cannot open port 11480 (Address in use).",
    )
    record_share(report, arrived_at=timezone.now())
    (pull,) = orders("tower")
    job.refresh_from_db()
    assert (pull["origin"], job.source) == (None, "internet")
    assert job.source_reason == "rog cannot open port 11480 (Address in use)."


def test_a_machine_that_says_nothing_is_given_up() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    later = timezone.now() + timedelta(seconds=15)
    carry_on(now=later)
    job.refresh_from_db()
    assert (job.source, job.source_reason) == (
        "internet",
        "rog was asked to give it and did not answer.",
    )


def test_a_copy_that_fails_is_fetched_elsewhere_at_once() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    opens(job)
    job.refresh_from_db()
    text = "A file of qwen3:8b arrived damaged, and Ollama has thrown it away. Try again."
    failed = progress(job, "failed", reason=text, cause="damaged", retry=True)
    record_progress(failed, arrived_at=timezone.now())
    carry_on(now=timezone.now() + timedelta(seconds=1))
    job.refresh_from_db()
    assert [order["origin"] is None for order in orders("tower")] == [False, True]
    assert (job.source, job.source_reason, job.state) == ("internet", text, PullState.QUEUED)
    assert [order.get("lease_s") for order in orders("rog")] == [90, 0]


def test_no_other_model_goes_before_one_that_a_machine_is_asked_for() -> None:
    has_it("rog")
    job = wants_it()
    other = make_job(job.instance, model="phi4:14b")
    carry_on()
    other.refresh_from_db()
    why = "Waits for qwen3:8b: one at a time on tower/ollama."
    assert (other.sent_at, other.reason, other.transfers.count()) == (None, why, 0)
    opens(job)
    assert [order["model"] for order in orders("tower")] == ["qwen3:8b"]


def test_of_a_long_queue_that_waits_for_machines_another_job_is_looked_at_each_time() -> None:
    giver = has_it("rog")
    for number in range(2):
        job = make_job(make_instance(f"n{number}"))
        Transfer.objects.create(job=job, giver=giver, asked_at=timezone.now())
    tower = make_instance("tower")
    seen("tower")
    for number in range(6):
        make_installed(giver, make_job(tower, model=f"qwen3:8b-{number}").model, digest=DIGEST)
    other = make_job(tower, model="phi4:14b")
    now = timezone.now()
    for tick in range(4):
        seen("tower")
        carry_on(instance=tower, now=now + timedelta(milliseconds=2001 * tick))
    other.refresh_from_db()
    assert (other.sent_at is None, other.source) == (False, "internet")


def test_a_source_of_the_lab_that_fails_counts_as_no_try() -> None:
    PullSettings.objects.create(pk=1, tries=1)
    has_it("rog")
    job = wants_it()
    carry_on()
    opens(job)
    job.refresh_from_db()
    now = timezone.now()
    record_progress(progress(job, "failed", cause="damaged", retry=True), arrived_at=now)
    job.refresh_from_db()
    assert (job.source, job.attempt, job.retries) == ("internet", 2, 0)


def test_an_ollama_that_went_away_is_given_time_whatever_the_source() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    opens(job)
    job.refresh_from_db()
    now = timezone.now()
    record_progress(progress(job, "failed", cause="server-away", retry=True), arrived_at=now)
    job.refresh_from_db()
    assert (job.retries, job.retry_at) == (1, now + timedelta(seconds=60))


def test_what_is_the_receivers_own_fault_blames_nobody() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    opens(job)
    job.refresh_from_db()
    report = progress(job, "failed", reason="Full.", cause="no-space")
    record_progress(report, arrived_at=timezone.now())
    assert not job.transfers.get().failed


@pytest.mark.parametrize("count", [6, pytest.param(10, marks=pytest.mark.long)])
def test_a_model_is_downloaded_once_and_given_on_to_two_at_a_time(count: int) -> None:
    """All machines want it: one asks the registry, and those who have it give it on."""
    shelf = {"partial_bytes": 0}
    for number in range(count):
        instance = make_instance(f"n{number}")
        Instance.objects.filter(pk=instance.pk).update(shelf=shelf)
        make_job(instance)
    now = timezone.now()
    downloads, most, unlisted = 0, 0, list[PullJob]()
    for _ in range(24):
        now += timedelta(seconds=3)
        for number in range(count):
            seen(f"n{number}")
        carry_on(now=now)
        for row in Transfer.objects.active().filter(opened_at=None):
            opens(row.job, at=now)
        gives = Transfer.objects.active().values_list("giver", flat=True)
        most = max([most, *(list(gives).count(giver) for giver in gives)])
        for job in unlisted:
            # What it lists comes later than the word that it has it.
            make_installed(job.instance, digest=DIGEST)
            Manifest.objects.create(instance=job.instance, digest=DIGEST)
            Instance.objects.filter(pk=job.instance.pk).update(inventory_at=now)
        running = PullJob.objects.active().filter(sent_at__isnull=False)
        unlisted = list(running.select_related("instance__node"))
        for job in unlisted:
            downloads += job.source == "internet"
            record_progress(progress(job, "installed"), arrived_at=now)
        if not PullJob.objects.active().exists():
            break
    assert (downloads, most) == (1, 2)
    assert PullJob.objects.filter(state=PullState.INSTALLED).count() == count
    assert PullJob.objects.filter(source="neighbour").count() == count - 1


def test_others_in_the_queue_do_not_wait_for_a_machine_that_fetches() -> None:
    first = make_job(make_instance("rog"))
    Instance.objects.filter(pk=first.instance.pk).update(shelf={"partial_bytes": 0})
    job = wants_it()
    make_job(job.instance, model="phi4:14b")
    seen("rog")
    carry_on()
    job.refresh_from_db()
    assert [order["model"] for order in orders("tower")] == ["phi4:14b"]
    assert job.reason == "Waits for rog, which downloads it: then it is copied from there."
    assert job.state == PullState.QUEUED


def test_a_machine_need_not_give_what_ends_without_its_receiver() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    PullJob.objects.filter(pk=job.pk).update(cancel_requested=True)
    carry_on()
    assert [order["lease_s"] for order in orders("rog")] == [90, 0]
    assert not Transfer.objects.active().exists()


def test_a_lease_is_renewed_while_the_pull_runs_and_ends_with_it() -> None:
    has_it("rog")
    job = wants_it()
    carry_on()
    opens(job)
    later = timezone.now() + timedelta(seconds=30)
    record_progress(progress(job, attempt=1), arrived_at=later)
    carry_on(now=later)
    carry_on(now=later)
    assert [order["lease_s"] for order in orders("rog")] == [90, 90]
    job.refresh_from_db()
    record_progress(progress(job, "installed"), arrived_at=later)
    assert [order["lease_s"] for order in orders("rog")] == [90, 90, 0]
    assert not Transfer.objects.active().exists()


@pytest.mark.parametrize("days", [0, 3])
def test_an_older_version_nearby_is_not_copied(days: int) -> None:
    """Nor is any other one while the registry, which was asked days ago, is silent."""
    has_it("rog")
    manifest = UpstreamManifest.objects.create(digest="e" * 64, first_seen_at=timezone.now())
    UpstreamTag.objects.create(
        name="qwen3:8b",
        host="registry.ollama.ai",
        manifest=manifest,
        checked_at=timezone.now() - timedelta(days=days),
        next_at=timezone.now(),
    )
    job = wants_it()
    carry_on()
    job.refresh_from_db()
    assert (job.source, job.source_reason) == (
        "internet",
        "rog has another version than is published.",
    )


@pytest.mark.parametrize(
    ("receiver", "giver", "reason"),
    [
        ({"kind": "windows"}, {}, "Windows cannot store names with a port, so no other machine"),
        ({}, {"agentless": True}, "rog has it, but no worker that could give it."),
        ({}, {"paused": True}, "rog has it and is paused."),
    ],
)
def test_who_cannot_give_or_take_is_told(
    receiver: dict[str, Any], giver: dict[str, Any], reason: str
) -> None:
    has_it("rog", **giver)
    job = wants_it(**receiver)
    carry_on()
    job.refresh_from_db()
    assert (job.source, job.source_reason[: len(reason)]) == ("internet", reason)


def test_copying_can_be_switched_off() -> None:
    PullSettings.objects.create(pk=1, neighbours=False)
    has_it("rog")
    job = wants_it()
    carry_on()
    job.refresh_from_db()
    assert (job.source, job.source_reason) == ("internet", "Copying from other machines is off.")


@pytest.mark.parametrize(("name", "digest"), [("qwen3:8b", "sha256:x"), ("qwen3:8b é", DIGEST)])
def test_what_no_order_could_name_stops_no_queue(name: str, digest: str) -> None:
    make_installed(make_instance("rog"), name=name, digest=digest)
    seen("rog")
    job = wants_it()
    PullJob.objects.filter(pk=job.pk).update(model=name)
    job.refresh_from_db()
    assert givers.read_copies(job, now=timezone.now()) == []


def test_files_that_the_worker_cannot_read_are_not_given() -> None:
    instance = has_it("rog")
    Manifest.objects.filter(instance=instance).delete()
    job = wants_it()
    copies = givers.read_copies(job, now=timezone.now())
    assert [each.why_not(None) for each in copies] == [
        "rog has it, but its worker may not read the files of Ollama."
    ]


def test_an_address_that_means_whoever_asks_is_one_on_the_same_machine_alone() -> None:
    rog, tower = make_instance("rog"), make_instance("tower")
    told = ["127.0.0.1", "10.0.0.5", "fe80::1", "bad name", "127.1", "printer.lan", "169.254.0.1"]
    assert hosts_of(rog, tower, told) == ("10.0.0.5",)
    for node in (rog.node, tower.node):
        node.started_with = "http://127.0.0.1:11434"
        node.save()
    assert hosts_of(rog, tower, ["10.0.0.5"]) == ("10.0.0.5", "127.0.0.1")
    assert hosts_of(rog, tower, []) == ("127.0.0.1",)
