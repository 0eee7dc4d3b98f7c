import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labdash.domain.library import record_inventory
from labdash.models import InstalledModel, Instance, Move, NameJob, PullSettings
from tests.factories import (
    GIB,
    installed,
    inventory,
    loaded,
    make_instance,
    ollama,
    orders,
    sample,
    seen,
)
from tests.labdash.views.polling import POLL, count_queries, parts, poll, text_of
from workers import wire

HTMX = {"HX-Request": "true", "HX-Target": "x"}
WEIGHTS = "a" * 64


def name(model: str, weights: str = WEIGHTS, **fields: Any) -> wire.InstalledModel:
    """Make a name of 5 GiB of weights and 1 MiB of its own."""
    own = wire.Layer(digest=model.encode().hex().ljust(64, "0")[:64], size_bytes=2**20)
    file = wire.Layer(digest=weights, size_bytes=5 * GIB, kind="model")
    values = {"digest": own.digest, "blob_digest": weights, "layers": (file, own)}
    return installed(model, size_bytes=5 * GIB + 2**20, **{**values, **fields})


def lab() -> Instance:
    """Store two machines: two names of the same weights here, one of them there."""
    instance = make_instance()
    make_instance("tower")
    begun = wire.Partial(digest="b" * 64, size_bytes=3 * GIB, age_s=7200)
    shelf = wire.ShelfReading(
        path="/models", partials=(begun,), partial_bytes=3 * GIB, orphans=1, orphan_bytes=GIB,
        may_delete=True,
    )  # fmt: skip
    now = timezone.now()
    record_inventory(inventory(name("qwen3:8b"), name("labdash/chat"), shelf=shelf), arrived_at=now)
    record_inventory(inventory(name("qwen3:8b"), slug="tower"), arrived_at=now)
    disk = wire.DiskReading(path="/models", total_bytes=100 * GIB, free_bytes=8 * GIB)
    seen(instances=(ollama(disk=disk, loaded=(loaded("qwen3:8b"),)),))
    seen("tower", instances=(ollama(disk=None),))
    return instance


def test_the_page_tells_what_is_shared_what_is_left_and_what_is_unknown(page: Client) -> None:
    lab()
    text = text_of(page.get("/pulls/storage/"))
    for said in (
        "same weights as labdash/chat",
        "8.0 GiB free of 100 GiB",
        "10.0 GiB to be kept free",
        "Unfinished downloads take 3.0 GiB",
        "1 finished file that no name needs",
        "it is in memory",
        "its disk is not known",
        "its worker did not tell of its files",
    ):
        assert said in text, said


def test_a_poll_sends_only_what_changed(page: Client) -> None:
    instance = lab()
    opened = text_of(page.get("/pulls/storage/"))
    assert poll(page, opened).status_code == 204
    NameJob.objects.create(instance=instance, act="delete", model="labdash/chat")
    assert parts(text_of(poll(page, opened))) == ["doing", "servers"]


def test_many_names_cost_as_many_queries_as_one(page: Client) -> None:
    instance = lab()
    one = count_queries(page, "/pulls/storage/")
    more = [name(f"m{number}:1b", f"{number:064x}") for number in range(5)]
    record_inventory(inventory(*more), arrived_at=timezone.now())
    for row in instance.installed_models.all():
        NameJob.objects.create(instance=instance, act="delete", model=row.name)
    assert count_queries(page, "/pulls/storage/") == one


def url(model: str, act: str = "") -> str:
    row = InstalledModel.objects.get(instance__node__slug="rog", name=model)
    return f"/pulls/storage/{row.pk}/{act}"


def test_the_page_of_a_name_offers_what_can_be_done(page: Client) -> None:
    lab()
    text = text_of(page.get(url("labdash/chat")))
    assert "Delete it from rog" in text
    assert "1 MiB" in text
    assert "Same weights as qwen3:8b" in text
    assert ">tower" in text


