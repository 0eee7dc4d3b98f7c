"""The page of one model on one server."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labdash.domain.loads import record_load
from labdash.models import Family, Instance, LoadJob, LoadWish, Variant
from tests.factories import gpu, loaded, make_installed, make_instance, ollama, orders, seen
from tests.labdash.views.polling import text_of
from tests.labdash.views.test_overview import bare
from workers import wire

URL = "/nodes/rog/models/"
QUERY = "?instance=ollama&model=qwen3:8b"
HTMX = {"HX-Request": "true"}
EVIL = "</pre><script>alert(1)</script>"
pytestmark = pytest.mark.django_db


@pytest.fixture
def instance() -> Instance:
    instance = make_instance()
    make_installed(instance, "qwen3:8b")
    seen(gpus=(gpu(0), gpu(1)), instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    return instance


def post(page: Client, act: str, *, htmx: bool = True, **fields: Any) -> Any:
    return page.post(f"{URL}{act}/{QUERY}", fields, headers=HTMX if htmx else {})


def test_page_tells_how_it_stands_and_what_can_be_done(page: Client, instance: Instance) -> None:
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "In memory" in shown
    assert "Unload now" in shown
    assert "else 262,144 on this machine" in shown


def test_server_need_not_be_named(page: Client, instance: Instance) -> None:
    assert page.get(f"{URL}?model=qwen3:8b").status_code == 200


@pytest.mark.parametrize("query", ["", "?model=no:1b", "?instance=no&model=qwen3:8b"])
def test_model_that_is_not_there_is_not_found(page: Client, instance: Instance, query: str) -> None:
    assert page.get(URL + query).status_code == 404


def test_model_that_was_deleted_while_loaded_says_what_to_do(page: Client) -> None:
    make_instance()
    seen(instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "It was deleted while it was in memory." in shown
    assert "Context in tokens" not in shown


def test_form_loads(page: Client, instance: Instance) -> None:
    fields: dict[str, Any] = {"context": "8192", "main_gpu": "1", "keep": "other", "minutes": "90"}
    assert post(page, "load", **fields).status_code == 204
    job = LoadJob.objects.get()
    assert (job.wish, job.context, job.main_gpu, job.keep_s) == ("load", 8192, 1, 5400)
    assert job.requested_by
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "loading for 0 s" in shown
    assert "Cancel" in shown


def test_form_without_javascript_comes_back_to_the_page(page: Client, instance: Instance) -> None:
    answer = post(page, "load", htmx=False, keep="300")
    assert answer.headers["Location"] == f"{URL}?instance=ollama&model=qwen3%3A8b"
    assert orders()[0]["context"] is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context": "much"}, "Write the context as a whole number of tokens."),
        ({"context": "3"}, "A context has at least 256 tokens."),
        ({"context": "99999999999"}, "Its context is at most"),
        ({"main_gpu": "2"}, "This server has no such GPU"),
        ({"main_gpu": "x"}, "This server has no such GPU"),
        ({"keep": "other"}, "Write for how many minutes."),
        ({"keep": "other", "minutes": "0"}, "Keep it for a minute or more"),
        ({"keep": "other", "minutes": "99999999"}, "keep it for ever"),
        ({"keep": "soon"}, "Choose how long to keep it."),
    ],
)
def test_slip_is_told_in_one_line(
    page: Client, instance: Instance, fields: dict[str, Any], words: str
) -> None:
    answer = post(page, "load", **({"keep": "300"} | fields))
    assert answer.status_code == 422
    assert words in text_of(answer)
    whole = post(page, "load", htmx=False, **({"keep": "300"} | fields))
    assert whole.status_code == 422
    assert words in text_of(whole)
    assert not LoadJob.objects.exists()


def test_keep_and_unload_are_buttons(page: Client, instance: Instance) -> None:
    assert page.post(f"{URL}keep/{QUERY}", {"keep-keep": "-1"}, headers=HTMX).status_code == 204
    assert (LoadJob.objects.get().wish, LoadJob.objects.get().keep_s) == (LoadWish.KEEP, -1)
    LoadJob.objects.all().delete()
    assert post(page, "unload").status_code == 204
    assert orders()[-1]["wish"] == "unload"


def test_cancel_is_of_this_nodes_jobs_alone(page: Client, instance: Instance) -> None:
    post(page, "load", keep="300")
    job = LoadJob.objects.get()
    assert page.post(f"/nodes/tower/models/cancel/{job.pk}/").status_code == 404
    assert page.post(f"{URL}cancel/{job.pk}/").status_code == 302
    job.refresh_from_db()
    assert job.cancel_requested


def test_old_server_offers_no_card(page: Client) -> None:
    make_installed(make_instance(), "qwen3:8b")
    seen(gpus=(gpu(0), gpu(1)), instances=(ollama(version="0.24.0"),))
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "this server is older" in shown


def test_server_of_unknown_version_offers_no_card_and_is_not_called_old(page: Client) -> None:
    make_installed(make_instance(), "qwen3:8b")
    seen(gpus=(gpu(0), gpu(1)), instances=(ollama(version=None),))
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "Which Ollama this is was not told yet" in shown
    assert "this server is older" not in shown


def test_context_without_a_choice_is_no_longer_than_the_model_can(
    page: Client, instance: Instance
) -> None:
    family = Family.objects.create(name="qwen3-8b", context_length=40_960)
    variant = Variant.objects.create(family=family)
    instance.installed_models.update(variant=variant)
    shown = bare(text_of(page.get(URL + QUERY)))
    assert "else 40,960 on this machine. Its most is 40,960." in shown


def test_overview_shows_what_is_under_way_until_it_ends(page: Client, instance: Instance) -> None:
    post(page, "load", keep="300")
    shown = bare(text_of(page.get("/")))
    assert "Load qwen3:8b on rog" in shown
    assert "loading for 0 s" in shown
    LoadJob.objects.update(state="loaded", finished_at=timezone.now())
    assert "Load qwen3:8b on rog" not in bare(text_of(page.get("/")))


def test_failure_is_shown_with_its_log_and_nothing_of_it_runs(
    page: Client, instance: Instance
) -> None:
    post(page, "load", keep="300")
    report = wire.LoadProgress(
        node="rog",
        sent_at=timezone.now(),
        job_id=LoadJob.objects.get().pk,
        phase="failed",
        reason=f"out of memory {EVIL}",
        meaning="The GPU's memory is too small.",
        log=("one", EVIL),
    )
    record_load(report, arrived_at=timezone.now())
    for url in (URL + QUERY, "/nodes/rog/"):
        text = text_of(page.get(url))
        assert "<script>alert" not in text
        assert "Last lines of its log" in text
        shown = bare(text)
        assert "The GPU's memory is too small." in shown or "memory is too small." in shown


def test_node_page_leads_to_each_model(page: Client, instance: Instance) -> None:
    text = text_of(page.get("/nodes/rog/"))
    assert "/nodes/rog/models/?instance=ollama&amp;model=qwen3%3A8b" in text
