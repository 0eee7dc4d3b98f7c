"""What if: the plan for the lab as it is beside that for it as it could be."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from labdash.domain import planning
from labdash.models import Deployment, InstalledModel
from labdash.queries.lab import read_lab
from labdash.views.planning import plan_now
from tests.labdash.views.polling import poll, text_of
from tests.labdash.views.test_overview import bare
from tests.labdash.views.test_planner import lab, planned, solved, want

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_search_left() -> Iterator[None]:
    yield
    planning.stop()


def asked(page: Client, **fields: str) -> str:
    """Return what the page says, once both plans are there."""
    return bare(planned(page, f"/planner/what-if/?{urlencode(fields)}")).text


def test_page_begins_with_nothing_asked(page: Client) -> None:
    lab()
    want()
    assert "Nothing is asked yet" in bare(text_of(page.get("/planner/what-if/")))


def test_another_card_lets_in_what_was_refused(page: Client) -> None:
    lab(gib=8)
    want("big", model="qwen3:14b", ctx_floor=16384, ctx_wish=16384)
    shown = asked(page, card="RTX 3090", card_node="rog")
    assert "With another RTX 3090 in rog" in shown
    assert "1 served instead of 0, 1 more served." in shown
    assert "big refused Q4_K_M at 16k on GPU 1 of rog" in shown
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"more": "chat", "more_ctx": "32k"}, "With at least 32k for chat"),
        ({"instance": "rog/ollama", "kv_type": "q8_0"}, "With a q8_0 KV cache on rog/ollama"),
        ({"instance": "rog/ollama", "slots": "2"}, "With 2 slots on rog/ollama"),
        ({"asleep": "rog"}, "With rog asleep"),
        ({"model": "llama3.2:1b", "model_ctx": "4k"}, "With llama3.2:1b added"),
    ],
)
def test_each_question_is_answered_beside_now(
    page: Client, fields: dict[str, str], said: str
) -> None:
    lab()
    want()
    shown = asked(page, **fields)
    assert said in shown
    assert "chat Q4_K_M at 8k on GPU 0 of rog" in shown
    assert ("chat refused" in shown) is False


def test_node_asleep_refuses_what_ran_there(page: Client) -> None:
    lab()
    want()
    shown = asked(page, asleep="rog")
    assert "chat Q4_K_M at 8k on GPU 0 of rog" in shown
    assert "refused chat : Nothing can be planned on rog (it sleeps)." in shown


def test_model_that_only_the_lab_knows_can_be_added(page: Client) -> None:
    lab()
    want()
    InstalledModel.objects.update(name="my-chat:latest")
    shown = asked(page, model="my-chat")
    assert "my-chat not asked for Q4_K_M at 8k on GPU 0 of rog" in shown


def test_questions_can_be_asked_together(page: Client) -> None:
    lab()
    want()
    shown = asked(page, card="RTX 4090", card_node="rog", model="qwen3:14b")
    assert "With another RTX 4090 in rog and qwen3:14b added" in shown
    assert "2 served instead of 1" in shown


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"card": "Voodoo 9", "card_node": "rog"}, "The catalog has no card named Voodoo 9."),
        ({"card": "rtx 309", "card_node": "rog"}, "Did you mean RTX 3090"),
        ({"card": "Mac 16 GB", "card_node": "rog"}, "The catalog has no card named Mac 16 GB."),
        ({"card": "2 x 3090", "card_node": "rog"}, "The catalog has no card named 2 x 3090."),
        ({"card": "8gb", "card_node": "rog"}, "The catalog has no card named 8gb."),
        ({"card": "RTX 3090"}, "Choose the machine that gets it."),
        ({"more": "chat"}, "Write how much context."),
        ({"more": "chat", "more_ctx": "lots"}, "Write the context as a number of tokens"),
        ({"instance": "rog/ollama"}, "Choose a KV cache, or write a number of slots."),
        ({"asleep": "attic"}, "no longer there"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"model": "qwen3:8b", "model_quant": "Q99"}, "There is no such quant"),
        ({"instance": "rog/ollama", "kv_type": "q9"}, "There is no such type"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    page: Client, fields: dict[str, str], said: str
) -> None:
    lab()
    want()
    planned(page)
    response = page.get(f"/planner/what-if/?{urlencode(fields)}")
    assert response.status_code == 422
    assert said in text_of(response)


def test_poll_answers_204_once_both_are_the_best(page: Client) -> None:
    lab()
    want()
    shown = solved(page, "/planner/what-if/?asleep=rog")
    assert poll(page, shown).status_code == 204


def test_no_plan_of_before_stands_beside_what_is_asked(page: Client) -> None:
    lab()
    want()
    solved(page)
    want("big", model="qwen3:14b")
    shown = plan_now(read_lab(now=timezone.now()), wait_s=0, or_old=False)
    assert shown.lab is not None
    assert [each.name for each in shown.lab.deployments] == ["big", "chat"]
