"""Will it fit? A name, settings and a lab in; verdicts, a table, or one helpful line out."""

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from django.test import Client

from labdash.models import Node, Variant
from labdash.sources.ranges import Service
from labdash.sources.registry import PREFIXES
from tests.labdash.sources.test_registry import registry
from tests.labdash.views.polling import count_queries, text_of
from tests.labdash.views.sample_lab import add, five_nodes, gpu, install, reading, sample
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "answer"}


def shown(client: Client, **asked: str) -> tuple[int, str]:
    """Return the status of the page and its words."""
    response = client.get("/fit/?" + urlencode(asked))
    return response.status_code, bare(text_of(response)).text


def empty_card(slug: str = "rog", name: str = "NVIDIA GeForce RTX 3090", gib: float = 24) -> None:
    add(sample(slug, [gpu(f"GPU-{slug}", 0, name, gib)], [reading()]))


def test_page_without_a_model_says_what_to_do(page: Client) -> None:
    status, text = shown(page)
    assert status == 200
    assert "Choose a model" in text


def test_model_that_fits_whole_says_how_long_a_context_and_how_fast(page: Client) -> None:
    empty_card()
    status, text = shown(page, model="qwen3:8b", context="8192")
    assert status == 200
    assert "Fits whole in 1 of 1 place." in text
    assert "fits whole up to 40k" in text
    assert re.search(r"\d+ to \d+ tokens/s", text)


def test_model_that_does_not_fit_says_how_many_layers_do_and_what_is_short(page: Client) -> None:
    empty_card(name="NVIDIA GeForce RTX 4070", gib=12)
    _, text = shown(page, model="qwen3:32b", context="8192")
    assert re.search(r"\d\d of 65 layers", text)
    assert re.search(r"[\d.]+ GiB short of whole", text)


def test_table_tells_each_quant_at_each_context_in_words(page: Client) -> None:
    empty_card()
    response = page.get("/fit/?model=qwen3:32b&context=8192")
    table = text_of(response).partition('class="fit-table"')[2].partition("</table>")[0]
    assert set(re.findall(r'class="is-(\w+)"', table)) == {"whole", "part", "no"}
    assert all(word in bare(table) for word in ("Q4_K_M", "32k", "fits", "of 65", "GiB short"))


def test_part_of_a_page_is_the_answer_alone(page: Client) -> None:
    empty_card()
    part = text_of(page.get("/fit/?model=qwen3:8b&context=8192&top=40960", headers=PART))
    assert "fits whole" in part
    assert "<form" not in part
    assert 'id="context-field"' not in part
    assert len(part) < 16_000


def test_another_model_brings_its_own_slider(page: Client) -> None:
    empty_card()
    part = text_of(page.get("/fit/?model=llama3.1:8b&context=8192&top=40960", headers=PART))
    assert 'id="context-field" hx-swap-oob="true"' in part
    assert 'max="131072"' in part


def test_silent_node_is_unknown_and_never_full_or_empty(page: Client) -> None:
    report = sample("rog", [gpu("a", 0, "NVIDIA GeForce RTX 3090", 24)], [reading()])
    add(report, age_s=7200)
    _, text = shown(page, model="qwen3:8b")
    assert "silent for 2 h: what is free is not known: reckoned as if nothing else were" in text


def test_unknown_card_has_no_speed(page: Client) -> None:
    empty_card(name="Voodoo 9")
    _, text = shown(page, model="qwen3:8b")
    assert "speed unknown: this GPU's bandwidth is not in the catalog" in text
    assert "tokens/s" not in text


def test_all_of_a_lab_is_answered(page: Client) -> None:
    five_nodes()
    status, text = shown(page, model="qwen3:32b", context="16384")
    assert status == 200
    assert "GPU 0 + GPU 1" in text
    assert all(slug in text for slug in ("rog", "tower", "oldie", "minibox", "studio"))


def test_models_of_ollama_can_be_reckoned_away(page: Client) -> None:
    five_nodes()
    _, now = shown(page, model="qwen3:14b")
    _, unloaded = shown(page, model="qwen3:14b", room="unloaded")
    assert "gemma3:27b 19.6 GiB" in now
    assert "gemma3:27b 19.6 GiB" not in unloaded
    assert "whisper-server 2.5 GiB" in unloaded


def test_installed_model_of_another_name_is_known_by_its_family(page: Client) -> None:
    five_nodes()
    _, text = shown(page, model="my-coder")
    assert "Qwen2.5-Coder-14B-Instruct · Q5_K_M" in text
    assert "installed on rog, whose node does not tell its tensors" in text


