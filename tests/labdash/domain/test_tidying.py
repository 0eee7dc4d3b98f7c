from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash.domain.errors import LabDashError
from labdash.domain.library import record_inventory
from labdash.domain.tidying import delete, delete_proposed, rename, tidy
from labdash.models import (
    Deployment,
    InstalledModel,
    Instance,
    NameJob,
    Node,
    PullSchedule,
    PullSettings,
    Update,
    UpstreamTag,
)
from tests.factories import GIB, installed, inventory, loaded, make_instance, ollama, orders, seen
from tests.labdash.update_rows import publish
from tests.plan_rows import make_item, make_plan
from workers import wire

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(days=100)


def model(name: str, weights: str, *, own: int = 1, size: int = 5 * GIB) -> wire.InstalledModel:
    """Make a name of one file of weights and of settings of its own."""
    return installed(
        name,
        digest=name.encode().hex().ljust(64, "1")[:64],
        blob_digest=weights * 64,
        size_bytes=size + own,
        modified_at=LONG_AGO,
        layers=(
            wire.Layer(digest=weights * 64, size_bytes=size, kind="model"),
            wire.Layer(digest=name.encode().hex().ljust(64, "0")[:64], size_bytes=own),
        ),
    )


def lab(*models: wire.InstalledModel, watched_days: int = 90, **fields: Any) -> Instance:
    """Store a server that has had these for long, and reports now."""
    instance = make_instance()
    record_inventory(inventory(*models), arrived_at=timezone.now())
    since = timezone.now() - timedelta(days=watched_days)
    Node.objects.update(watched_since=since)
    InstalledModel.objects.update(first_seen_at=LONG_AGO)
    for each in models:
        publish(each.name, digest=each.digest, files=[], checked_at=timezone.now())
    PullSettings.objects.create(pk=1, unused="delete", unused_after_days=30)
    seen(instances=(ollama(**fields),))
    return instance


def row(name: str) -> InstalledModel:
    return InstalledModel.objects.select_related("instance__node").get(name=name)


def tidied(now: datetime | None = None) -> list[str]:
    tidy(now=now or timezone.now())
    return sorted(order["model"] for order in orders())


def test_what_nobody_used_goes_with_all_its_names_and_the_history_tells() -> None:
    lab(model("a:1b", "a"), model("x/a:1b", "a", own=2))
    assert tidied() == ["a:1b", "x/a:1b"]
    told = NameJob.objects.order_by("model").values_list("model", "why", "frees_bytes")
    assert list(told) == [
        ("a:1b", "not used for 100 days", 1),
        ("x/a:1b", "not used for 100 days", 5 * GIB + 2),
    ]


def test_nothing_goes_by_itself_unless_told_to() -> None:
    lab(model("a:1b", "a"))
    PullSettings.objects.update(unused="propose")
    assert tidied() == []
    assert delete_proposed(installed=row("a:1b"), user=None) == 1
    PullSettings.objects.update(unused="never")
    NameJob.objects.all().delete()
    with pytest.raises(LabDashError, match="it stays"):
        delete_proposed(installed=row("a:1b"), user=None)


def use(name: str, days: int) -> None:
    at = timezone.now() - timedelta(days=days)
    InstalledModel.objects.filter(name=name).update(last_used_at=at)


def test_one_name_that_was_used_keeps_all_of_its_weights() -> None:
    lab(model("a:1b", "a"), model("x/a:1b", "a"), model("b:1b", "b"))
    use("x/a:1b", 29)
    use("b:1b", 31)
    assert tidied() == ["b:1b"]


