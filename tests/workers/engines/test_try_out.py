"""One prompt to one model: what is told of the answer, and when it ends before its time."""

import secrets
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from tests.workers.engines.bench import DIGEST, Bench
from tests.workers.fake_ollama import Cut, Hold, Refuse, Step
from workers.engines.try_out import Tries, TryLimits
from workers.wire import (
    TryBegan,
    TryEnd,
    TryLine,
    TryOrder,
    TryText,
    try_answer_key,
    try_line_adapter,
    try_prompt_key,
    try_wish_key,
)

MODEL = "qwen3:8b"
PROMPT = "Why is the sky blue, <b>neighbour</b>?"
DONE = {
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 2_150_000_000,
    "load_duration": 41_000_000,
    "prompt_eval_count": 12,
    "prompt_eval_duration": 31_000_000,
    "eval_count": 96,
    "eval_duration": 2_000_000_000,
}
LOADED = {
    "name": MODEL,
    "model": MODEL,
    "size": 8 * 2**30,
    "size_vram": 6 * 2**30,
    "digest": "d" * 64,
    "expires_at": "2026-08-20T09:24:11.1234567+02:00",
    "context_length": 16384,
}


def word(text: str, **fields: Any) -> Step:
    return {"message": {"role": "assistant", "content": text, **fields}, "done": False}


@dataclass
class TryBench:
    """A bench that asks ``MODEL``."""

    bench: Bench
    tries: Tries

    def order(self, *, model: str = MODEL, prompt: str | None = PROMPT, **fields: Any) -> TryOrder:
        """Leave a prompt and a wish as the hub does, and return the order."""
        try_id = secrets.token_hex(16)
        client = self.bench.server.client
        client.set(try_wish_key("rog", try_id), 1)
        if prompt is not None:
            client.set(try_prompt_key("rog", try_id), prompt)
        base = {"node": "rog", "try_id": try_id, "instance_url": self.bench.fake.url}
        return TryOrder.model_validate({**base, "model": model, **fields})

    def start(self, order: TryOrder) -> threading.Thread:
        thread = threading.Thread(target=self.tries.carry_out, args=[order])
        thread.start()
        return thread

    def said(self, order: TryOrder) -> list[TryLine]:
        text: Any = self.bench.server.client.get(try_answer_key("rog", order.try_id)) or ""
        return [try_line_adapter.validate_json(line) for line in text.splitlines()]

    def text(self, order: TryOrder, *, thinking: bool = False) -> str:
        lines = [line for line in self.said(order) if isinstance(line, TryText)]
        return "".join(line.text for line in lines if line.thinking == thinking)

    def run(self, *script: Step, **fields: Any) -> tuple[TryOrder, TryEnd]:
        """Ask to the end."""
        self.bench.fake.chats[MODEL] = list(script)
        order = self.order(**fields)
        self.tries.carry_out(order)
        return order, self.end(order)

    def end(self, order: TryOrder) -> TryEnd:
        end = self.said(order)[-1]
        assert isinstance(end, TryEnd)
        return end

    def bodies(self) -> list[Any]:
        return [body for path, body, _ in self.bench.fake.calls if path == "/api/chat"]

    def limited(self, **limits: Any) -> None:
        self.tries._limits = TryLimits(**limits)

    def stop(self, order: TryOrder) -> None:
        self.bench.server.client.delete(try_wish_key("rog", order.try_id))

    def begin(self, order: TryOrder, *script: Step) -> threading.Thread:
        """Ask, and wait until something of the answer is told."""
        self.bench.fake.chats[MODEL] = list(script)
        thread = self.start(order)
        self.bench.wait_for(lambda: self.text(order))
        return thread


@pytest.fixture
def trying(bench: Bench) -> TryBench:
    bench.fake.install(MODEL, "d" * 64, DIGEST)
    tries = Tries(telemetry=bench.telemetry, store=bench.store, stopping=bench.stopping)
    return TryBench(bench, tries)


def test_answer_and_figures_are_told(trying: TryBench) -> None:
    trying.bench.fake.running = [LOADED]
    order, end = trying.run(word("Because "), word("of\n"), word("the <air>."), DONE)
    assert trying.said(order)[:2] == [TryBegan(), TryBegan(was_loaded=True)]
    assert trying.text(order) == "Because of\nthe <air>."
    assert (end.outcome, end.reason) == ("answered", None)
    assert (end.is_empty, end.was_loaded) == (False, True)
    assert (end.load_s, end.prompt_tokens, end.prompt_s) == (0.041, 12, 0.031)
    assert (end.answer_tokens, end.answer_s) == (96, 2.0)
    assert end.first_token_s is not None
    assert end.place
    assert (end.place.size_bytes, end.place.size_vram_bytes) == (8 * 2**30, 6 * 2**30)
    assert end.place.context_length == 16384


