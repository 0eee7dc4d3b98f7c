"""Every page of the admin: who may see it, what it costs, and that a strict policy holds."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from labdash.domain.history import moment_of
from labdash.domain.library import record_inventory
from labdash.domain.telemetry import record_sample
from labdash.models import (
    Attempt,
    Deployment,
    GpuPeriod,
    Invitation,
    LoadJob,
    Manifest,
    Membership,
    Move,
    NameJob,
    Node,
    OneTimeCode,
    Plan,
    Prediction,
    Problem,
    PullSchedule,
    PullSettings,
    Tier,
    TourClosed,
    Transfer,
    Update,
    UpstreamHost,
    UpstreamManifest,
    UpstreamTag,
)
from tests.factories import installed, inventory, make_job, make_node, sample
from tests.plan_rows import make_item, make_plan

admin.autodiscover()
MODELS = [model for model in admin.site._registry if model._meta.app_label == "labdash"]
UPSTREAM = (UpstreamTag, UpstreamManifest, UpstreamHost)
NAMES = sorted(model._meta.model_name or "" for model in MODELS)
OBSERVED = [
    "transfer",
    "update",
    "upstreamhost",
    "upstreammanifest",
    "upstreamtag",
    "loadjob",
    "manifest",
    "move",
    "namejob",
    "attempt",
    "family",
    "gpuperiod",
    "gpusample",
    "installedmodel",
    "invitation",
    "membership",
    "onetimecode",
    "plan",
    "planitem",
    "prediction",
    "problem",
    "schedulerun",
    "variant",
]


def fill(count: int) -> None:
    """Store ``count`` rows of every kind, and the one row of settings."""
    now = timezone.now()
    PullSettings.objects.get_or_create(pk=1)
    for number in range(count):
        slug = f"n{number}"
        node = make_node(slug)
        job = make_job(node.instances.get(), model=f"m{number}:1b")
        place = {"instance": node.instances.get(), "model": f"m{number}:1b"}
        LoadJob.objects.create(**place, wish="load")
        Transfer.objects.create(job=job, giver=job.instance, model=job.model, asked_at=now)
        NameJob.objects.create(**place, act="delete")
        Move.objects.create(**place, target=node.instances.get(), digest="d" * 64)
        Update.objects.create(**place, from_digest="d" * 64, to_digest="e" * 64)
        published = UpstreamManifest.objects.create(digest=f"{number}" * 64, first_seen_at=now)
        UpstreamTag.objects.create(name=f"m{number}:1b", host="x", next_at=now, manifest=published)
        UpstreamHost.objects.create(host=f"host{number}")
        _report(node)
        record_inventory(inventory(installed(f"m{number}:1b"), slug=slug), arrived_at=now)
        Manifest.objects.create(instance=node.instances.get(), digest="d" * 64)
        Problem.objects.create(code="x", node_slug=slug, text=f"x{number}", since=now)
        Attempt.objects.create(address=f"10.0.0.{number}")
        OneTimeCode.objects.create(code_hash=slug)
        TourClosed.objects.create(user=User.objects.get_or_create(username=slug)[0])
        Invitation.objects.create(node=node, token_hash=slug, expires_at=now)
        Membership.objects.create(node=node, address=f"10.0.0.{number}")
        Deployment.objects.create(name=f"m{number}", model="qwen3:8b")
        schedule = PullSchedule.objects.create(name=slug, decided_to=now, zone="UTC")
        schedule.runs.create(due_at=now, started_at=now)
        make_item(make_plan(state="replaced"), node.instances.get())
        Prediction.objects.create(
            at=now,
            instance=node.instances.get(),
            gpu_name="RTX 3090",
            model="qwen3:8b",
            buffers_bytes=1,
            overhead_bytes=1,
            observed_bytes=2,
        )


def _report(node: Node) -> None:
    now, report = timezone.now(), sample(node.slug)
    record_sample(report, arrived_at=now, moments=[moment_of(report, at=now)])
    GpuPeriod.objects.create(
        gpu=node.gpus.get(), length_s=Tier.MINUTE, at=now, samples=1, held={"other": 1}
    )


def test_every_model_is_administered() -> None:
    from django.apps import apps  # noqa: PLC0415 - filled by the time a test runs

    assert set(MODELS) == set(apps.get_app_config("labdash").get_models())


def model_of(name: str) -> type[Model]:
    return next(model for model in MODELS if model._meta.model_name == name)


def test_every_list_can_be_searched_and_every_row_opened(page: Client) -> None:
    fill(1)
    for name in NAMES:
        answer = page.get(reverse(f"admin:labdash_{name}_changelist"), {"q": "n0"})
        assert answer.status_code == 200, name
        site = admin.site._registry[model_of(name)]
        assert site.search_fields or name in {"onetimecode", "pullsettings"}
        assert len(site.list_display) > 1, name
        row = model_of(name)._default_manager.all()[0]
        answer = page.get(reverse(f"admin:labdash_{name}_change", args=[row.pk]))
        assert answer.status_code == 200, name


def test_a_list_takes_as_many_queries_for_three_rows_as_for_one(page: Client) -> None:
    counts: dict[str, list[int]] = {name: [] for name in NAMES}
    for count in (1, 3):
        Node.objects.all().delete()
        Deployment.objects.all().delete()
        for model in (*UPSTREAM, PullSchedule, Problem, Attempt, TourClosed, OneTimeCode, Plan):
            model.objects.all().delete()
        fill(count)
        for name, taken in counts.items():
            with CaptureQueriesContext(connection) as queries:
                page.get(reverse(f"admin:labdash_{name}_changelist"))
            taken.append(len(queries))
    assert {name: taken for name, taken in counts.items() if taken[0] != taken[1]} == {}


def test_what_is_observed_can_be_neither_added_nor_changed(page: Client) -> None:
    fill(1)
    for name in OBSERVED:
        assert page.get(reverse(f"admin:labdash_{name}_add")).status_code == 403, name
        row = model_of(name)._default_manager.all()[0]
        answer = page.post(reverse(f"admin:labdash_{name}_change", args=[row.pk]), {})
        assert answer.status_code == 403, name


def test_a_stranger_is_sent_to_the_one_sign_in_page(db: None) -> None:
    answer = Client().get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith(("/sign-in/", "/set-up/"))


def test_an_account_that_is_no_superuser_is_refused(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("guest"))
    assert client.get("/admin/", follow=True).status_code == 403


@pytest.mark.parametrize("path", ["", "labdash/node/", "labdash/node/add/", "labdash/pulljob/add/"])
def test_pages_run_under_the_strict_policy(page: Client, path: str) -> None:
    make_node("rog")
    answer = page.get(f"/admin/{path}")
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert re.search(r"<[^>]+ on\w+=", answer.text) is None
    assert re.search(r"<[^>]+ style=", answer.text) is None
    for tag in re.findall(r"<(?:script|style)[^>]*>", answer.text):
        assert "src=" in tag or "nonce=" in tag or 'type="application/json"' in tag, tag


def test_a_code_is_never_shown(page: Client) -> None:
    code = OneTimeCode.objects.create(code_hash="a-secret-hash")
    for path in ("", f"{code.pk}/change/"):
        assert "a-secret-hash" not in page.get(f"/admin/labdash/onetimecode/{path}").text


def test_the_admin_of_a_simulated_lab_says_so(
    page: Client, settings: pytest.FixtureRequest
) -> None:
    assert ">simulated<" not in page.get("/admin/").content.decode()
    settings.DEMO = True  # type: ignore[attr-defined]
    for url in ("/admin/", "/admin/labdash/node/"):
        shown = page.get(url).content.decode()
        assert "LabDash administration" in shown
        assert ">simulated<" in shown
