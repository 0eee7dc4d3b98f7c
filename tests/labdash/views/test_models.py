"""Which models are where."""

import pytest
from django.test import Client

from labdash.models import PullJob
from tests.labdash.views.polling import count_queries, parts, poll, text_of
from tests.labdash.views.sample_lab import (
    add,
    five_nodes,
    gpu,
    install,
    loaded,
    pull,
    reading,
    sample,
)
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db


def test_matrix_tells_quants_loaded_and_absent(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/models/")))
    assert "Model minibox oldie rog studio tower" in shown
    assert "Q4_K_M · loaded" in shown
    oldie = "Q4_K_M load : llama3.1:8b on oldie"
    assert f"Pull llama3.1:8b to minibox {oldie} Pull llama3.1:8b to rog" in shown


def test_derived_name_stands_in_the_row_of_its_weights(page: Client) -> None:
    five_nodes()
    assert "my-coder Q5_K_M" in bare(text_of(page.get("/models/")))


def test_lab_without_models_proposes_a_first_one(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    shown = text_of(page.get("/models/"))
    assert "No model is installed yet" in shown
    assert 'href="/pulls/new/?model=qwen3%3A0.6b"' in shown


def test_search_keeps_the_families_that_match(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/models/?q=GEMMA"))
    assert "gemma3:27b" in shown
    assert "qwen3:32b" not in shown


def test_search_without_a_match_proposes_to_pull(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/models/?q=<b>phi"))
    assert "No model here has “&lt;b&gt;phi” in its name" in shown
    assert "/pulls/new/?model=%3Cb%3Ephi" in shown


def test_button_of_an_absent_model_starts_its_pull(page: Client) -> None:
    nodes = five_nodes()
    instance = nodes["rog"].instances.get()
    shown = text_of(page.get("/models/"))
    url = f"/pulls/new/?model=gemma3%3A27b&instances={instance.pk}"
    assert url.replace("&", "&amp;") in shown or url in shown
    response = page.post(url, headers={"HX-Request": "true"})
    assert (response.status_code, response.headers["HX-Trigger"]) == (204, "tick")
    job = PullJob.objects.get(instance=instance, model="gemma3:27b")
    assert job.is_active
    assert "matrix" in parts(text_of(poll(page, shown)))


def test_pull_under_way_shows_its_progress_in_the_cell(page: Client) -> None:
    nodes = five_nodes()
    pull(nodes["rog"], "gemma3:27b", state="downloading", done_bytes=25, total_bytes=100)
    assert "25 %" in text_of(page.get("/models/"))


def test_cloud_stubs_stand_apart(page: Client) -> None:
    nodes = five_nodes()
    install(nodes["rog"], "gpt-oss:120b-cloud", "", 0, is_cloud=True)
    shown = bare(text_of(page.get("/models/")))
    assert "with no weights here: gpt-oss:120b-cloud" in shown
    assert "Pull gpt-oss:120b-cloud" not in shown


def test_model_of_a_silent_node_is_not_called_loaded(page: Client) -> None:
    report = sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading(loaded("qwen3:8b", 6, 6))])
    node = add(report, age_s=600)
    install(node, "qwen3:8b", "Q4_K_M", 5)
    assert "loaded" not in bare(text_of(page.get("/models/")))


def test_unchanged_matrix_is_not_sent_again(page: Client) -> None:
    five_nodes()
    assert poll(page, text_of(page.get("/models/"))).status_code == 204


def test_queries_do_not_grow_with_the_lab(page: Client) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        node = add(sample(slug, [gpu(slug, 0, "RTX 3090", 24)], [reading()]))
        install(node, f"{slug}:4b", "Q4_K_M", 3)
        pull(node, "qwen3:8b")
        counts.append(count_queries(page, "/models/"))
    assert counts[0] == counts[2] <= 15