def test_a_loaded_model_is_asked_with_the_context_and_the_pin_that_it_has(
    trying: TryBench,
) -> None:
    trying.bench.fake.running = [LOADED]
    trying.run(word("x"), DONE, main_gpu=1)
    (body,) = trying.bodies()
    assert body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "options": {"num_predict": 2000, "num_ctx": 16384, "main_gpu": 1},
        "stream": True,
        "think": True,
    }


def test_a_model_that_is_not_loaded_is_asked_with_settings_of_its_own(trying: TryBench) -> None:
    order, end = trying.run(word("x"), DONE, main_gpu=1)
    assert trying.said(order)[1] == TryBegan(was_loaded=False)
    assert trying.bodies()[0]["options"] == {"num_predict": 2000}
    assert end.place
    assert end.place.size_bytes is None


def test_what_a_model_thinks_is_told_apart(trying: TryBench) -> None:
    thought = word("", thinking="The user asks. ")
    order, end = trying.run(thought, thought, word("Air."), DONE)
    assert trying.text(order, thinking=True) == "The user asks. " * 2
    assert trying.text(order) == "Air."
    assert end.outcome == "answered"


def test_a_model_that_cannot_think_or_does_not_tell_is_not_asked_to(trying: TryBench) -> None:
    for able in (["completion"], None):
        trying.bench.fake.shown[MODEL]["capabilities"] = able
        trying.run(word("x"), DONE)
    assert ["think" in body for body in trying.bodies()] == [False, False]


def test_an_answer_cut_by_the_limit_of_tokens_says_so(trying: TryBench) -> None:
    _, end = trying.run(word("x"), {**DONE, "done_reason": "length"})
    assert end.outcome == "length"


def test_an_empty_answer_is_an_answer(trying: TryBench) -> None:
    order, end = trying.run(DONE)
    assert (trying.text(order), end.outcome, end.first_token_s) == ("", "answered", None)
    assert end.is_empty
    order, end = trying.run(word("", thinking="Hm."), word("\n"), DONE)
    assert end.is_empty


def test_a_model_that_only_embeds_is_not_even_loaded(trying: TryBench) -> None:
    trying.bench.fake.shown[MODEL]["capabilities"] = ["embedding"]
    order, end = trying.run(DONE)
    assert trying.said(order) == [TryBegan(), end]
    assert end.reason == "qwen3:8b cannot answer: it only makes embeddings."
    assert trying.bodies() == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            [Refuse(400, '{"error":"\\"qwen3:8b\\" does not support chat"}')],
            "qwen3:8b cannot answer: it only makes embeddings.",
        ),
        (
            [Refuse(503, '{"error":"server busy.  maximum pending requests exceeded"}')],
            "Ollama has too many requests waiting already. Try again later.",
        ),
        (
            [Refuse(500, '{"error":"llama-server reported out-of-memory during startup: CUDA0"}')],
            (
                "There is not enough memory for qwen3:8b now. Ollama says: llama-server reported"
                " out-of-memory during startup: CUDA0."
            ),
        ),
        ([Refuse(500, "oops")], "Ollama says: status 500 oops."),
        (
            [word("x"), {"error": "an error was encountered: unexpected EOF"}],
            (
                "The process that runs qwen3:8b ended. Ollama says: an error was encountered:"
                " unexpected EOF."
            ),
        ),
        ([word("x")], "The connection to Ollama ended in the middle of the answer."),
    ],
)
def test_a_failure_is_told_in_plain_words(
    trying: TryBench, script: list[Step], reason: str
) -> None:
    _, end = trying.run(*script)
    assert (end.outcome, end.reason) == ("failed", reason)


def test_a_connection_that_breaks_keeps_what_was_said(trying: TryBench) -> None:
    order, end = trying.run(word("Because"), word(" of"), Cut())
    assert trying.text(order) == "Because of"
    assert end.outcome == "failed"
    assert str(end.reason).startswith("Ollama did not answer: the connection broke")


@pytest.mark.parametrize("line", [{"message": 7}, {"message": {"content": 7}}, {"done": "maybe"}])
def test_what_is_no_answer_of_ollama_is_told(trying: TryBench, line: dict[str, Any]) -> None:
    _, end = trying.run(line)
    assert "does not answer like Ollama" in str(end.reason)


def test_figures_that_make_no_sense_are_unknown(trying: TryBench) -> None:
    _, end = trying.run(word("x"), {**DONE, "eval_count": -1, "eval_duration": "soon"})
    assert (end.outcome, end.answer_tokens, end.answer_s) == ("answered", None, None)


def test_a_model_that_is_gone_is_told(trying: TryBench) -> None:
    order = trying.order(model="gone:1b")
    trying.tries.carry_out(order)
    reason = "gone:1b is not installed there any more, or its file is missing."
    assert trying.end(order).reason == reason


def test_an_address_that_the_hub_did_not_list_is_not_spoken_to(trying: TryBench) -> None:
    order = trying.order(instance_url="http://10.0.0.1:11434")
    trying.tries.carry_out(order)
    assert trying.end(order).reason == "This node has no Ollama server at http://10.0.0.1:11434."


