"""How an answer stands, by what its node's worker wrote, whatever that is."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labdash import live
from labdash.queries.trying import (
    CUT_BYTES,
    OVER,
    READ_BYTES,
    STRANGE,
    Part,
    Run,
    over,
    read_choices,
    read_part,
    read_run,
    run_key,
)
from tests.factories import loaded, make_installed, make_instance, ollama, seen
from workers.wire import TryBegan, TryEnd, TryText, try_answer_key, try_wish_key

ID = "ab" * 16


def make_run(*, age_s: float = 1, **fields: Any) -> Run:
    """Leave a try of user 1 that began so long ago."""
    values = {
        "id": ID,
        "user": 1,
        "node": "rog",
        "address": "rog",
        "instance": "ollama",
        "model": "qwen3:8b",
        "asked_at": timezone.now() - timedelta(seconds=age_s),
        **fields,
    }
    run = Run.model_validate(values)
    live.store().set(run_key(run.id), run.model_dump_json())
    live.store().set(try_wish_key(run.address, run.id), 1, ex=2)
    return run


def write(*lines: Any, run_id: str = ID) -> str:
    """Let the worker have written so."""
    text = "".join(
        f"{line if isinstance(line, str) else json.dumps(line.model_dump(mode='json'))}\n"
        for line in lines
    )
    live.store().append(try_answer_key("rog", run_id), text)
    return text


def read(run: Run, at: int = 0) -> Part:
    return read_part(run, at=at, now=timezone.now())


def reason(part: Part) -> str:
    """Return why an answer failed."""
    assert part.end
    assert part.end.outcome == "failed"
    return str(part.end.reason)


def test_an_answer_is_read_in_parts_as_it_comes() -> None:
    run = make_run()
    assert read(run) == Part(at=0)
    text = write(TryBegan())
    assert (read(run).at, read(run).phase) == (len(text), "waiting")
    text += write(TryBegan(was_loaded=False))
    first = read(run)
    assert (first.at, first.phase, first.text) == (len(text), "loading", "")
    assert read(run, first.at) == Part(at=first.at)
    text += write(TryText(text="Hm. ", thinking=True))
    second = read(run, first.at)
    assert (second.thought, second.text, second.phase) == ("Hm. ", "", "thinking")
    text += write(TryText(text="Blå <b>\n"), TryText(text="sky"), TryEnd(outcome="answered"))
    last = read(run, second.at)
    assert (last.at, last.text, last.phase) == (len(text), "Blå <b>\nsky", "ended")
    assert last.end == TryEnd(outcome="answered")


def test_a_line_that_is_half_written_waits_for_its_other_half() -> None:
    run = make_run()
    text = write(TryText(text="one"))
    live.store().append(try_answer_key("rog", ID), '{"kind": "te')
    assert read(run).at == len(text)
    live.store().append(try_answer_key("rog", ID), 'xt", "text": "two"}\n')
    assert read(run, len(text)).text == "two"


def test_who_looks_keeps_the_wish_alive() -> None:
    run = make_run()
    read(run)
    assert live.store().ttl(try_wish_key("rog", ID)) > 5


def test_an_order_that_nobody_takes_up_ends() -> None:
    assert read(make_run(age_s=15)).end is None
    assert "did not take it up within 20 s" in reason(read(make_run(age_s=21)))


def test_a_try_that_was_stopped_before_it_began_ends() -> None:
    run = make_run()
    live.store().delete(try_wish_key("rog", ID))
    assert reason(read(run)) == "Stopped before it began."


def test_a_worker_that_dies_in_the_middle_ends_the_answer() -> None:
    run = make_run()
    write(TryText(text="one"))
    part = read(run)
    live.store().delete(try_answer_key("rog", ID))
    assert (
        reason(read(run, part.at)) == "The worker of rog went silent in the middle of the answer."
    )


def test_an_answer_without_an_end_ends() -> None:
    run = make_run(age_s=700)
    text = write(TryText(text="one"))
    assert reason(read(run, len(text))) == "The answer does not come to its end."


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[" * 60_000,
        '{"kind": "other"}',
        '{"kind": "text", "text": 7}',
        '{"kind": "end", "outcome": "won"}',
        "null",
        "7" * 5000,
        "\N{SNOWMAN}",
        "x" * 70_000,
        "\x00" * 100,
    ],
)
def test_what_a_hostile_worker_writes_ends_the_try(line: str) -> None:
    run = make_run()
    write(line)
    assert reason(read(run)) == STRANGE


def test_bytes_and_kinds_that_are_no_text_end_the_try() -> None:
    run = make_run()
    key = try_answer_key("rog", ID)
    live.store().set(key, b"\xff\xfe\n")
    assert reason(read(run)) == STRANGE
    live.store().delete(key)
    live.store().lpush(key, "x")
    assert reason(read(run)) == STRANGE


def test_half_a_letter_is_shown_as_a_space() -> None:
    run = make_run()
    write('{"kind": "text", "text": "a\\ud800b"}')
    assert read(run).text == "a b"


def test_an_answer_has_a_greatest_length() -> None:
    run = make_run()
    line = json.dumps({"kind": "text", "text": "x" * 900}) + "\n"
    live.store().set(try_answer_key("rog", ID), line * 2000)
    at, shown = 0, 0
    while (part := read(run, at)).end is None:
        at, shown = part.at, shown + len(part.text)
    assert shown <= CUT_BYTES + READ_BYTES
    assert reason(part) == "The answer is longer than LabDash shows."


def test_a_try_is_that_of_its_user_on_its_node_alone() -> None:
    run = make_run()
    assert read_run(ID, user=1, node="rog") == run
    assert read_run(ID, user=2, node="rog") is None
    assert read_run(ID, user=1, node="tower") is None
    live.store().delete(run_key(ID))
    assert read_run(ID, user=1, node="rog") is None
    assert reason(over()) == OVER


def test_a_store_that_is_down_is_told(dead_store: None) -> None:
    run = Run(
        id=ID, user=1, node="rog", address="rog", instance="o", model="m", asked_at=timezone.now()
    )
    with pytest.raises(live.StoreDown):
        read(run)
    with pytest.raises(live.StoreDown):
        read_run(ID, user=1, node="rog")


@pytest.mark.django_db
def test_what_may_be_asked_is_what_is_installed_and_runs_there() -> None:
    instance = make_instance()
    for name in ("gemma3:4b", "qwen3:8b", "my-model:latest", "$(id)"):
        make_installed(instance, name)
    make_installed(instance, "big:cloud", is_cloud=True)
    seen(instances=(ollama(loaded=(loaded("qwen3:8b"),)),))
    choices = read_choices(instance.node, now=timezone.now())
    assert [(each.name, each.is_loaded) for each in choices] == [
        ("qwen3:8b", True),
        ("gemma3:4b", False),
        ("my-model", False),
    ]