@pytest.mark.parametrize(
    ("model", "part", "source"),
    [
        ("gemma3:4b", "reads images 1.3 GiB", "images is 0.8 GiB, as published; with room for"),
        ("qwen2.5vl:7b", "reads images, about 1.8 GiB", "about 1.3 GiB, reckoned from"),
    ],
)
def test_what_reads_images_is_a_part_of_its_own_with_its_source(
    page: Client, model: str, part: str, source: str
) -> None:
    empty_card()
    _, text = shown(page, model=model)
    assert part in text
    assert source in text
    _, text = shown(page, model="qwen3:8b")
    assert "images" not in text


def test_model_that_is_installed_without_what_reads_images_says_so(page: Client) -> None:
    empty_card()
    row = install(Node.objects.get(), "gemma3:4b", "Q4_K_M", 2.5)
    Variant.objects.filter(installed_models=row).update(vision=False)
    _, text = shown(page, model="gemma3:4b")
    assert "As it is installed in the lab it reads no images" in text
    assert "reads images" not in text


def title_of_table(text: str) -> str:
    return bare(text.partition('id="quants-title">')[2].partition("</h2>")[0]).text


def test_hardware_that_was_described_comes_first_with_the_table(page: Client) -> None:
    empty_card()
    text = text_of(page.get("/fit/?model=qwen3:8b&card=4060+8gb"))
    order = [text.index(part) for part in ('id="described-title"', 'id="quants"', 'id="node-1"')]
    assert order == sorted(order)
    assert title_of_table(text) == "Quants and contexts on RTX 4060, 8 GB"
    words = bare(text).text
    assert re.search(r"RTX 4060, 8 GB: fits whole up to [\dk,]+\. In the lab: fits whole", words)
    assert "fits whole in 1 of 1 place." in words
    assert "an empty card that is not in the lab" in words
    assert "At 8k the best that fits whole is Q5_K_M" in words


def test_described_hardware_takes_the_table_until_a_place_of_the_lab_is_chosen(
    page: Client,
) -> None:
    empty_card()
    asked = "/fit/?model=qwen3:8b&card={}&was={}&at=rog/0"
    chosen = text_of(page.get(asked.format("RTX+4060", "RTX+4060")))
    assert title_of_table(chosen) == "Quants and contexts on GPU of rog"
    other = text_of(page.get(asked.format("Mac+16+GB", "RTX+4060")))
    assert title_of_table(other) == "Quants and contexts on Mac, 16 GB"
    assert 'name="at" id="at" value=""' in other


def test_place_that_is_gone_is_told(page: Client) -> None:
    empty_card()
    assert "not there any more" in shown(page, model="qwen3:8b", at="away/0")[1]
    assert "not there any more" not in shown(page, model="qwen3:8b", at="rog/0")[1]


def test_hardware_that_is_not_understood_gets_a_line_and_the_lab_its_answer(page: Client) -> None:
    empty_card()
    status, text = shown(page, model="qwen3:8b", card="Voodoo 9")
    assert status == 200
    assert "Voodoo 9: not known, see below. Fits whole in 1 of 1 place." in text
    assert "Not known: Voodoo 9. Write a graphics card as RTX 4060" in text


def test_hardware_without_a_model_is_not_passed_over(page: Client) -> None:
    assert "Not known: Voodoo 9." in shown(page, card="Voodoo 9")[1]
    text = shown(page, card="4060")[1]
    assert "RTX 4060, 8 GB: choose a model." in text
    assert "RTX 4060, 8 GB is tried first then." in text


def test_machine_without_a_gpu_tells_the_ram_that_its_speed_follows_from(page: Client) -> None:
    _, text = shown(page, model="qwen3:8b", card="mini-pc")
    assert "Mini-PC, 32 GB, no GPU: fits in RAM up to" in text
    assert "(RAM of 26 to 90 GB/s)" in text
    assert "There is no node yet" not in text


@pytest.mark.parametrize(("model", "is_slow"), [("qwen3:32b", True), ("llama3.2:1b", False)])
def test_what_is_slower_than_one_reads_is_told_so(page: Client, model: str, is_slow: bool) -> None:
    _, text = shown(page, model=model, card="mini-pc")
    assert "fits in RAM" in text
    assert ("slower than one reads" in text) == is_slow


@pytest.mark.parametrize(
    ("model", "where"), [("qwen3:8b", "in memory"), ("qwen3:32b", "on the GPU")]
)
def test_sum_in_memory_is_that_of_its_parts(page: Client, model: str, where: str) -> None:
    _, text = shown(page, model=model, card="RTX 4060")
    said = re.search(rf"{where} ([\d.]+) GiB : ((?: ?[a-zKV ]+ [\d.]+ GiB)+)", text)
    assert said
    parts = re.findall(r"([\d.]+) GiB", said[2])
    assert float(said[1]) == pytest.approx(sum(map(float, parts)), abs=0.05 * len(parts))


