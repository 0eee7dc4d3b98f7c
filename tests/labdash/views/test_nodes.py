"""The machines."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from labdash.models import Instance, Node
from tests.labdash.views.polling import POLL, count_queries, parts, poll, text_of
from tests.labdash.views.sample_lab import (
    add,
    five_nodes,
    gpu,
    history,
    install,
    pull,
    reading,
    sample,
)
from tests.labdash.views.test_overview import bare

HTMX = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


def test_table_tells_each_node(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/nodes/")))
    assert "rog live qwen3:32b runs partly on the CPU" in shown
    assert "RTX 3090 · driver 580.65 · Ollama 0.32.15 32.0 / 48.0 GiB" in shown
    assert "studio silent for 2 h" in shown


def test_table_without_nodes_says_what_to_do(page: Client) -> None:
    assert "No node yet" in text_of(page.get("/nodes/"))


def test_table_counts_no_models_before_a_server_has_listed_them(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    node.instances.update(inventory_at=None)
    assert 'data-label="Models">unknown<' in text_of(page.get("/nodes/"))
    node.instances.update(inventory_at=timezone.now())
    assert 'data-label="Models">0<' in text_of(page.get("/nodes/"))


def test_table_polls_for_changes_alone(page: Client) -> None:
    nodes = five_nodes()
    shown = text_of(page.get("/nodes/"))
    assert poll(page, shown).status_code == 204
    nodes["tower"].delete()
    assert parts(text_of(poll(page, shown))) == ["rows"]


def test_node_page_shows_gpus_processes_instance_models_and_jobs(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/nodes/rog/")))
    for words in (
        "GPU 0 RTX 3090 21.0 / 24.0 GiB",
        "whisper-server GPU 0 12 2.5 GiB",
        "Ollama 0.32.15 · http://127.0.0.1:11434 answers",
        "qwen3:32b Q4_K_M loaded 18.8 GiB",
        "Pull llama3.3:70b to rog",
        "Not enough disk: 42.5 GiB are needed",
    ):
        assert words in shown


def test_weights_that_names_share_count_once(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/nodes/rog/")))
    assert "my-coder Q5_K_M same weights as qwen2.5-coder:14b" in shown
    assert "4 names, 28.9 GiB with shared weights counted once" in shown


def test_cloud_stubs_stand_apart_and_weigh_nothing(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    stub = install(node, "gpt-oss:120b-cloud", "", 0, is_cloud=True)
    stub.variant = None
    stub.save()
    shown = bare(text_of(page.get("/nodes/rog/")))
    assert "In Ollama's cloud, with no weights here: gpt-oss:120b-cloud" in shown
    assert "Pull one" in shown


@pytest.mark.parametrize(
    ("span", "label"),
    [("1h", "1 hour"), ("24h", "24 hours"), ("30d", "30 days"), ("1y", "1 year")],
)
def test_history_has_charts_with_words(page: Client, span: str, label: str) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    history(node, minutes=70)
    shown = text_of(page.get(f"/nodes/rog/?span={span}"))
    for title in ("Memory by model", "Utilisation", "Temperature", "Power"):
        assert f'aria-label="{title} over {label}: last ' in shown
    assert len(re.findall(r'class="trace" d="M\d', shown)) == 3
    assert len(re.findall(r'class="layer s-\w+" d="M\d', shown)) == 4
    assert f"<caption>GPU 0 · RTX 3090 over {label}</caption>" in shown
    assert f'href="?span={span}" aria-current="true"' in shown


def test_history_of_a_young_lab_is_drawn_over_ten_minutes(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    history(node, minutes=3, every_s=5)
    shown = text_of(page.get("/nodes/rog/"))
    assert 'aria-label="Memory by model over 10 minutes: last ' in shown
    assert "<span>10 min ago</span>" in shown


def test_span_that_is_not_offered_becomes_an_hour(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    shown = text_of(page.get("/nodes/rog/?span=never"))
    assert 'href="?span=1h" aria-current="true"' in shown
    assert "Nothing was measured in this time." in shown


def test_node_that_does_not_exist_is_not_found(page: Client) -> None:
    response = page.get("/nodes/nobody/")
    assert response.status_code == 404
    assert "There is no such page." in text_of(response)


def test_node_that_never_reported_has_a_page(page: Client) -> None:
    Node.objects.create(slug="new")
    shown = text_of(page.get("/nodes/new/"))
    assert "new has never reported." in shown
    assert "No Ollama server is known here" in shown


def test_pause_and_resume_without_javascript(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    response = page.post("/nodes/rog/pause/", {"next": "/nodes/rog/"})
    assert response.headers["Location"] == "/nodes/rog/"
    node.refresh_from_db()
    assert node.paused
    assert "rog is paused." in text_of(page.get("/nodes/rog/"))
    page.post("/nodes/rog/resume/")
    node.refresh_from_db()
    assert not node.paused


def test_button_makes_the_page_ask_for_what_changed(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    shown = text_of(page.get("/nodes/rog/"))
    response = page.post("/nodes/rog/pause/", headers=HTMX)
    assert (response.status_code, response.headers["HX-Trigger"]) == (204, "tick")
    assert parts(text_of(poll(page, shown))) == ["state"]


def test_refresh_says_that_it_asked(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    response = page.post("/nodes/rog/refresh/", headers=HTMX)
    assert "Asked rog for its models." in text_of(response)
    assert parts(text_of(response)) == ["flash"]


def test_a_get_of_an_action_does_nothing_and_shows_the_page(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    for verb in ("pause", "resume", "refresh"):
        assert page.get(f"/nodes/rog/{verb}/").headers["Location"] == "/nodes/rog/"
        assert not Node.objects.get(slug="rog").paused
        assert page.post(f"/nodes/nobody/{verb}/").status_code == 404


ATTIC = {
    "slug": "attic",
    "url": "http://192.168.1.20:11434/",
    "kind": "linux",
    "ram_gib": "32",
    "gpu_name": "Tesla P40",
    "gpu_gib": "24",
    "gpu_count": "2",
}


def test_agentless_node_is_added_with_its_hardware(page: Client) -> None:
    response = page.post("/add-node/", ATTIC, follow=True)
    assert "attic is added." in text_of(response)
    node = Node.objects.get(slug="attic")
    assert node.agentless
    assert Instance.objects.get(node=node).url == "http://192.168.1.20:11434"
    assert [(card.name, card.memory_total_bytes) for card in node.gpus.all()] == [
        ("Tesla P40", 24 * 2**30)
    ] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slug": "Attic!"}, "is no name for a node"),
        ({"url": "ftp://attic"}, "is no http or https address"),
        ({"url": "http://attic:11434/api"}, "Leave out what follows the host and port"),
        ({"gpu_gib": ""}, "A GPU needs both a name and the size of its memory."),
        ({"ram_gib": "-1"}, "greater than or equal to 0.5"),
    ],
)
def test_agentless_node_with_a_slip_is_told_in_place(
    page: Client, change: dict[str, str], words: str
) -> None:
    response = page.post("/add-node/", {**ATTIC, **change})
    assert response.status_code == 422
    assert words in text_of(response)
    assert not Node.objects.exists()


def test_name_that_is_taken_is_told_in_place(page: Client) -> None:
    Node.objects.create(slug="attic")
    response = page.post("/add-node/", ATTIC)
    assert response.status_code == 422
    assert "There is a node named attic already." in text_of(response)


@pytest.mark.parametrize("url", ["/nodes/", "/nodes/ant/"])
def test_queries_do_not_grow_with_the_lab(page: Client, url: str) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        node = add(sample(slug, [gpu(slug, 0, "RTX 3090", 24)], [reading()]))
        for each in Node.objects.all():
            install(node, f"{each.slug}:4b", "Q4_K_M", 3)
        pull(node, "qwen3:8b")
        counts.append(count_queries(page, url))
    assert counts[0] == counts[2] <= 18


def test_fragment_root_is_what_the_page_replaces(page: Client) -> None:
    five_nodes()
    page.get("/nodes/rog/")
    answer = text_of(page.get("/nodes/rog/?v=none", headers=POLL))
    assert parts(answer) == [
        "favicon", "banner", "state", "gpus", "processes", "history", "instances", "loads",
        "jobs",
    ]  # fmt: skip
