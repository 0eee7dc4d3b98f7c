"""What is left in the store when somebody asks a model, and when it is refused."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.domain.errors import LabDashError
from labdash.domain.trying import ask, stop
from labdash.models import InstalledModel, LoadJob, LoadState, Node
from labdash.queries.trying import Run, read_run
from tests.factories import make_installed, make_instance, orders, seen
from workers import wire

PROMPT = " Why is the sky blue?\n"
pytestmark = pytest.mark.django_db


def installed(name: str = "qwen3:8b", *, is_cloud: bool = False, **node: Any) -> InstalledModel:
    return make_installed(make_instance(**node), name, is_cloud=is_cloud)


def put(model: InstalledModel, prompt: str = PROMPT) -> Run:
    return ask(user=1, installed=model, prompt=prompt, now=timezone.now())


def test_the_prompt_waits_for_seconds_under_a_key_of_the_node() -> None:
    model = installed()
    seen()
    run = put(model)
    key = wire.try_prompt_key("rog", run.id)
    assert live.store().get(key) == PROMPT
    assert 0 < live.store().ttl(key) <= 20
    assert 0 < live.store().ttl(wire.try_wish_key("rog", run.id)) <= 20
    assert orders("rog") == [
        {
            "task": "workers.try_out",
            "protocol": 1,
            "node": "rog",
            "try_id": run.id,
            "instance_url": model.instance.url,
            "model": "qwen3:8b",
            "main_gpu": None,
        }
    ]
    assert read_run(run.id, user=1, node="rog") == run


def test_only_the_prompts_own_key_holds_it() -> None:
    model = installed()
    seen()
    put(model)
    store = live.store()
    strings = [key for key in store.scan_iter() if store.type(key) == "string"]
    holding = [key for key in strings if "sky" in str(store.get(key))]
    assert [key.rpartition(":")[2] for key in holding] == ["prompt"]


def test_an_agentless_node_is_asked_by_the_worker_on_the_hub() -> None:
    model = installed(agentless=True)
    seen()
    run = put(model)
    assert run.address == wire.HUB_NODE
    assert orders(wire.HUB_NODE)[0]["node"] == "rog"
    assert live.store().exists(wire.try_prompt_key(wire.HUB_NODE, run.id))


def test_the_gpu_that_was_chosen_when_it_was_loaded_by_hand_goes_with_it() -> None:
    model = installed("mine:latest")
    seen()
    for number, state in enumerate((LoadState.LOADED, LoadState.FAILED)):
        LoadJob.objects.create(
            instance=model.instance, model="mine", wish="load", state=state, main_gpu=number + 1
        )
    put(model)
    assert orders("rog")[0]["main_gpu"] == 1


def test_ids_are_never_the_same_and_long() -> None:
    model = installed()
    seen()
    ids = {put(model).id for _ in range(3)}
    assert len(ids) == 3
    assert {len(each) for each in ids} == {32}


def test_to_stop_takes_the_wish_and_the_prompt_away() -> None:
    model = installed()
    seen()
    run = put(model)
    stop(run)
    assert not list(live.store().scan_iter(match=f"node:rog:try:{run.id}:*"))


@pytest.mark.parametrize("prompt", ["", " \n", "x" * 4001])
def test_a_prompt_without_words_or_of_too_many_is_refused(prompt: str) -> None:
    model = installed()
    seen()
    with pytest.raises(LabDashError):
        put(model, prompt)
    assert orders("rog") == []


@pytest.mark.parametrize(
    ("age_s", "fields", "said"),
    [
        (None, {}, "rog has never reported: nothing can be asked there yet."),
        (7200, {}, "rog has been silent for 2 h: nothing can be asked there."),
        (0, {"paused": True}, "rog is paused: resume it first."),
    ],
)
def test_a_node_that_cannot_be_asked_is_told(
    age_s: float | None, fields: dict[str, Any], said: str
) -> None:
    model = installed(**fields)
    if age_s is not None:
        seen(age_s=age_s)
        Node.objects.update(last_seen_at=timezone.now() - timedelta(seconds=age_s))
    with pytest.raises(LabDashError, match=said):
        put(model)
    assert orders("rog") == []


def test_what_does_not_run_there_is_refused() -> None:
    seen()
    for model in (installed("big:cloud", is_cloud=True), installed("$(id)", slug="rog-2")):
        seen(model.instance.node.slug)
        with pytest.raises(LabDashError, match="does not run on"):
            put(model)


def test_a_store_that_is_down_is_told_in_a_line(dead_store: None) -> None:
    model = installed(last_seen_at=timezone.now())
    with pytest.raises(LabDashError, match="The store does not answer: try again in a moment"):
        put(model)