def test_what_does_not_fit_tells_no_sum_of_what_would_be_loaded(page: Client) -> None:
    _, text = shown(page, model="qwen3:8b", card="Mac 8 GB")
    assert "Mac, 8 GB: does not fit," in text
    assert "in memory" not in text.partition("Not in this lab")[2].partition("Quants and")[0]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"model": "no-such-family:7b"}, "The catalog has no model no-such-family"),
        ({"model": "qwen3:9000b"}, "The catalog has no qwen3:9000b; it has"),
        ({"model": "/etc/passwd"}, "The catalog has no model /etc/passwd"),
        ({"model": "../models/secret.gguf"}, "The catalog has no model"),
        ({"model": "qwen3:8b", "context": "-1"}, "A context has at least 256 tokens."),
        ({"model": "qwen3:8b", "context": "many"}, "Write the context as a whole number"),
        ({"model": "qwen3:8b", "context": "9" * 30}, "A context has at most 16,777,216 tokens."),
        ({"model": "qwen3:8b", "kv": "q9_9"}, "llama.cpp has no such type of KV cache"),
        ({"model": "qwen3:8b", "kv": "q8_0", "flash": "off"}, "flash attention"),
        ({"model": "qwen3:8b", "quant": "Q9"}, "There is no such quant"),
        ({"model": "qwen3:8b", "slots": "0"}, "A server has at least one slot."),
        ({"model": "qwen3:8b", "batch": "7"}, "Choose a batch of the list."),
        ({"model": "x" * 999}, "at most 350 characters"),
        ({"facts": "AAAA"}, "What this page kept of the file is damaged"),
        ({"model": "qwen3:8b", "card": "x" * 999}, "Describe the hardware in at most 100"),
        ({"facts": "\x00"}, "Null characters are not allowed."),
    ],
)
def test_bad_input_gets_one_line_and_loses_nothing(
    page: Client, asked: dict[str, str], line: str
) -> None:
    empty_card()
    response = page.get("/fit/?" + urlencode(asked))
    text = unescape(text_of(response))
    assert response.status_code == 422
    (note,) = re.findall(r'role="alert"><div>(.*?)</div>', text)
    assert line in note
    assert "\n" not in note
    for name in ("model", "slots"):
        if name in asked:
            assert f'value="{asked[name]}"' in text


def test_queries_do_not_grow_with_the_lab(page: Client) -> None:
    counts = []
    for slug in ("ant", "bee", "cat"):
        node = add(sample(slug, [gpu(slug, 0, "NVIDIA GeForce RTX 3090", 24)], [reading()]))
        install(node, f"{slug}:4b", "Q4_K_M", 3)
        counts.append(count_queries(page, "/fit/?model=qwen3:8b"))
    assert counts[0] == counts[2] <= 15


def test_model_that_is_not_known_is_looked_for_only_when_asked(page: Client) -> None:
    empty_card()
    _, typed = shown(page, model="somebody/model")
    assert "Press Ask to look for it where it is published" in typed
    status, asked = shown(page, model="hf.co/not a name", go="1")
    assert status == 422
    assert "is no name of a model: write qwen3:14b or hf.co/user/repository:Q4_K_M" in asked


def test_published_model_is_read_once_for_all_questions(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_card()
    with registry() as (service, asked):
        monkeypatch.setitem(PREFIXES, "hf.co/", service)
        for context in ("2048", "4096"):
            status, text = shown(page, model="hf.co/someone/tiny:Q4_K_M", go="1", context=context)
            assert (status, "Fits whole in 1 of 1 place." in text) == (200, True)
            # Its projector is a file of 77 bytes: what is left is room for an image.
            assert "reads images 0.5 GiB" in text
    assert sum("/manifests/" in each for each in asked) == 1


def test_name_of_a_service_at_the_begin_of_a_line_stays_as_it_is(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_card()
    with registry() as (service, _):
        monkeypatch.setitem(PREFIXES, "hf.co/", service)
    status, text = shown(page, model="hf.co/someone/away", go="1")
    assert status == 422
    assert f"{service.name} cannot be reached: without internet" in text
    monkeypatch.setitem(PREFIXES, "hf.co/", Service("http://localhost:1", ()))
    assert "localhost:1 cannot be reached" in shown(page, model="hf.co/someone/gone", go="1")[1]


def test_what_the_engine_keeps_free_is_named(page: Client) -> None:
    empty_card()
    _, text = shown(page, model="qwen3:8b")
    assert "1.0 GiB kept free by the engine" in text