@pytest.mark.parametrize("why", ["plan", "wish", "schedule", "memory", "child", "young"])
def test_what_anything_needs_stays(why: str) -> None:
    running = (loaded("qwen3:8b"),) if why == "memory" else ()
    instance = lab(model("qwen3:8b", "a"), loaded=running)
    if why == "plan":
        make_item(make_plan(), instance, "chat", model="qwen3:8b")
    if why == "wish":
        # Of another quant: it may serve what is wanted all the same.
        Deployment.objects.create(name="chat", model="qwen3:8b-q8_0")
    if why == "schedule":
        fields = {"zone": "UTC", "decided_to": timezone.now(), "model_names": ["qwen3:8b"]}
        PullSchedule.objects.create(name="nightly", nodes=["rog"], **fields)
    if why == "child":
        InstalledModel.objects.create(
            instance=instance, name="labdash/chat:latest", digest="e" * 64, size_bytes=1,
            modified_at=timezone.now(), parent_model="qwen3:8b",
        )  # fmt: skip
    if why == "young":
        InstalledModel.objects.update(first_seen_at=timezone.now() - timedelta(days=3))
    assert tidied() == []


@pytest.mark.parametrize("why", ["gap", "silent", "paused", "down", "untold", "back"])
def test_nothing_goes_from_a_machine_whose_use_nobody_would_have_seen(why: str) -> None:
    lab(model("a:1b", "a"), watched_days=29 if why == "gap" else 90)
    if why == "silent":
        seen(age_s=60)
    if why in {"untold", "back"}:
        # Its machine was on, and its Ollama was not.
        Instance.objects.update(inventory_at=timezone.now() - timedelta(days=40))
    if why == "back":
        record_inventory(inventory(model("a:1b", "a")), arrived_at=timezone.now())
    if why == "down":
        seen(instances=(ollama(state="refused", loaded=None),))
    Node.objects.update(paused=why == "paused")
    assert tidied() == []


def test_what_could_not_be_deleted_is_left_alone_for_a_day() -> None:
    lab(model("a:1b", "a"))
    assert tidied() == ["a:1b"]
    for state in ("failed", "cancelled"):
        NameJob.objects.update(state=state)
        assert tidied() == ["a:1b"]
    NameJob.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert tidied() == ["a:1b", "a:1b"]


@pytest.mark.parametrize("why", ["gone", "unasked", "old", "kept back", "made here"])
def test_what_no_pull_would_bring_back_is_only_proposed(why: str) -> None:
    instance = lab(model("a:1b", "a"))
    if why == "gone":
        UpstreamTag.objects.update(state="gone")
    if why == "unasked":
        UpstreamTag.objects.all().delete()
    if why == "old":
        UpstreamTag.objects.update(checked_at=LONG_AGO)
    if why == "kept back":
        publish("a:1b", digest="c" * 64, checked_at=timezone.now())
        fields = {"from_digest": row("a:1b").digest, "to_digest": "c" * 64, "state": "declined"}
        Update.objects.create(instance=instance, model="a:1b", **fields)
    if why == "made here":
        InstalledModel.objects.update(parent_model="b:1b")
    assert tidied() == []
    assert delete_proposed(installed=row("a:1b"), user=None) == 1


def test_by_hand_only_what_would_break_something_is_refused() -> None:
    instance = lab(model("qwen3:8b", "a"), model("b:1b", "b"), loaded=(loaded("b:1b"),))
    make_item(make_plan(), instance, "chat", model="qwen3:8b")
    with pytest.raises(LabDashError, match="stays: the plan serves chat"):
        delete(installed=row("qwen3:8b"), user=None)
    with pytest.raises(LabDashError, match="stays: the plan serves chat"):
        rename(installed=row("qwen3:8b"), target="mine", user=None)
    # Its node unloads it first.
    assert delete(installed=row("b:1b"), user=None).frees_bytes == 5 * GIB + 1


def test_what_another_server_of_the_same_store_uses_stays() -> None:
    lab(model("a:1b", "a"))
    make_instance("tower")
    record_inventory(inventory(model("a:1b", "a"), slug="tower"), arrived_at=timezone.now())
    seen("tower", instances=(ollama(loaded=()),))
    Node.objects.update(watched_since=LONG_AGO)
    InstalledModel.objects.update(first_seen_at=LONG_AGO)
    InstalledModel.objects.filter(instance__node__slug="tower").update(
        last_used_at=timezone.now() - timedelta(days=2)
    )
    assert tidied() == []
    # Nor where nobody sees whether it does.
    InstalledModel.objects.update(last_used_at=None)
    Node.objects.filter(slug="tower").update(watched_since=None)
    assert tidied() == []
