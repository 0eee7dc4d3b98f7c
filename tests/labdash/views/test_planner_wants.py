"""What the lab shall serve: the form, short and unfolded, and the buttons."""

import re

import pytest
from django.test import Client

from labdash.models import Deployment, Instance, Node
from tests.factories import make_installed, make_instance
from tests.labdash.views.polling import text_of
from tests.labdash.views.sample_lab import five_nodes

pytestmark = pytest.mark.django_db
SENT = {
    "model": "qwen3:14b",
    "quant_floor": "Q4_K_M",
    "quant_wish": "Q6_K",
    "ctx_floor": "8k",
    "ctx_wish": "32768",
    "priority": "2",
    "residency": "resident",
    "prefer": "quality",
    "give_way": "ctx,quant,offload",
    "replicas": "1",
}


def deployment(**fields: object) -> Deployment:
    values: dict[str, object] = {"name": "chat", "model": "qwen3:14b", **fields}
    return Deployment.objects.create(**values)


def errors(page: str) -> dict[str, str]:
    found = re.findall(r'id="id_(\w+)_error" class="error">([^<]+)<', page)
    return dict(found)


def test_short_form_stores_a_deployment(page: Client) -> None:
    response = page.post("/planner/new/", SENT)
    assert (response.status_code, response.headers["Location"]) == (302, "/planner/")
    row = Deployment.objects.get()
    assert (row.name, row.quant_floor, row.quant_wish) == ("qwen3:14b", "Q4_K_M", "Q6_K")
    assert (row.ctx_floor, row.ctx_wish, row.priority) == (8192, 32768, 2)
    assert (row.give_way, row.nodes, row.offload_allowed) == ([], [], False)


def test_form_begins_short_with_what_is_usual(page: Client) -> None:
    shown = text_of(page.get("/planner/new/"))
    assert '<details class="wide-field" id="more">' in shown
    assert 'value="8k"' in shown
    assert 'value="32k"' in shown


def test_whole_form_stores_all_of_it(page: Client) -> None:
    five_nodes()
    Node.objects.filter(slug="rog").update(tags=["desk"])
    deployment(name="whisper")
    more = {
        "name": "chat",
        "residency": "on-demand",
        "prefer": "speed",
        "give_way": "quant,ctx,offload",
        "offload_allowed": "on",
        "min_tokens_per_s": "12.5",
        "replicas": "2",
        "parallel": "4",
        "kv_types": ["f16", "q8_0"],
        "nodes": ["desk"],
        "pin": "rog/1",
        "keep_apart": ["whisper"],
        "same_name": "on",
    }
    assert page.post("/planner/new/", {**SENT, **more}).status_code == 302
    row = Deployment.objects.get(name="chat")
    assert (row.residency, row.prefer, row.give_way) == (
        "on-demand",
        "speed",
        ["quant", "ctx", "offload"],
    )
    assert (row.nodes, row.pin, row.keep_apart) == (["desk"], "rog/1", ["whisper"])
    assert (row.min_tokens_per_s, row.replicas, row.parallel) == (12.5, 2, 4)
    assert (row.kv_types, row.offload_allowed, row.same_name) == (["f16", "q8_0"], True, True)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"model": ""}, "model", "Write a model name, such as qwen3:14b."),
        ({"model": "q" * 351}, "model", "A model name has at most 350 letters."),
        ({"model": "https://x"}, "model", "Leave out what ends with ://"),
        ({"model": "no-such-model"}, "model", "no-such-model"),
        ({"ctx_floor": "many"}, "ctx_floor", "Write the context as a number of tokens"),
        ({"ctx_floor": "1"}, "ctx_floor", "A context has 256 to 16,777,216 tokens."),
        ({"ctx_floor": "9" * 19}, "ctx_floor", "A context has 256 to 16,777,216 tokens."),
        ({"ctx_wish": "4k"}, "ctx_wish", "Wish at least the context that will do."),
        ({"ctx_floor": "256k", "ctx_wish": "256k"}, "ctx_floor", "trained with a context of"),
        ({"quant_floor": "Q8_0"}, "quant_wish", "The least quant Q8_0 is better than"),
        ({"quant_floor": "Q99"}, "quant_floor", "There is no such quant"),
        ({"priority": "0"}, "priority", "Write a whole number from 1 to 9."),
        ({"replicas": ""}, "replicas", "Write a whole number from 1 to 16."),
        ({"name": "a/b"}, "name", "Use letters, digits, dots, colons and hyphens"),
        ({"name": "chat"}, "name", "There is a deployment named chat already."),
        ({"nodes": ["attic"]}, "nodes", "no longer there"),
        ({"pin": "attic/0"}, "pin", "no longer there"),
        ({"min_tokens_per_s": "1e6"}, "min_tokens_per_s", "Write a number up to 100,000."),
        ({"ctx_floor": "1" * 21}, "ctx_floor", "A context has 256 to 16,777,216 tokens."),
        ({"min_tokens_per_s": "fast"}, "min_tokens_per_s", "Write a number of tokens a second."),
    ],
)
def test_error_stands_beside_its_field_and_nothing_is_lost(
    page: Client, changes: dict[str, object], field: str, said: str
) -> None:
    deployment()
    response = page.post("/planner/new/", {**SENT, **changes})
    shown = text_of(response)
    assert response.status_code == 422
    found = errors(shown)
    assert list(found) == [field]
    assert said in found[field]
    assert Deployment.objects.count() == 1
    if "priority" not in changes:
        assert '<input type="number" name="priority" value="2"' in shown


