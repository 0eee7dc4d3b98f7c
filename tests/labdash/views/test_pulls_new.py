"""Before a pull: every quant on every machine, what is fetched, and one click for several."""

import json
import re
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from labdash.catalog.files import read_lines
from labdash.env import ROOT
from labdash.models import Instance, Manifest, Node, PullJob, PullState
from labdash.pull_form import BeforePullForm
from labdash.queries import fit, published
from labdash.queries.own_catalog import NAME
from labdash.sources.ranges import Service
from labdash.sources.registry import MODEL_LAYER, PREFIXES
from tests.labdash.sources.test_registry import registry
from tests.labdash.views.polling import count_queries, text_of
from tests.labdash.views.sample_lab import GIB, add, five_nodes, gpu, install, reading, sample
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "verdict"}
NOWHERE = Service("http://127.0.0.1:9", ())
WEIGHTS, SHARED = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def use(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    """Ask one service for all names."""
    monkeypatch.setitem(PREFIXES, "hf.co/", service)
    monkeypatch.setattr(published, "ollama_registry", lambda: service)
    monkeypatch.setattr(fit, "ollama_registry", lambda: service)


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NOWHERE)


@pytest.fixture
def few_names(settings: Settings) -> None:
    """Let only the names of the simulated registry be on offer, so that families are small."""
    settings.OFFERS = ROOT / "workers" / "simlab" / "data" / "offers.json"


def card(slug: str, gib: float = 24, name: str = "NVIDIA GeForce RTX 3090") -> Node:
    return add(sample(slug, [gpu(f"GPU-{slug}", 0, name, gib)], [reading()]))


def whole(query: str) -> str:
    """Ask for all quants, as the page does by itself."""
    return f"/pulls/new/?{query}{'' if 'look=' in query else '&look=all'}"


def shown(client: Client, query: str) -> str:
    """Return the page with all quants as words."""
    return unescape(bare(text_of(client.get(whole(query)))).text)


def ticked(client: Client, query: str) -> dict[str, str]:
    """Return what the page proposes, by machine."""
    text = text_of(client.get(whole(query)))
    picks = re.findall(r'name="pick" value="(\d+)=([^"]+)" checked', text)
    return {Instance.objects.get(pk=key).node.slug: name for key, name in picks}


def test_every_name_that_is_suggested_is_taken(page: Client, own_entries: Path) -> None:
    """An entry of one's own may be called anything, and is found elsewhere by that."""
    row = next(each for each in read_lines("models.jsonl") if each.get("ollama") == "qwen3:8b")
    named = ("My own model", "tuned-8b")
    told = {key: row[key] for key in row if key not in {"ollama", "latest", "hf_repo"}}
    kept = [{**told, "name": each, "files": []} for each in named]
    (own_entries / NAME).write_text("\n".join(map(json.dumps, kept)))
    found = text_of(page.get("/pulls/new/")).partition('<datalist id="models">')[2]
    names = list(map(unescape, re.findall(r'<option value="([^"]+)"', found)))
    forms = {name: BeforePullForm({**BeforePullForm.FIRST, "model": name}) for name in names}
    assert "tuned-8b" in names
    assert [name for name, form in forms.items() if not form.is_valid()] == []


@pytest.mark.usefixtures("few_names")
def test_page_tells_every_machine_at_once(page: Client) -> None:
    five_nodes()
    text = shown(page, "model=qwen3:14b&context=16384")
    said = "Q4_K_M at 16k fits whole on 3 of 5 machines of this lab; the best for 2 of them are"
    assert f"{said} ticked." in text
    rog = text.partition("rog Ollama")[2].partition("studio Ollama")[0]
    assert "Free card whole on GPU 0, up to 40k · 69 tokens/s" in rog
    assert re.search(
        r"As it is now whole on GPU 1, up to \d+k on GPU 0 \+ GPU 1 · 69 .* loaded: .*qwen3:32b",
        rog,
    )
    assert "To fetch 8.6 GiB , reckoned from the internet; how long is unknown" in rog
    assert "Disk 301 GiB left afterwards" in rog
    tower = text.partition("tower Ollama")[2].partition("All quants")[0]
    assert re.search(r"Free card \d+ of 41 layers on the GPU; [\d.]+ GiB short of whole", tower)
    assert "short of GPU and RAM together" in text.partition("minibox Ollama")[2]
    assert "As it is now unknown : silent for 2 h" in text


