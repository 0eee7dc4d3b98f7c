"""The page left open all day."""

import re
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from labdash import live
from labdash.live import INTAKE_ALIVE_KEY, save_state, store
from labdash.models import Node, PullJob, UpstreamTag
from labdash.queries.problem_view import PAGES
from labdash.queries.status import read_status
from labdash.templatetags import labdash as tags
from tests.labdash.views.polling import count_queries, parts, poll, poll_url, text_of
from tests.labdash.views.sample_lab import (
    GIB,
    add,
    five_nodes,
    gpu,
    history,
    install,
    loaded,
    process,
    pull,
    reading,
    sample,
)
from workers import wire

pytestmark = pytest.mark.django_db


@dataclass
class Bare:
    """A page without its mark-up."""

    text: str

    def __contains__(self, words: str) -> bool:
        return words in self.text


def bare(page: str) -> Bare:
    return Bare(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def test_lab_without_nodes_says_what_to_do(page: Client) -> None:
    shown = text_of(page.get("/"))
    assert "Your lab is empty." in shown
    assert "No node yet" in shown
    assert 'href="/add-node/"' in shown


def test_healthy_lab_is_well_in_one_line(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "NVIDIA GeForce RTX 3090", 24)], [reading()]))
    install(node, "qwen3:8b", "Q4_K_M", 5)
    shown = bare(text_of(page.get("/")))
    assert "All is well." in shown
    assert "1 node · 1 GPU · 0.0 of 24.0 GiB in use · 21 W" in shown


