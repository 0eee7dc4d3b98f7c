"""Deployments, cards, tags and servers, as the admin stores what plans follow from."""

from typing import Any

import pytest
from django.test import Client

from labdash.models import Deployment, Gpu, GpuSource
from tests.factories import GIB, make_instance, make_node

pytestmark = pytest.mark.django_db


def fields(**changes: Any) -> dict[str, Any]:
    values = {
        "name": "chat",
        "model": "qwen3:14b",
        "ctx_floor": 8192,
        "ctx_wish": 16384,
        "priority": 2,
        "prefer": "context",
        "residency": "resident",
        "replicas": 1,
        "nodes": "rog, fast",
        "give_way": "quant, ctx, offload",
    }
    return {**values, **changes}


def refused(page: Client, url: str, **changes: Any) -> str:
    answer = page.post(url, fields(**changes))
    assert answer.status_code == 200
    return str(answer.context["adminform"].form.errors)


def test_deployment_is_added_with_its_lists(page: Client) -> None:
    make_node("rog", tags=["fast"])
    page.post("/admin/labdash/deployment/add/", fields())
    made = Deployment.objects.get()
    assert (made.name, made.nodes, made.give_way, made.keep_apart) == (
        "chat",
        ["rog", "fast"],
        ["quant", "ctx", "offload"],
        [],
    )


def test_what_can_never_be_is_refused_in_its_form(page: Client) -> None:
    make_node("rog")
    url = "/admin/labdash/deployment/add/"
    assert "No node and no tag is named fast." in refused(page, url)
    assert "is above the wished one" in refused(page, url, nodes="rog", ctx_floor=32768)
    assert not Deployment.objects.exists()


def test_changed_name_reaches_what_keeps_apart(page: Client) -> None:
    first = Deployment.objects.create(name="a", model="qwen3:14b")
    second = Deployment.objects.create(name="b", model="qwen3:14b", keep_apart=["a"])
    page.post(f"/admin/labdash/deployment/{first.pk}/change/", fields(name="c", nodes=""))
    second.refresh_from_db()
    assert second.keep_apart == ["c"]
    page.post(f"/admin/labdash/deployment/{first.pk}/delete/", {"post": "yes"})
    second.refresh_from_db()
    assert second.keep_apart == []


def test_owner_keeps_a_part_of_a_measured_card(page: Client) -> None:
    card = Gpu.objects.create(
        node=make_node("rog"),
        name="RTX 3090",
        uuid="A",
        source=GpuSource.NVML,
        memory_total_bytes=24 * GIB,
    )
    url = f"/admin/labdash/gpu/{card.pk}/change/"
    page.post(url, {"reserve_bytes": "2", "game_bytes": "4", "given_back": "on"})
    card.refresh_from_db()
    assert (card.reserve_bytes, card.margin_bytes, card.game_bytes, card.given_back) == (
        2 * GIB,
        None,
        4 * GIB,
        True,
    )
    answer = page.post(url, {"reserve_bytes": "25"})
    assert "That is more than the card has" in answer.content.decode()


def test_tags_of_a_node_are_words_with_commas(page: Client) -> None:
    node = make_node("rog", urls=[])
    url = f"/admin/labdash/node/{node.pk}/change/"
    forms = {
        f"{name}-{part}": value
        for name in ("instances", "gpus")
        for part, value in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))
    }
    page.post(url, {"kind": "linux", "tags": "fast, quiet, fast", **forms})
    node.refresh_from_db()
    assert node.tags == ["fast", "quiet"]


def test_settings_that_nobody_can_read_are_declared(page: Client) -> None:
    instance = make_instance()
    url = f"/admin/labdash/instance/{instance.pk}/change/"
    data = {"name": instance.name, "url": instance.url, "declared_gpus": "0, 1"}
    page.post(url, {**data, "declared_settings": "OLLAMA_KV_CACHE_TYPE=q8_0\nA = b"})
    instance.refresh_from_db()
    assert instance.declared_settings == {"OLLAMA_KV_CACHE_TYPE": "q8_0", "A": "b"}
    assert instance.declared_gpus == [0, 1]
    page.post(url, {**data, "declared_settings": "", "declared_gpus": ""})
    instance.refresh_from_db()
    assert (instance.declared_settings, instance.declared_gpus) == ({}, None)
    for wrong in ({"declared_settings": "OLLAMA"}, {"declared_gpus": "first"}):
        assert page.post(url, {**data, **wrong}).status_code == 200