def test_each_button_orders_one_thing(page: Client) -> None:
    lab()
    assert page.post(url("labdash/chat", "delete/"), headers=HTMX).status_code == 204
    copied = page.post(url("qwen3:8b", "copy/"), {"target": "mine"})
    assert (copied.status_code, copied.headers["Location"]) == (302, "/pulls/storage/")
    told = [(order["act"], order["model"], order["target"]) for order in orders()]
    assert told == [("delete", "labdash/chat", None), ("copy", "qwen3:8b", "mine:latest")]


def test_a_move_begins_and_is_cancelled(page: Client) -> None:
    lab()
    InstalledModel.objects.filter(instance__node__slug="tower").delete()
    target = Instance.objects.get(node__slug="tower")
    page.post(url("labdash/chat", "move/"), {"move-target": target.pk})
    job = Move.objects.get()
    assert (job.model, str(job.target)) == ("labdash/chat", "tower/ollama")
    page.post(f"/pulls/storage/moves/{job.pk}/cancel/", headers=HTMX)
    job.refresh_from_db()
    assert not job.is_active


def test_remains_are_deleted_by_a_button(page: Client) -> None:
    instance = lab()
    page.post(f"/pulls/storage/servers/{instance.pk}/clear/", headers=HTMX)
    assert [order["task"] for order in orders()] == ["workers.clear"]
    job = NameJob.objects.get()
    assert page.post(f"/pulls/storage/orders/{job.pk}/cancel/", headers=HTMX).status_code == 204
    job.refresh_from_db()
    assert job.cancel_requested


def test_what_is_refused_says_why_in_place(page: Client) -> None:
    lab()
    for data in ({}, {"target": "qwen3:8b"}, {"target": "a b"}):
        answer = page.post(url("labdash/chat", "rename/"), data, headers=HTMX)
        assert (answer.status_code, "is-bad" in text_of(answer)) == (422, True)
    answer = page.post(url("labdash/chat", "proposed/"), headers=HTMX)
    assert (answer.status_code, "it stays" in text_of(answer)) == (422, True)


def test_a_name_that_is_gone_leads_back(page: Client) -> None:
    lab()
    address = url("labdash/chat")
    InstalledModel.objects.all().delete()
    assert page.get(address, headers=POLL).headers["HX-Redirect"] == "/pulls/storage/"
    assert "not there any more" in text_of(page.get(address, follow=True))
    answer = page.post(f"{address}delete/", headers=HTMX)
    assert (answer.status_code, "not there any more" in text_of(answer)) == (422, True)


def test_what_nobody_used_is_proposed_and_deleted_by_a_button(page: Client) -> None:
    lab()
    seen(instances=(ollama(loaded=()),))
    PullSettings.objects.create(pk=1, unused_after_days=1)
    before = timezone.now() - timedelta(days=2)
    InstalledModel.objects.update(modified_at=before, first_seen_at=before)
    text = text_of(page.get("/pulls/storage/"))
    assert "Could go" in text
    assert "LabDash deletes nothing by itself" in text
    asked = re.search(r"<details[^>]*><summary[^>]*>Delete….*?</details>", text, re.DOTALL)
    assert asked, "a click alone deletes nothing"
    assert "proposed/" in asked[0]
    page.post(url("qwen3:8b", "proposed/"), headers=HTMX)
    assert sorted(order["model"] for order in orders()) == ["labdash/chat", "qwen3:8b"]


@pytest.mark.parametrize("slug", ["rog", "tower"])
def test_a_lab_that_told_nothing_yet_is_shown(page: Client, slug: str) -> None:
    make_instance(slug, agentless=slug == "tower")
    text = text_of(page.get("/pulls/storage/"))
    assert "What is installed was not reported yet" in text
    assert ("no worker runs on this machine" if slug == "tower" else "nothing was reported") in text
    assert sample(slug).node == slug