def test_trouble_is_counted_in_title_and_heading_and_comes_first(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/"))
    assert "<title>(2) LabDash</title>" in shown
    assert "favicon-trouble" in shown
    assert "2 things need you." in shown
    assert "studio has not reported for 2 h" in shown
    assert "Wake studio." in shown
    slugs = re.findall(r'<article id="node-(\w+)"', shown)
    assert slugs == ["rog", "studio", "minibox", "oldie", "tower"]


def test_bar_tells_models_others_reserve_and_free_also_in_words(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/"))
    label = re.search(r'id="bar-rog-GPU-rog-0"[^>]*aria-label="([^"]+)"', shown)
    assert label
    assert label.group(1) == (
        "GPU 0: qwen3:32b 17.9 GiB, whisper-server 2.5 GiB, Xorg 0.6 GiB, driver 0.4 GiB,"
        " free 2.6 GiB"
    )


def test_model_keeps_its_colour_on_every_page(page: Client) -> None:
    five_nodes()
    pattern = re.compile(r'class="s-(m\d)" width="9" height="9"/></svg>(?:<b>)?gemma3:27b')
    colours = {
        match
        for url in ("/", "/nodes/oldie/", "/models/")
        for match in pattern.findall(text_of(page.get(url)))
    }
    assert len(colours) == 1


def test_model_on_the_cpu_stands_out(page: Client) -> None:
    five_nodes()
    assert "20 % on the CPU" in text_of(page.get("/"))


def test_node_without_gpu_shows_its_ram(page: Client) -> None:
    report = sample("minibox", [], [reading(loaded("qwen3:4b", 3.4, 0))], ram_gib=(9, 16))
    add(report)
    shown = text_of(page.get("/"))
    assert "CPU 12 % busy" in shown
    assert "RAM: qwen3:4b 3.4 GiB, other 5.6 GiB, free 7.0 GiB" in shown


DRIVER = wire.DriverReading
NO_CARD = "No GPU was found on rog, so its models run on the CPU. Small models suit it"


@pytest.mark.parametrize(
    ("driver", "hardware", "said"),
    [
        (DRIVER(state="ok", version="580.65"), "no GPU · driver 580.65", NO_CARD),
        (DRIVER(state="missing", cards_seen=0), "no GPU · Ollama", NO_CARD),
        (DRIVER(state="missing"), "no GPU · Ollama", "If rog has an NVIDIA card, install its"),
        (DRIVER(state="missing", cards_seen=2), "GPUs unknown", "rog has 2 NVIDIA cards and no"),
        (DRIVER(state="ok", cards_asleep=1), "GPU asleep", "rog has slept since its worker"),
        (DRIVER(state="mismatch"), "GPUs unknown", "was updated and the old one still runs. Rest"),
    ],
)
def test_node_that_reports_no_gpu_says_why_and_what_to_do(
    page: Client, driver: wire.DriverReading, hardware: str, said: str
) -> None:
    add(sample("rog", [], [reading()], ram_gib=(9, 16), driver=driver))
    card = bare(text_of(page.get("/")).partition("<article")[2])
    now = bare(text_of(page.get("/nodes/rog/")).partition('id="gpus"')[2])
    for shown in (card, now):
        assert said in shown
    assert hardware in card


def test_agentless_node_without_a_declared_gpu_leads_to_where_that_is_done(page: Client) -> None:
    node = add(sample("attic", [], [reading()], driver=DRIVER(state="none")), agentless=True)
    for url in ("/", "/nodes/attic/"):
        shown = text_of(page.get(url))
        assert "no GPU declared" in shown
        assert f'href="/admin/labdash/node/{node.pk}/change/">Declare' in shown
    assert "not declared" in text_of(page.get("/nodes/"))


@pytest.mark.parametrize("state", ["not_loaded", "mismatch", "error", "missing"])
def test_cards_of_a_driver_that_fails_are_unknown_and_not_lost(page: Client, state: str) -> None:
    driver = DRIVER.model_validate({"state": state, "reason": "it was updated", "cards_seen": 1})
    cards = [gpu(name, 0, "RTX 3090", 24, state="lost", source="nvml") for name in "ab"]
    add(sample("rog", cards, [reading()], driver=driver))
    shown = bare(text_of(page.get("/")))
    assert "cannot be read" in shown
    assert "it was updated" in shown
    assert "lost" not in shown
    assert "power cables" not in shown


def unified() -> wire.GpuReading:
    return gpu(
        "mac", 0, "Apple M4 Max", 48, source="declared", memory_used_bytes=None,
        memory_free_bytes=None, memory_reserved_bytes=None, temperature_celsius=None,
        power_watts=None, utilization_percent=None,
    )  # fmt: skip


@pytest.mark.parametrize("url", ["/", "/nodes/studio/"])
def test_gpu_that_nobody_measures_is_unknown_while_ollama_is_away(page: Client, url: str) -> None:
    add(sample("studio", [unified()], [reading(state="refused", loaded=None)]), kind="mac")
    shown = bare(text_of(page.get(url)))
    assert "use unknown / 48.0 GiB" in shown
    assert "What this GPU holds is not known while Ollama does not answer." in shown
    assert "nothing loaded" not in shown
    assert "0.0 / 48.0" not in shown


def test_overview_and_status_tell_the_same(page: Client) -> None:
    nodes = five_nodes()
    silent = sample("studio", [unified()], [reading(state="refused", loaded=None)])
    save_state(silent, arrived_at=timezone.now())
    lost = gpu("x", 0, "Tesla P40", 24, state="lost")
    add(sample("attic", [lost], [reading()], driver=DRIVER(state="mismatch", reason="updated")))
    PullJob.objects.filter(instance__node=nodes["oldie"]).update(
        state="downloading",
        bytes_per_s=10 * 2**20,
        heartbeat_at=timezone.now() - timedelta(minutes=1),
    )
    shown = text_of(page.get("/"))
    told = read_status(now=timezone.now())
    cards = dict(re.findall(r'<article id="node-(\w+)"(.*?)</article>', shown, re.DOTALL))
    assert set(cards) == {node["slug"] for node in told["nodes"]}
    for node in told["nodes"]:
        uses = re.findall(r'<span class="much[^>]*>([^<]*)</span>', cards[node["slug"]])
        assert uses[: len(node["gpus"])] == [use_of(each) for each in node["gpus"]], node["slug"]
    jobs = re.findall(r'class="figures">(.*?)</div>', shown, re.DOTALL)
    assert [re.findall(r"[\d.]+ MiB/s", job) for job in jobs] == [
        [tags.speed(job["bytes_per_s"])] if job["bytes_per_s"] else []
        for job in told["jobs"]
        if job["state"] not in {"failed", "installed"}
    ]
    listed = re.findall(r'<div class="note is-\w+">\s*<div><b>(.*?)</b>', shown)
    assert [unescape(text) for text in listed] == [each["text"] for each in told["problems"]]


def use_of(card: dict[str, Any]) -> str:
    """Write what status says of a GPU as its line on the overview does."""
    if card["state"] != "ok":
        return {"lost": "lost", "error": "cannot be read"}[card["state"]]
    used = "use unknown" if card["used_bytes"] is None else tags.gib(card["used_bytes"])
    return f"{used} / {tags.gib(card['total_bytes'])} GiB"


def test_totals_leave_out_what_is_unknown_and_say_so(page: Client) -> None:
    add(sample("studio", [unified()], [reading(state="refused", loaded=None)]), kind="mac")
    shown = bare(text_of(page.get("/")))
    assert "1 node · 1 GPU · 1 GPU unknown" in shown
    card = gpu("a", 0, "RTX 3090", 24, memory_used_bytes=6 * GIB)
    add(sample("rog", [card], [reading()]))
    shown = bare(text_of(page.get("/")))
    assert "2 nodes · 2 GPUs · 6.0 of 24.0 GiB in use · 1 GPU unknown" in shown
    table = bare(text_of(page.get("/nodes/")))
    assert "48.0 GiB use of 1 GPU unknown" in table


def test_declared_gpu_shows_what_ollama_tells_and_says_so(page: Client) -> None:
    add(sample("studio", [unified()], [reading(loaded("qwen3:32b", 22, 22))]), kind="mac")
    shown = bare(text_of(page.get("/")))
    assert "22.0 / 48.0 GiB" in shown
    assert "as Ollama reports, not measured" in shown
    assert "°C" not in shown


def test_gpu_that_is_lost_says_so_beside_its_neighbour(page: Client) -> None:
    lost = gpu("a", 0, "Tesla P40", 24, state="lost", reason="fell off the bus")
    add(sample("oldie", [lost, gpu("b", 1, "Tesla P40", 24)], [reading()]))
    shown = bare(text_of(page.get("/")))
    assert "lost" in shown
    assert "fell off the bus" in shown
    assert "0.0 / 24.0 GiB" in shown


@pytest.mark.parametrize(
    ("fields", "agentless", "words"),
    [
        ({"state": "refused", "installed": False}, False, "Ollama is not installed on rog"),
        ({"state": "refused", "installed": True}, False, "Ollama is not running on rog"),
        ({"state": "ok", "home": "container", "disk": None}, False, "runs in a container"),
        ({"state": "refused"}, True, "set OLLAMA_HOST=0.0.0.0"),
        ({"state": "refused", "home": "remote"}, False, "set OLLAMA_HOST=0.0.0.0"),
        ({"state": "unreachable"}, True, "it is asleep, off, or has another address"),
        ({"state": "ok"}, False, "There is no model on rog/ollama yet."),
    ],
)
def test_first_evening_has_a_sentence(
    page: Client, fields: dict[str, Any], words: str, *, agentless: bool
) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading(**fields)]), agentless=agentless)
    assert words in text_of(page.get("/"))


