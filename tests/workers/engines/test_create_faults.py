"""Orders about names beside a server that says what the test wants."""

from collections.abc import Iterator

import pytest

from tests.workers.engines.name_bench import ALIAS, LISTED, NameBench
from tests.workers.fake_ollama import SUCCESS, Cut, FakeOllama, Hold, Refuse, Step, fake_ollama
from tests.workers.stores import own_store


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[NameBench, FakeOllama]]:
    with own_store() as server, fake_ollama() as fake:
        found = NameBench(fake.url, server)
        fake.install("m:1b", "d1", "ab" * 32)
        fake.install("m:cloud", "d2", "cd" * 32)
        yield found, fake
        found.close()


@pytest.mark.parametrize(
    ("steps", "reason", "meaning"),
    [
        ([{"status": "writing manifest"}], None, "Ollama ended without saying that it succeeded."),
        ([{"error": "EOF"}], "EOF", "What Ollama noted of this model is damaged."),
        ([Refuse(500, '{"error":"odd"}')], "odd", "LabDash does not know this error."),
        (
            [{"status": "using existing layer"}, Cut()],
            None,
            "Ollama went away in the middle of it.",
        ),
        ([{"status": "pulling manifest"}, Hold()], None, f"{ALIAS}: its model was deleted in this"),
        ([{"status": "x" * 70_000}, SUCCESS], None, "What answers there does not answer like"),
    ],
    ids=["no success", "error in the stream", "status", "cut", "a pull begins", "long line"],
)
def test_create_that_does_not_succeed_says_why(
    scripted: tuple[NameBench, FakeOllama], steps: list[Step], reason: str | None, meaning: str
) -> None:
    bench, fake = scripted
    fake.made[ALIAS] = steps
    end = bench.create(base="m:1b")
    assert end.phase == "failed"
    assert (end.meaning or "").startswith(meaning)
    assert reason is None or end.reason == reason


def test_pull_that_a_create_begins_is_left_at_once(scripted: tuple[NameBench, FakeOllama]) -> None:
    bench, fake = scripted
    fake.made[ALIAS] = [{"status": "pulling manifest"}, Hold()]
    bench.create(base="m:1b")
    bench.wait_for(lambda: fake.asked[-1].left)


def test_what_is_sent_has_numbers_and_nothing_that_was_not_asked_for(
    scripted: tuple[NameBench, FakeOllama],
) -> None:
    bench, fake = scripted
    fake.made[ALIAS] = [{"status": "success"}]
    assert bench.create(base="m:1b").phase == "done"
    sent = [body for path, body, _ in fake.calls if path == "/api/create"][-1]
    assert sent == {
        "model": ALIAS,
        "from": "m:1b",
        "parameters": {"num_ctx": 4096, "num_batch": 512},
        "stream": True,
    }


def test_orders_about_one_name_wait_for_each_other_however_it_is_written(
    scripted: tuple[NameBench, FakeOllama],
) -> None:
    bench, fake = scripted
    fake.made[ALIAS] = fake.made[LISTED] = [SUCCESS]
    bench.create(base="m:1b")
    lanes = set(bench.namings._lanes)
    assert bench.create(LISTED, base="m:1b").phase == "done"
    assert set(bench.namings._lanes) == lanes


def test_model_of_the_cloud_gets_no_options(scripted: tuple[NameBench, FakeOllama]) -> None:
    bench, _ = scripted
    end = bench.create(base="m:cloud")
    assert end.meaning == "m:cloud runs in Ollama's cloud: it has no options."
