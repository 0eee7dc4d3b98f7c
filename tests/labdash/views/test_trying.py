"""The page on which a model is tried."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labdash import live
from labdash.models import InstalledModel
from tests.factories import loaded, make_installed, make_instance, ollama, orders, seen
from tests.labdash.queries.test_trying import write
from tests.labdash.views.polling import text_of
from workers.wire import TryBegan, TryEnd, TryGpu, TryPlace, TryText, try_wish_key

ASK = "/nodes/rog/try/ask/"
HTMX = {"HX-Request": "true", "HX-Target": "answer"}
EVIL = "</div><script>alert(1)</script><b hx-get='/'>"
pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> InstalledModel:
    model = make_installed(make_instance(), "qwen3:8b")
    make_installed(model.instance, "gemma3:4b")
    seen(instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    return model


def ask(page: Client, model: InstalledModel, **fields: Any) -> Any:
    body = {"model": model.pk, "prompt": "Why is the sky blue?", **fields}
    return page.post(ASK, body, headers=HTMX)


def run_of(answer: Any) -> str:
    """Return the id of the try that an answer began."""
    found = re.search(r'name="before" value="([0-9a-f]{32})"', text_of(answer))
    assert found
    return found.group(1)


def part(page: Client, run_id: str, at: int = 0, phase: str = "waiting") -> Any:
    url = f"/nodes/rog/try/{run_id}/?at={at}&phase={phase}"
    return page.get(url, headers={"HX-Request": "true", "HX-Target": f"ear-{run_id[:8]}"})


def next_at(answer: Any) -> int:
    found = re.search(r"\?at=(\d+)&amp;phase=", text_of(answer))
    assert found
    return int(found.group(1))


def test_page_offers_what_is_installed_and_says_what_asking_does(
    page: Client, model: InstalledModel
) -> None:
    shown = text_of(page.get(f"/nodes/rog/try/?model={model.pk}"))
    assert re.search(rf'value="{model.pk}" selected>qwen3:8b · in memory<', shown)
    assert ">gemma3:4b<" in shown
    assert "that may take minutes and push another one out" in shown
    assert "kept nowhere" in shown


def test_page_of_a_node_without_models_says_so(page: Client) -> None:
    make_installed(make_instance("rog"), "big:cloud", is_cloud=True)
    shown = text_of(page.get("/nodes/rog/try/"))
    assert "No model is installed on rog yet." in shown
    assert "and so not tried here: big:cloud." in shown
    assert page.get("/nodes/attic/try/").status_code == 404


def test_answer_is_appended_in_parts_and_ends_with_its_figures(
    page: Client, model: InstalledModel
) -> None:
    run_id = run_of(ask(page, model))
    assert part(page, run_id).status_code == 204
    write(TryBegan(was_loaded=True), run_id=run_id)
    begun = part(page, run_id)
    assert "reading the prompt…" in text_of(begun)
    write(TryText(text="Because of "), run_id=run_id)
    first = part(page, run_id, next_at(begun), "reading")
    assert f'<div hx-swap-oob="beforeend:#text-{run_id[:8]}">Because of </div>' in text_of(first)
    write(TryText(text="the air."), run_id=run_id)
    second = part(page, run_id, next_at(first), "answering")
    assert "the air." in text_of(second)
    assert "Because of" not in text_of(second)
    assert "answering" not in text_of(second).replace("phase=answering", "")
    gpu = TryGpu(index=1, name="RTX 3090", used_bytes=6 * 2**30)
    end = TryEnd(outcome="answered", answer_tokens=96, answer_s=2.0, place=TryPlace(gpus=(gpu,)))
    write(end, run_id=run_id)
    last = text_of(part(page, run_id, next_at(second), "answering"))
    assert "48.0 tokens/s" in last
    assert "It ran on: GPU 1" in last
    assert "every 300ms" not in last
    assert "Stop" not in last


def test_what_a_model_thinks_goes_to_a_place_of_its_own(
    page: Client, model: InstalledModel
) -> None:
    run_id = run_of(ask(page, model))
    write(TryText(text="Hm.", thinking=True), TryText(text="Air."), run_id=run_id)
    shown = text_of(part(page, run_id))
    assert f'"beforeend:#thought-{run_id[:8]}">Hm.</div>' in shown
    assert f'"beforeend:#text-{run_id[:8]}">Air.</div>' in shown


def test_whatever_a_node_answers_is_text(page: Client, model: InstalledModel) -> None:
    run_id = run_of(ask(page, model))
    end = TryEnd(outcome="failed", reason=EVIL, place=TryPlace(gpus=(TryGpu(index=0, name=EVIL),)))
    write(TryText(text=EVIL, thinking=True), TryText(text=EVIL), end, run_id=run_id)
    for shown in (part(page, run_id), page.get(f"/nodes/rog/try/?run={run_id}")):
        assert "<script>alert" not in text_of(shown)
        assert "<b hx-get" not in text_of(shown)
        assert text_of(shown).count("&lt;script&gt;") == 4


def test_a_try_is_shown_to_who_asked_and_to_nobody_else(
    page: Client, model: InstalledModel
) -> None:
    run_id = run_of(ask(page, model))
    write(TryText(text="Because"), run_id=run_id)
    other = Client()
    other.force_login(User.objects.create_user("guest", password="x"))
    for shown in (part(other, run_id), other.get(f"/nodes/rog/try/?run={run_id}")):
        assert "Because" not in text_of(shown)
        assert "This try is over" in text_of(shown)
    other.post(f"/nodes/rog/try/{run_id}/stop/")
    assert live.store().exists(try_wish_key("rog", run_id))
    assert "Because" in text_of(part(page, run_id))


@pytest.mark.parametrize("address", ["x/?at=0", f"{'a' * 32}/", f"{'a' * 32}/?at=-1", "*/?at=0"])
def test_an_address_of_no_try_is_none(page: Client, model: InstalledModel, address: str) -> None:
    assert page.get(f"/nodes/rog/try/{address}").status_code == 404


def test_stop_takes_the_wish_away(page: Client, model: InstalledModel) -> None:
    run_id = run_of(ask(page, model))
    stopped = page.post(f"/nodes/rog/try/{run_id}/stop/", headers=HTMX)
    assert stopped.status_code == 204
    assert not live.store().exists(try_wish_key("rog", run_id))
    assert "Stopped before it began." in text_of(part(page, run_id))


def test_to_ask_again_leaves_the_try_before(page: Client, model: InstalledModel) -> None:
    first = run_of(ask(page, model))
    second = run_of(ask(page, model, before=first))
    assert not live.store().exists(try_wish_key("rog", first))
    assert live.store().exists(try_wish_key("rog", second))
    assert len(orders("rog")) == 2


def test_without_scripts_the_page_is_loaded_with_the_answer_so_far(
    page: Client, model: InstalledModel
) -> None:
    response = page.post(ASK, {"model": model.pk, "prompt": "Why?"})
    where = response.headers["Location"]
    write(TryText(text="Because"), run_id=where.partition("run=")[2])
    assert "Because" in text_of(page.get(where))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ""}, "Write something to ask."),
        ({"prompt": "x" * 4001}, "at most 4000 characters"),
        ({"model": 999}, "This model is no longer installed there: reload the page."),
    ],
)
def test_what_cannot_be_asked_is_told_in_place(
    page: Client, model: InstalledModel, fields: dict[str, Any], said: str
) -> None:
    for headers in (HTMX, {}):
        body = {"model": model.pk, "prompt": "Why?", **fields}
        response = page.post(ASK, body, headers=headers)
        assert response.status_code == 422
        assert said in text_of(response)
    assert orders("rog") == []


def test_a_model_of_another_node_is_not_asked_here(page: Client, model: InstalledModel) -> None:
    other = make_installed(make_instance("tower"), "phi4:14b")
    assert ask(page, other).status_code == 422


def test_a_store_that_is_down_is_told_and_waited_for(
    page: Client, model: InstalledModel, dead_store: None
) -> None:
    assert "The store does not answer: try again" in text_of(ask(page, model))
    run_id = "a" * 32
    shown = part(page, run_id, 7, "answering")
    assert "the store does not answer: waiting for it" in text_of(shown)
    assert next_at(shown) == 7
    assert part(page, run_id, 7, "away").status_code == 204


def test_a_part_of_a_long_answer_is_small(page: Client, model: InstalledModel) -> None:
    run_id = run_of(ask(page, model))
    write(*[TryText(text="word " * 100)] * 40, run_id=run_id)
    first = part(page, run_id)
    write(TryText(text="one more word"), run_id=run_id)
    more = part(page, run_id, next_at(first), "answering")
    assert len(more.content) < 500