def test_best_quant_of_each_machine_is_ticked(page: Client) -> None:
    card("rog")
    card("tower", 12, "NVIDIA GeForce RTX 4070")
    assert ticked(page, "model=qwen3:14b") == {
        "rog": "qwen3:14b-q8_0", "tower": "qwen3:14b",
    }  # fmt: skip
    longer = ticked(page, "model=qwen3:14b&context=32768")
    assert longer["tower"] == "hf.co/unsloth/Qwen3-14B-GGUF:Q2_K"


def test_machine_that_has_one_as_good_gets_no_tick(page: Client) -> None:
    rog, tower = card("rog"), card("tower")
    install(rog, "qwen3:14b-q8_0", "Q8_0", 14.6)
    install(tower, "qwen3:14b", "Q4_K_M", 8.6)
    Manifest.objects.create(instance=rog.instances.get(), digest="qwen3:14b-q8_0")
    assert ticked(page, "model=qwen3:14b") == {"tower": "qwen3:14b-q8_0"}
    text = shown(page, "model=qwen3:14b-q8_0")
    assert "To fetch nothing: all of it is there" in text
    assert "To fetch 14.6 GiB , reckoned from rog" in text


def test_full_disk_is_told_and_takes_a_smaller_one(page: Client) -> None:
    node = card("rog")
    node.keep_free_bytes = 303 * GIB
    node.save()
    assert ticked(page, "model=qwen3:14b")["rog"].endswith("Q3_K_M")
    assert "Disk 1.6 GiB short with 303 GiB kept free" in shown(page, "model=qwen3:14b")


@pytest.mark.usefixtures("few_names")
def test_page_begins_with_what_was_named_and_asks_for_the_rest(page: Client) -> None:
    five_nodes()
    text = text_of(page.get("/pulls/new/?model=qwen3:14b&context=16384"))
    words = unescape(bare(text).text)
    assert "Q4_K_M at 16k fits whole on 3 of 5 machines of this lab." in words
    assert "Free card whole on GPU 0, up to 40k" in words
    assert "Working out all quants on 5 machines" in words
    assert ("best" in words.partition("Working out")[0], "fit-table" in text) == (False, False)
    (url,) = re.findall(r'id="working" hx-get="([^"]+)" hx-trigger="load"', text)
    part = text_of(page.get(unescape(url), headers=PART))
    assert ("fit-table" in part, "<html" in part) == (True, False)


@pytest.mark.usefixtures("few_names")
def test_room_as_it_is_now_decides_where_it_is_asked_for(page: Client) -> None:
    five_nodes()
    free = ticked(page, "model=qwen2.5:14b&context=16384")
    now = ticked(page, "model=qwen2.5:14b&context=16384&room=now")
    assert free["rog"] == "qwen2.5:14b-instruct-q6_K"
    assert now["rog"] == "qwen2.5:14b"
    assert "studio" not in {*free, *now}


def test_one_click_pulls_the_right_quant_to_each(page: Client) -> None:
    rog, tower = card("rog"), card("tower", 12, "NVIDIA GeForce RTX 4070")
    picks = [f"{rog.instances.get().pk}=qwen3:14b-q8_0", f"{tower.instances.get().pk}=qwen3:14b"]
    answer = page.post("/pulls/chosen/", {"pick": picks}, follow=True)
    assert "2 pulls are queued." in text_of(answer)
    jobs = PullJob.objects.values_list("instance__node__slug", "model")
    assert set(jobs) == {("rog", "qwen3:14b-q8_0"), ("tower", "qwen3:14b")}
    page.post("/pulls/chosen/", {"pick": picks})
    assert PullJob.objects.count() == 2


