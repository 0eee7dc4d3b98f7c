"""Several orders at once: one pull at a time, and one for all who want the same."""

from dataclasses import replace

from tests.workers.engines.bench import DIGEST, SHORT, Bench, phases
from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    VERIFYING,
    Hold,
    Repeat,
    Wait,
    fake_ollama,
    layer,
)
from workers.wire import cancel_key


def test_another_job_on_the_same_server_waits_and_says_so(bench: Bench) -> None:
    hold = Hold()
    bench.script([MANIFEST, VERIFYING, hold, SUCCESS])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")

    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("waiting", job_id=2)
    hold.let_go()
    bench.wait_for_phase("installed", job_id=2)

    assert phases(bench.said(2))[0] == "waiting"
    assert bench.said(2)[0].reason == "Another pull runs on this server."
    assert bench.fake.most_pulls_at_once == 1


def test_a_waiting_job_can_be_cancelled(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Hold()])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")
    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("waiting", job_id=2)
    bench.server.client.set(cancel_key("rog", 2), 1)
    bench.wait_for_phase("cancelled", job_id=2)

    assert [pull.model for pull in bench.fake.pulls] == ["qwen3:8b"]


def test_the_same_job_twice_is_one_pull(bench: Bench) -> None:
    hold = Hold()
    bench.script([MANIFEST, VERIFYING, hold, SUCCESS])
    bench.start(bench.order())
    bench.wait_for_phase("verifying")

    bench.pulls.carry_out(bench.order(attempt=2))
    hold.let_go()
    bench.wait_for_phase("installed")

    assert len(bench.fake.pulls) == 1
    assert bench.said()[-1].attempt == 2


def test_two_jobs_for_one_model_are_one_pull_told_to_both(bench: Bench) -> None:
    hold = Hold()
    bench.script([MANIFEST, VERIFYING, hold, SUCCESS], model="qwen3")
    bench.start(bench.order(1, model="qwen3"))
    bench.wait_for_phase("verifying")

    bench.pulls.carry_out(bench.order(2, model="library/Qwen3:latest"))
    hold.let_go()
    bench.wait_for_phase("installed", job_id=2)

    assert bench.said(1)[-1].phase == "installed"
    assert len(bench.fake.pulls) == 1


def test_cancelling_one_of_two_jobs_leaves_the_other_its_pull(bench: Bench) -> None:
    hold = Hold()
    bench.script([MANIFEST, VERIFYING, hold, SUCCESS])
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")
    bench.pulls.carry_out(bench.order(2))
    bench.wait_for_phase("verifying", job_id=2)
    bench.server.client.set(cancel_key("rog", 1), 1)
    bench.wait_for_phase("cancelled")
    hold.let_go()
    bench.wait_for_phase("installed", job_id=2)

    assert bench.said(1)[-1].phase == "cancelled"
    assert bench.fake.pulls[0].left is False


def test_an_order_that_comes_again_after_its_end_is_answered_with_that_end(bench: Bench) -> None:
    first = bench.run(MANIFEST, SUCCESS)[-1]

    bench.pulls.carry_out(bench.order())

    assert bench.said()[-1] == first
    assert len(bench.fake.pulls) == 1


def test_a_new_attempt_after_the_end_is_a_new_pull(bench: Bench) -> None:
    bench.run(MANIFEST, {"error": "EOF"})
    bench.script([MANIFEST, SUCCESS])

    bench.pulls.carry_out(bench.order(attempt=2))

    assert (bench.said()[-1].phase, bench.said()[-1].attempt) == ("installed", 2)


def test_an_address_that_the_hub_did_not_list_is_not_spoken_to(bench: Bench) -> None:
    with fake_ollama() as other:
        bench.pulls.carry_out(bench.order(instance_url=other.url))
        calls = other.calls

    assert calls == []
    assert (bench.said()[-1].phase, bench.said()[-1].reason) == (
        "failed",
        f"This node has no Ollama server at {other.url}.",
    )


def test_an_order_for_another_node_is_not_answered(bench: Bench) -> None:
    bench.pulls.carry_out(bench.order(node="tower"))

    assert bench.said() == []
    assert bench.server.reports("tower") == []


def test_another_programs_pull_that_hangs_is_not_left_and_blocks_the_server(
    bench: Bench,
) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=0.6)
    bench.script([MANIFEST, Repeat(layer(DIGEST), 60), layer(DIGEST, 10, 1), Wait(60)])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")

    bench.pulls.carry_out(bench.order(1))
    was_open = bench.fake.pulls[0].ended_at is None
    bench.pulls._limits = SHORT
    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("installed", job_id=2)

    assert bench.said(1)[-1].reason == (
        f"Another program's pull of the same files hangs on {bench.fake.url}. Restart Ollama there."
    )
    assert was_open
    assert bench.fake.most_pulls_at_once == 1


def test_who_waits_behind_a_pull_that_hangs_hears_why_and_not_for_ever(bench: Bench) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=0.6)
    bench.script([MANIFEST, Repeat(layer(DIGEST), 10_000)])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")
    bench.pulls.carry_out(bench.order(1))

    bench.pulls.carry_out(bench.order(2, model="gemma3:4b"))

    said = bench.said(2)
    assert phases(said) == ["waiting", "failed"]
    assert {report.reason for report in said} == {
        f"Another program's pull of the same files hangs on {bench.fake.url}. Restart Ollama there."
    }
    assert said[-1].retry is True
    assert [pull.model for pull in bench.fake.pulls] == ["qwen3:8b"]


def test_of_two_pulls_of_one_model_the_first_may_end_last(bench: Bench) -> None:
    first, second = Hold(), Hold()
    bench.script([MANIFEST, VERIFYING, first, SUCCESS])
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")
    running = next(iter(bench.pulls._running.values()))
    running.reporter.leave()
    bench.script([MANIFEST, VERIFYING, second, SUCCESS])
    bench.server.client.set(cancel_key("rog", 2), 1)

    bench.pulls.carry_out(bench.order(2))
    first.let_go()
    bench.wait_for(lambda: bench.pulls._ends.get(1))

    assert phases(bench.said(2)) == ["cancelled"]