def test_the_answer_is_told_while_it_comes_and_stops_when_nobody_waits(trying: TryBench) -> None:
    order = trying.order()
    thread = trying.begin(order, word("Because"), Hold())
    assert not any(isinstance(line, TryEnd) for line in trying.said(order))
    # A worker that dies now leaves an answer that goes by itself.
    assert 0 < trying.bench.server.client.ttl(try_answer_key("rog", order.try_id)) <= 15
    trying.stop(order)
    thread.join(10)
    assert trying.end(order).outcome == "stopped"
    trying.bench.wait_for(lambda: trying.bench.fake.asked[0].left)


def test_a_load_is_given_up_when_nobody_waits(trying: TryBench) -> None:
    trying.bench.fake.chats[MODEL] = [Hold()]
    order = trying.order()
    thread = trying.start(order)
    trying.bench.wait_for(lambda: trying.bench.fake.asked)
    trying.stop(order)
    thread.join(10)
    assert trying.end(order).outcome == "stopped"
    trying.bench.wait_for(lambda: trying.bench.fake.asked[0].left)


def test_a_server_that_is_slow_to_tell_of_itself_does_not_make_its_worker_look_dead(
    trying: TryBench,
) -> None:
    trying.bench.fake.delays_s["/api/show"] = 1.0
    trying.bench.fake.chats[MODEL] = [word("x"), DONE]
    order = trying.order()
    thread = trying.start(order)
    trying.bench.wait_for(lambda: trying.said(order))
    assert trying.bench.fake.asked == []
    thread.join(10)
    assert trying.end(order).outcome == "answered"


def test_a_prompt_is_taken_once_and_is_not_kept(trying: TryBench) -> None:
    order, _ = trying.run(word("x"), DONE)
    client = trying.bench.server.client
    assert client.get(try_prompt_key("rog", order.try_id)) is None
    assert 0 < client.ttl(try_answer_key("rog", order.try_id)) <= 120
    trying.tries.carry_out(order)
    assert len(trying.bodies()) == 1


def test_an_order_without_a_prompt_does_nothing(trying: TryBench) -> None:
    order = trying.order(prompt=None)
    trying.tries.carry_out(order)
    assert trying.said(order) == []
    assert trying.bodies() == []


def test_one_at_a_time_on_a_server(trying: TryBench) -> None:
    trying.limited(turn_s=0.2)
    first, second = trying.order(), trying.order()
    thread = trying.begin(first, word("Because"), Hold())
    trying.tries.carry_out(second)
    assert trying.end(second).reason == "Somebody else tries a model on this server just now."
    trying.stop(first)
    thread.join(10)
    _, end = trying.run(word("x"), DONE)
    assert end.outcome == "answered"


def test_the_limits_of_time_and_length_end_an_answer(trying: TryBench) -> None:
    trying.limited(seconds=0.5)
    _, end = trying.run(word("x"), Hold())
    assert end.outcome == "too_late"
    trying.limited(answer_bytes=3000)
    _, end = trying.run(word("x" * 9000), Hold())
    assert end.outcome == "too_long"


def test_the_end_of_the_worker_ends_an_answer(trying: TryBench) -> None:
    order = trying.order()
    thread = trying.begin(order, word("Because"), Hold())
    trying.bench.stopping.set()
    thread.join(10)
    assert trying.end(order).reason == "The node's worker was stopped."


def test_a_store_that_pauses_loses_no_word(trying: TryBench) -> None:
    hold = Hold()
    order = trying.order()
    thread = trying.begin(order, word("Because"), hold, word(" of air."), DONE)
    trying.bench.server.freeze()
    hold.let_go()
    trying.bench.wait_for(lambda: trying.bench.fake.asked[0].ended_at)
    trying.bench.server.thaw()
    thread.join(20)
    assert trying.text(order) == "Because of air."
    assert trying.end(order).outcome == "answered"


def test_an_answer_is_written_in_ascii_and_no_half_letter_is_lost(trying: TryBench) -> None:
    order, _ = trying.run(word("Blå "), word("\N{GRINNING FACE}" * 1500), DONE)
    raw: Any = trying.bench.server.client.get(try_answer_key("rog", order.try_id))
    assert raw.isascii()
    assert trying.text(order) == "Blå " + "\N{GRINNING FACE}" * 1500


def test_nothing_of_prompt_or_answer_is_logged(
    trying: TryBench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="workers"):
        trying.run(word("Because"), {"message": "Because"})
    assert "Because" not in caplog.text
    assert "neighbour" not in caplog.text
    reports = trying.bench.server.reports("rog")
    assert not any("neighbour" in report.model_dump_json() for report in reports)


def test_names_of_one_file_are_known_as_one_model(trying: TryBench) -> None:
    node = trying.bench.telemetry.find("rog")
    assert node
    node._names.set_installed("ollama", {MODEL: "a", "my-qwen:latest": "a", "other:1b": "b"})
    assert node.same_weights("ollama", MODEL) == {MODEL, "my-qwen:latest"}
    assert node.same_weights("ollama-2", MODEL) == {MODEL}