def test_what_is_refused_stops_nothing_else(page: Client) -> None:
    key = card("rog").instances.get().pk
    picks = [f"{key}=qwen3:14b", f"{key}=http://x/y", "999=qwen3:8b", "x=qwen3:8b", "²=q"]
    text = text_of(page.post("/pulls/chosen/", {"pick": picks}, follow=True))
    assert "1 pull is queued." in text
    assert text.count("its machine is no longer there.") == 3
    assert "Leave out what ends with ://" in text
    nothing = page.post("/pulls/chosen/", {"model": "qwen3:14b", "context": "8192"})
    assert nothing.status_code == 422
    assert "Tick at least one quant of one machine." in text_of(nothing)


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("model=qwen3:14b&context=x", "Write the context as a whole number of tokens."),
        ("model=qwen3:14b&context=1", "A context has at least"),
        ("model=qwen3:14b&room=x", "Choose what counts as free."),
        ("model=" + "x" * 400, "No model has so long a name"),
        ("model=gpt-oss:20b-cloud", "runs in Ollama's cloud: there is nothing to pull"),
        ("model=http://x/y", "Leave out what ends with ://"),
    ],
)
def test_bad_input_is_one_line(page: Client, query: str, line: str) -> None:
    response = page.get(f"/pulls/new/?{query}&look=1")
    assert response.status_code == 422
    assert line in unescape(bare(text_of(response)).text)


def test_page_without_a_model_or_a_machine_says_what_to_do(page: Client) -> None:
    assert "Name a model" in shown(page, "")
    assert "No machine yet" in shown(page, "model=qwen3:14b")


def test_button_of_another_page_is_led_here(page: Client) -> None:
    other = {"HX-Request": "true", "HX-Target": "look-button"}
    response = page.get("/pulls/new/?model=qwen3:14b", headers=other)
    assert response.headers["HX-Redirect"] == "/pulls/new/?model=qwen3:14b"
    assert 'id="look-button" href="/pulls/new/"' in text_of(page.get("/pulls/"))


