"""The chapters that try models on machines: the reader's own come first, bad input gets a line."""

import pytest
from django.test import Client

from labdash.models import Membership
from tests.factories import make_node, ollama, seen
from tests.labdash.views.polling import text_of
from tests.labdash.views.sample_lab import add, gpu, reading, sample
from tests.labdash.views.test_overview import bare

pytestmark = pytest.mark.django_db
PART = {"HX-Request": "true", "HX-Target": "answer"}


def two_machines() -> None:
    add(sample("rog", [gpu("GPU-rog", 0, "NVIDIA GeForce RTX 3090", 24)], [reading()]))
    add(sample("bare", [], [reading()]))


def test_own_machines_come_first_and_one_is_looked_at_closer(page: Client) -> None:
    two_machines()
    asked = {"at": "rog", "model": "qwen3:32b"}
    text = bare(text_of(page.get("/guide/hardware/", asked))).text
    table = text[text.index("Runs well") :]
    assert table.index("rog") < table.index("RTX 4060, 8 GB")
    assert "rog RTX 3090 at 8k" in text
    assert "what a file of qwen3:32b takes of rog" in text


def test_every_row_ends_in_an_act(page: Client) -> None:
    two_machines()
    for chapter in ("hardware", "one-model"):
        text = text_of(page.get(f"/guide/{chapter}/"))
        rows = [row for body in text.split("<tbody>")[1:] for row in _rows(body)]
        assert rows
        assert all('class="btn' in row for row in rows)


def _rows(body: str) -> list[str]:
    return body.partition("</tbody>")[0].split("</tr>")[:-1]


def test_other_machine_renews_what_hangs_on_it_alone(page: Client) -> None:
    headers = {**PART, "HX-Target": "machine"}
    part = text_of(page.get("/guide/hardware/?at=rtx-3060&context=16384", headers=headers))
    assert "RTX 3060, 12 GB at 16k" in bare(part).text
    assert "Reduce context before quant" in part
    assert "Runs well" not in part
    refused = page.get("/guide/hardware/?model=no-such-model", headers=headers)
    assert refused.status_code == 422
    assert "The catalog has no model no-such-model" in bare(text_of(refused)).text


def test_model_that_was_asked_for_is_drawn_and_none_is_put_in_its_place(page: Client) -> None:
    text = text_of(page.get("/guide/hardware/?at=rtx-5090&model=qwen3:4b"))
    assert "what a file of qwen3:4b takes of RTX 5090" in bare(text).text
    assert 'value="rtx-5090" selected' in text
    assert 'value="qwen3:4b"' in text
    assert 'name="model" value=' not in text_of(page.get("/guide/hardware/?at=rtx-5090"))


def test_context_that_was_asked_for_by_htmx_is_reckoned(page: Client) -> None:
    part = text_of(page.get("/guide/hardware/?context=16384&at=rtx-3060", headers=PART))
    assert "fits whole at 16k" in part
    assert "<html" not in part


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("hardware/?model=no-such-model", "The catalog has no model no-such-model"),
        ("hardware/?context=7", "There is no such context"),
        ("one-model/?model=no-such-model", "The catalog has no model no-such-model"),
        (f"one-model/?model={'x' * 10_000}", "Write the name of a model, at most 350 characters"),
        ("one-model/?model=granite4:small-h", "Will it fit? also reads GGUF files"),
        ("start/?at=gone", "There is no such machine any more"),
        ("start/?quant=Q9_9", "There is no such quant"),
    ],
)
def test_bad_input_gets_one_line(page: Client, asked: str, said: str) -> None:
    response = page.get(f"/guide/{asked}")
    assert response.status_code == 422
    assert said in bare(text_of(response)).text


def test_start_names_the_servers_of_the_lab(page: Client) -> None:
    node = make_node("rog")
    Membership.objects.create(node=node, password_hash="x", address="192.168.1.20")
    seen("rog", instances=(ollama(listens="network"),))
    text = text_of(page.get("/guide/start/?at=rog"))
    assert ">http://192.168.1.20:11434/v1<" in text
    assert "export OLLAMA_HOST=http://192.168.1.20:11434\nollama pull" in text
    assert "not run by LabDash" in text


def test_nothing_is_pulled_here_for_a_machine_that_is_not_of_the_lab(page: Client) -> None:
    text = text_of(page.get("/guide/hardware/"))
    row = next(each for each in text.split("<tr>") if "RTX 4060, 8 GB" in each and "acts" in each)
    assert "ollama pull hf.co/unsloth/Qwen3-8B-GGUF:Q5_K_M" in row
    assert "/pulls/new/" not in row


def test_model_that_fits_and_is_slow_says_so(page: Client) -> None:
    text = text_of(page.get("/guide/hardware/"))
    row = next(each for each in text.split("<tr>") if "Mini-PC, 32 GB, no GPU" in each)
    assert ", slow" in row