def test_error_of_a_folded_field_unfolds(page: Client) -> None:
    shown = text_of(page.post("/planner/new/", {**SENT, "replicas": "99"}))
    assert '<details class="wide-field" id="more" open>' in shown


def test_form_of_a_deployment_shows_it_and_keeps_what_is_not_touched(page: Client) -> None:
    five_nodes()
    row = deployment(ctx_floor=8192, ctx_wish=10_000, nodes=["rog", "attic"], pin="attic/0")
    shown = text_of(page.get(f"/planner/{row.pk}/"))
    assert 'value="8k"' in shown
    assert 'value="10000"' in shown
    assert "attic (gone)" in shown
    assert '<details class="wide-field" id="more" open>' in shown


def test_change_is_stored_under_the_same_name(page: Client) -> None:
    row = deployment()
    response = page.post(f"/planner/{row.pk}/", {**SENT, "name": "", "priority": "1"})
    assert response.status_code == 302
    row.refresh_from_db()
    assert (row.name, row.priority, row.quant_wish) == ("chat", 1, "Q6_K")


def test_deleted_deployment_is_no_longer_asked_for(page: Client) -> None:
    row = deployment()
    assert page.get(f"/planner/{row.pk}/delete/").status_code == 302
    assert Deployment.objects.exists()
    page.post(f"/planner/{row.pk}/delete/")
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("kind", "value", "field", "stored"),
    [
        ("ctx", "8192", "ctx_floor", 8192),
        ("quant", "Q4_K_M", "quant_floor", "Q4_K_M"),
        ("offload", "", "offload_allowed", True),
        ("speed", "", "min_tokens_per_s", None),
        ("where", "", "nodes", []),
        ("speed", "0", "min_tokens_per_s", None),
        ("speed", "31", "min_tokens_per_s", 31.0),
        ("kv_type", "rog/ollama", "kv_types", []),
        ("quant", "Q4_K_M&ctx=4096", "ctx_floor", 4096),
        ("instance", "", "parallel", None),
    ],
)
def test_way_out_changes_the_deployment(
    page: Client, kind: str, value: str, field: str, stored: object
) -> None:
    five_nodes()
    row = deployment(
        ctx_floor=16384,
        quant_floor="Q6_K",
        quant_wish="Q6_K",
        nodes=["rog"],
        min_tokens_per_s=90,
        parallel=4,
        kv_types=["f16"],
    )
    response = page.post(f"/planner/{row.pk}/change/?kind={kind}&value={value}")
    assert (response.status_code, response.headers["Location"]) == (302, "/planner/")
    row.refresh_from_db()
    assert getattr(row, field) == stored


def test_way_out_lets_two_share_a_device(page: Client) -> None:
    first, second = deployment(name="a"), deployment(name="b", keep_apart=["a"])
    row = deployment(name="c", keep_apart=["a", "b"])
    response = page.post(f"/planner/{row.pk}/change/?kind=apart&value=a,b")
    assert response.status_code == 302
    row.refresh_from_db()
    assert row.keep_apart == []
    page.post(f"/planner/{first.pk}/change/?kind=apart&value=b")
    second.refresh_from_db()
    assert second.keep_apart == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("ctx", "many"),
        ("spell", "1"),
        ("ctx", "1"),
        ("ctx", ""),
        ("speed", "fast"),
        ("speed", "-1"),
        ("quant", ""),
        ("quant", "Q4_K_M&ctx=many"),
    ],
)
def test_way_out_that_is_none_changes_nothing(page: Client, kind: str, value: str) -> None:
    row = deployment(ctx_floor=16384, quant_floor="Q6_K", quant_wish="Q6_K", min_tokens_per_s=9)
    headers = {"HX-Request": "true"}
    response = page.post(f"/planner/{row.pk}/change/?kind={kind}&value={value}", headers=headers)
    assert response.status_code == 422
    row.refresh_from_db()
    assert (row.ctx_floor, row.quant_floor, row.min_tokens_per_s) == (16384, "Q6_K", 9)


def test_first_evening_makes_deployments_of_what_is_there(page: Client) -> None:
    five_nodes()
    page.post("/planner/adopt/")
    names = set(Deployment.objects.values_list("model", flat=True))
    assert {"qwen3:32b", "llama3.1:8b", "gemma3:27b"} <= names


@pytest.mark.parametrize("is_more_there", [True, False])
def test_first_evening_leaves_out_what_runs_in_a_cloud_and_says_so(
    page: Client, *, is_more_there: bool
) -> None:
    if is_more_there:
        five_nodes()
    instance = Instance.objects.first() or make_instance()
    make_installed(instance, "gpt-oss:120b-cloud", is_cloud=True)
    make_installed(instance, "mine:latest", is_cloud=True)
    response = page.post("/planner/adopt/", headers={"HX-Request": "true"}, follow=True)
    told = text_of(response) + text_of(page.get("/planner/"))
    assert "Left out, in Ollama&#x27;s cloud: gpt-oss:120b-cloud and mine:latest." in told
    assert not Deployment.objects.filter(model__in=["gpt-oss:120b-cloud", "mine"]).exists()


def test_empty_lab_has_nothing_to_adopt(page: Client) -> None:
    response = page.post("/planner/adopt/", headers={"HX-Request": "true"})
    assert response.status_code == 422
    assert "Nothing that LabDash could plan is installed" in text_of(response)