def test_registry_tells_the_files_and_those_that_are_there_do_not_count(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rog = card("rog")
    layers = [
        {"mediaType": MODEL_LAYER, "digest": WEIGHTS, "size": 9 * GIB},
        {"mediaType": "x", "digest": SHARED, "size": 2 * GIB},
    ]
    kept = [[SHARED.removeprefix("sha256:"), 2 * GIB, "x"]]
    Manifest.objects.create(instance=rog.instances.get(), digest="d" * 64, layers=kept)
    with registry(manifest=json.dumps({"layers": layers}).encode()) as (service, asked):
        use(monkeypatch, service)
        before = text_of(page.get("/pulls/new/?model=qwen3:14b&look=all"))
        assert 'look=1" hx-trigger="load"' in before
        assert not asked
        part = page.get("/pulls/new/?model=qwen3:14b&look=1", headers=PART)
        text = bare(text_of(part)).text
        assert "<html" not in text_of(part)
        assert len(asked) == 11
    assert "11.0 GiB as published" in text
    assert "To fetch 9.0 GiB from the internet" in text
    # It is remembered: the registry is gone, and nobody asks it.
    assert "11.0 GiB as published" in shown(page, "model=qwen3:14b")


def test_dead_registry_is_one_line_and_the_catalog_stays(page: Client) -> None:
    card("rog")
    text = shown(page, "model=qwen3:14b&look=1")
    assert text.count("cannot be reached") == 1
    assert "What the catalog knows stands below" in text
    assert "Free card whole on GPU 0" in text
    unknown = page.get("/pulls/new/?model=somebody/thing&look=1", headers=PART)
    assert unknown.status_code == 422
    assert "cannot be reached" in text_of(unknown)


def test_name_that_is_not_published_is_told(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    card("rog")
    with registry(status=404) as (service, _):
        use(monkeypatch, service)
        text = shown(page, "model=qwen3:14b&look=1")
        assert "qwen3:14b is not published: nothing can be pulled under this name." in text
        assert "No other quant of it is known to be published" in text
        assert ticked(page, "model=qwen3:14b") == {}


def say(name: str, state: published.State) -> None:
    """Let a registry have said of a name what a question about it finds."""
    known = published.Published(state=state)
    cache.set(published._key(name), known, 60)


def test_where_what_was_named_is_not_published_nothing_is_offered_but_links_to_what_is(
    page: Client,
) -> None:
    card("rog")
    assert "rog" in ticked(page, "model=qwen3:14b-fp16")
    say("qwen3:14b-fp16", "gone")
    say("qwen3:14b", "there")
    say("qwen3:14b-q8_0", "gone")
    text = text_of(page.get(whole("model=qwen3:14b-fp16&context=16384")))
    assert "qwen3:14b-fp16 is not published: nothing can be pulled" in bare(text).text
    assert 'name="pick"' not in text
    assert "Pull what is ticked" not in text
    note = text.partition("Published instead:")[2].partition("</div>")[0]
    links = [unescape(each) for each in re.findall(r'href="([^"]+)"', note)]
    assert links == ["?model=qwen3%3A14b&context=16384&room=free"]
    assert "ollama pull" not in text
    first = text_of(page.get("/pulls/new/?model=qwen3:14b-fp16"))
    assert "Published instead:" in first


@pytest.mark.parametrize(
    ("look", "words"), [("all", "(not looked up yet)"), ("1", "(registry not reachable)")]
)
def test_name_that_nobody_has_seen_published_says_why(page: Client, look: str, words: str) -> None:
    card("rog")
    text = shown(page, f"model=qwen3:14b&look={look}")
    assert f"hf.co/unsloth/Qwen3-14B-GGUF:Q6_K {words}" in text
    assert " ? " not in text


def test_registry_that_does_not_tell_is_not_called_dead(page: Client) -> None:
    card("rog")
    say("hf.co/unsloth/Qwen3-14B-GGUF:Q6_K", "unknown")
    assert "Q6_K (registry does not tell)" in shown(page, "model=qwen3:14b")


def test_other_computer_gets_its_line_to_copy(page: Client) -> None:
    card("rog")
    text = text_of(page.get("/pulls/new/?model=qwen3:14b"))
    assert "On a computer that is not in this lab: ollama pull qwen3:14b" in bare(text).text
    (copied,) = re.findall(r'data-copy="([^"]+)"', text)
    assert f'id="{copied}" tabindex="0">ollama pull qwen3:14b<' in text
    assert "copy.js" in text


def test_loss_is_told_in_words_that_lead_to_their_meaning(page: Client) -> None:
    card("rog")
    text = text_of(page.get(whole("model=qwen3:14b")))
    table = text.partition('class="fit-table verdicts"')[2].partition("</form>")[0]
    assert 'href="/guide/quality/#measured">Less sure by</a>' in table
    assert '<td data-label="Less sure by">+2.4 %</td>' in table
    assert not re.search(r"\bKL\b|\bppl\b", bare(table).text)


def test_model_that_only_a_registry_knows_is_read_there(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    card("rog")
    assert "Asking where hf.co/someone/tiny:Q4_K_M is published" in shown(
        page, "model=hf.co/someone/tiny:Q4_K_M"
    )
    with registry() as (service, _):
        use(monkeypatch, service)
        text = shown(page, "model=hf.co/someone/tiny:Q4_K_M&look=1")
    assert "Free card whole on GPU 0" in text
    assert "hf.co/someone/tiny:Q8_0" in text


def test_time_is_told_by_pulls_before(page: Client) -> None:
    node = card("rog")
    end = timezone.now()
    PullJob.objects.create(
        instance=node.instances.get(), model="x", state=PullState.INSTALLED, attempt=1,
        total_bytes=10 * GIB, done_bytes=10 * GIB,
        started_at=end - timedelta(seconds=100), finished_at=end,
    )  # fmt: skip
    assert "about 86 s at 102 MiB/s as 1 pull before" in shown(page, "model=qwen3:14b")


def test_queries_do_not_grow_with_the_lab(page: Client) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        install(card(slug), f"{slug}:4b", "Q4_K_M", 3)
        counts.append(count_queries(page, "/pulls/new/?model=qwen3:8b"))
    assert counts[0] == counts[2] <= 26