def test_driver_that_is_missing_has_a_sentence_and_a_step(page: Client) -> None:
    add(sample("rog", [], [reading()], driver=wire.DriverReading(state="not_loaded")))
    shown = text_of(page.get("/"))
    assert "is installed but not loaded" in shown
    assert "sudo modprobe nvidia" in shown


def test_running_pull_tells_progress_speed_and_time_left(page: Client) -> None:
    five_nodes()
    shown = bare(text_of(page.get("/")))
    assert "Pull gemma3:12b to tower" in shown
    assert "downloading 6.1 of 8.1 GiB 112 MiB/s 18 s left" in shown
    assert "verifying: nothing to see for a while" in shown
    assert "2 pulls running · 1 waiting" in shown


def test_the_last_day_is_told_and_a_long_queue_in_short(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    for state, hours in (("installed", 8), ("failed", 9), ("failed", 25)):
        pull(node, "x", state=state, finished_at=timezone.now() - timedelta(hours=hours))
    for number in range(21):
        pull(node, f"qwen3:{number}b", state="paused")
    pull(node, "last", state="downloading")
    shown = bare(text_of(page.get("/")))
    assert "1 pull running · 21 waiting In the last 24 hours : 1 pulled, 1 failed" in shown
    assert "Pull last to rog" in shown
    assert "14 more" in shown
    assert "1 more after these." in bare(text_of(page.get("/pulls/")))


def test_problem_leads_to_the_page_of_its_next_step(page: Client) -> None:
    for each in PAGES:
        reverse(each)
    UpstreamTag.objects.create(name="qwen3:8b", behind=1, next_at=timezone.now())
    shown = text_of(page.get("/"))
    assert 'href="/pulls/updates/">See Updates</a>' in shown


def test_page_marks_all_nodes_as_watched(page: Client) -> None:
    five_nodes()
    page.get("/")
    assert store().ttl(wire.watched_key("rog")) == live.WATCHED_FOR_S


def test_sparkline_tells_the_last_hour_in_words(page: Client) -> None:
    node = add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    history(node)
    shown = text_of(page.get("/"))
    assert re.search(r"GPU memory over the last hour: between 3\.\d and 14\.\d GiB", shown)


def test_store_that_is_down_leaves_the_last_known_state_and_a_banner(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_nodes()
    Node.objects.update(last_seen_at=timezone.now() - timedelta(minutes=7))
    monkeypatch.setattr("labdash.live.settings.REDIS_URL", "unix:///nowhere.sock?db=0")
    live.store.cache_clear()
    try:
        shown = text_of(page.get("/"))
    finally:
        monkeypatch.undo()
        live.store.cache_clear()
    assert '<div class="banner"><b>The store does not answer' in shown
    assert "qwen3:32b" in shown
    assert "silent for 7 min" in shown
    assert "<title>(1) LabDash</title>" in shown


def test_hub_worker_that_is_down_is_told_on_every_page(page: Client) -> None:
    store().delete(INTAKE_ALIVE_KEY)
    for url in ("/", "/nodes/", "/models/", "/pulls/"):
        assert "The hub worker reads no reports" in text_of(page.get(url))


def test_simulated_lab_says_so_on_every_page(page: Client, settings: pytest.FixtureRequest) -> None:
    settings.DEMO = True  # type: ignore[attr-defined]
    for url in ("/", "/nodes/", "/models/", "/pulls/", "/add-node/"):
        assert ">simulated</span>" in text_of(page.get(url))
    assert ">simulated</span>" in text_of(Client().get("/sign-in/"))


def test_queries_do_not_grow_with_the_lab(page: Client) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        node = add(sample(slug, [gpu(slug, 0, "RTX 3090", 24)], [reading()]))
        pull(node, "qwen3:8b")
        install(node, "qwen3:4b", "Q4_K_M", 3)
        counts.append(count_queries(page, "/"))
    assert counts[0] == counts[2] <= 16


def test_removed_node_leaves_the_page(page: Client) -> None:
    five_nodes()
    shown = text_of(page.get("/"))
    PullJob.objects.all().delete()
    Node.objects.get(slug="minibox").delete()
    answer = text_of(poll(page, shown))
    assert "cards" in parts(answer)
    assert "node-minibox" not in answer


def test_free_text_of_a_node_is_escaped(page: Client) -> None:
    card = gpu("a", 0, "<script>alert(1)</script>", 24, processes=(process(1, "<img src=x>", 1),))
    add(sample("rog", [card], [reading()]))
    shown = text_of(page.get("/"))
    assert "<script>alert" not in shown
    assert "<img" not in shown


def test_poll_keeps_the_query_of_its_page(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading()]))
    shown = text_of(page.get("/nodes/rog/?span=24h"))
    assert poll_url(shown).startswith("/nodes/rog/?span=24h&v=")


def test_disk_of_two_instances_is_told_once(page: Client) -> None:
    add(sample("rog", [gpu("a", 0, "RTX 3090", 24)], [reading(), reading(name="ollama-2")]))
    assert text_of(page.get("/")).count(f"{310 * GIB:,} bytes free") == 1
