"""Pulls against a scripted server over real HTTP, with a real store and short limits."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    VERIFYING,
    WRITING,
    Cut,
    FakeOllama,
    Refuse,
    Repeat,
    Step,
    Wait,
    fake_ollama,
    layer,
)
from tests.workers.stores import OwnStore, own_store
from workers.config import NodeConfig
from workers.engines.pull import Limits
from workers.engines.pulls import Pulls
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import DiskReading, Inventory, PullOrder, PullProgress, cancel_key

GIB = 2**30
DIGEST = "ab" * 32
SMALL = "cd" * 32
SHORT = Limits(stall_s=0.6, futile_s=30, reconnects=2, pause_first_s=0.1, pause_most_s=0.2)


@dataclass
class Bench:
    """A node's pulls beside a fake server and a store of the test's own."""

    fake: FakeOllama
    server: OwnStore
    store: Store
    telemetry: Telemetry
    stopping: threading.Event
    pulls: Pulls
    threads: ThreadPoolExecutor

    def order(self, job_id: int = 1, *, model: str = "qwen3:8b", **fields: Any) -> PullOrder:
        base = {
            "node": "rog",
            "job_id": job_id,
            "attempt": 1,
            "instance": "ollama",
            "instance_url": self.fake.url,
            "model": model,
            "deadline_s": 60.0,
        }
        return PullOrder.model_validate(base | fields)

    def script(self, *scripts: list[Step], model: str = "qwen3:8b") -> None:
        self.fake.scripts[model] = list(scripts)

    def start(self, order: PullOrder) -> None:
        self.threads.submit(self.pulls.carry_out, order)

    def run(self, *script: Step) -> list[PullProgress]:
        """Pull what the server plays and return all that was said about it."""
        self.script(list(script))
        self.pulls.carry_out(self.order())
        return self.said()

    def said(self, job_id: int = 1) -> list[PullProgress]:
        reports = self.server.reports("rog")
        return [r for r in reports if isinstance(r, PullProgress) and r.job_id == job_id]

    def inventories(self) -> int:
        return sum(isinstance(report, Inventory) for report in self.server.reports("rog"))

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_phase(self, phase: str, job_id: int = 1) -> None:
        self.wait_for(lambda: phase in [report.phase for report in self.said(job_id)])


@pytest.fixture
def bench() -> Iterator[Bench]:
    with own_store() as server, fake_ollama() as fake, ThreadPoolExecutor(4) as threads:
        environ = {"REDIS_URL": server.url, "LABDASH_OLLAMA_URLS": fake.url}
        config = NodeConfig.from_env(environ, node="rog")
        store = Store(server.url, slug="rog")
        telemetry = Telemetry(config, store)
        telemetry.start()
        stopping = threading.Event()
        pulls = Pulls(telemetry=telemetry, store=store, stopping=stopping, limits=SHORT)
        yield Bench(fake, server, store, telemetry, stopping, pulls, threads)
        stopping.set()
        threads.shutdown()
        telemetry.stop()
        wait_for_threads()
        store._client.close()


def wait_for_threads() -> None:
    """Let all readings end, so that none meets a server that is being closed."""
    for thread in threading.enumerate():
        if thread.name.startswith(("probe-", "node-", "telemetry")):
            thread.join(20)


def phases(said: list[PullProgress]) -> list[str]:
    """Return the phases in order, each once in a row."""
    found = [report.phase for report in said]
    return [phase for phase, before in zip(found, [None, *found], strict=False) if phase != before]


def test_a_pull_is_told_from_beginning_to_end(bench: Bench) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=60)
    said = bench.run(
        MANIFEST,
        Wait(0.8),
        layer(DIGEST, 1000, 100),
        Wait(0.8),
        layer(DIGEST, 1000, 900),
        Wait(0.8),
        layer(SMALL, 50, 50),
        VERIFYING,
        Wait(0.8),
        WRITING,
        Wait(0.8),
        SUCCESS,
    )

    assert phases(said) == ["starting", "downloading", "verifying", "finishing", "installed"]
    assert (said[-1].done_bytes, said[-1].total_bytes, said[-1].reason) == (1050, 1050, None)
    assert (said[-1].node, said[-1].job_id, said[-1].attempt) == ("rog", 1, 1)
    speeds = [report.bytes_per_s for report in said if report.phase == "downloading"]
    assert any(speeds)
    bench.wait_for(lambda: bench.inventories() > 1)


def test_progress_is_told_at_most_each_half_second_and_never_falls(bench: Bench) -> None:
    lines = [layer(DIGEST, 10_000, 100 * n if n % 7 else 1) for n in range(1, 40)]
    paced = [step for line in lines for step in (line, Wait(0.05))]

    said = bench.run(MANIFEST, *paced, SUCCESS)

    done = [report.done_bytes for report in said if report.done_bytes is not None]
    assert done == sorted(done)
    moments = [report.sent_at.timestamp() for report in said[:-1]]
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert min(gaps) > 0.45


def test_the_silent_phase_is_told_as_such_with_a_heartbeat(bench: Bench) -> None:
    said = bench.run(MANIFEST, layer(DIGEST, 1000, 940), VERIFYING, Wait(6), SUCCESS)

    verifying = [report for report in said if report.phase == "verifying"]
    assert len(verifying) >= 2
    assert {(report.done_bytes, report.bytes_per_s) for report in verifying} == {(1000, None)}


@pytest.mark.parametrize(
    "script",
    [
        [MANIFEST, layer(DIGEST, 1000, 10), Wait(60)],
        [MANIFEST, VERIFYING, Wait(60)],
        [Wait(60)],
    ],
)
def test_a_cancelled_pull_leaves_the_server_whatever_it_does(
    bench: Bench, script: list[Step]
) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=60)
    bench.script(script)
    bench.start(bench.order())
    bench.wait_for(lambda: bench.said() and bench.fake.pulls)

    bench.server.client.set(cancel_key("rog", 1), 1)
    bench.wait_for_phase("cancelled")

    bench.wait_for(lambda: bench.fake.pulls[0].left)
    assert bench.said()[-1].phase == "cancelled"


def test_who_cancels_in_the_verifying_phase_hears_that_it_may_be_too_late(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(60)])
    bench.start(bench.order())
    bench.wait_for_phase("verifying")
    bench.server.client.set(cancel_key("rog", 1), 1)
    bench.wait_for_phase("cancelled")

    assert bench.said()[-1].reason == (
        "All files had arrived, so the model may appear all the same."
    )


def test_a_job_cancelled_before_it_began_never_reaches_the_server(bench: Bench) -> None:
    bench.server.client.set(cancel_key("rog", 1), 1)

    said = bench.run(MANIFEST, Wait(60))

    assert phases(said) == ["cancelled"]


def test_an_error_line_fails_the_pull_with_a_plain_reason(bench: Bench) -> None:
    said = bench.run(MANIFEST, {"error": "pull model manifest: file does not exist"})

    assert (said[-1].phase, said[-1].retry) == ("failed", False)
    assert said[-1].reason == ("The registry has no model qwen3:8b. Check its name and its tag.")


def test_an_old_server_is_named_with_its_version(bench: Bench) -> None:
    bench.fake.version = "0.24.0"
    bench.wait_for(lambda: bench.server.reports("rog"))

    said = bench.run(
        MANIFEST, {"error": "pull model manifest: 412: requires a newer version of Ollama"}
    )

    assert said[-1].reason == (
        f"qwen3:8b needs a newer Ollama than 0.24.0 on {bench.fake.url}. Update Ollama there."
    )


def test_an_end_without_success_is_a_failure(bench: Bench) -> None:
    said = bench.run(MANIFEST, layer(DIGEST, 1000, 1000))

    assert (said[-1].phase, said[-1].retry) == ("failed", True)
    assert "without saying that it succeeded" in (said[-1].reason or "")
    assert len(bench.fake.pulls) == 1


def test_a_server_that_is_not_there_fails_the_pull_at_once(bench: Bench) -> None:
    spec = {"slug": "rog", "instances": [{"name": "ollama", "url": "http://127.0.0.1:1"}]}
    bench.server.client.set("node:rog:spec", json.dumps(spec))

    bench.pulls.carry_out(bench.order(instance_url="http://127.0.0.1:1"))

    (end,) = bench.said()[-1:]
    assert (end.phase, end.retry) == ("failed", True)
    assert end.reason == "Ollama does not answer on http://127.0.0.1:1. Is it running?"


def test_a_server_that_goes_away_is_sought_again_and_resumes(bench: Bench) -> None:
    bench.script(
        [MANIFEST, layer(DIGEST, 1000, 300), Wait(0.6), Cut()],
        [MANIFEST, layer(DIGEST, 1000, 290), layer(DIGEST, 1000, 700), VERIFYING, SUCCESS],
    )

    bench.pulls.carry_out(bench.order())

    assert len(bench.fake.pulls) == 2
    said = bench.said()
    assert said[-1].phase == "installed"
    done = [report.done_bytes for report in said if report.done_bytes is not None]
    assert done == sorted(done)


def test_a_server_that_goes_away_again_and_again_fails_the_pull(bench: Bench) -> None:
    said = bench.run(MANIFEST, layer(DIGEST, 1000, 300), Wait(0.1), Cut())

    assert (said[-1].phase, said[-1].retry) == ("failed", True)
    assert "went away in the middle of the pull" in (said[-1].reason or "")
    # The first one brought bytes, and two more in a row brought none.
    assert len(bench.fake.pulls) == 3


def test_bytes_that_stop_coming_are_fetched_by_a_new_pull(bench: Bench) -> None:
    bench.script(
        [MANIFEST, layer(DIGEST, 1000, 300), Repeat(layer(DIGEST, 1000, 300), 1000)],
        [MANIFEST, layer(DIGEST, 1000, 300), layer(DIGEST, 1000, 990), VERIFYING, SUCCESS],
    )

    bench.pulls.carry_out(bench.order())

    assert bench.said()[-1].phase == "installed"
    assert [pull.left for pull in bench.fake.pulls] == [True, False]
    assert bench.fake.most_pulls_at_once == 1


def test_a_registry_that_sends_nothing_fails_the_pull_in_the_end(bench: Bench) -> None:
    said = bench.run(MANIFEST, Wait(60))

    assert (said[-1].phase, said[-1].retry) == ("failed", True)
    assert said[-1].reason == "Nothing more comes from the registry."
    assert len(bench.fake.pulls) == 3


def test_a_silent_verifying_phase_is_no_stall(bench: Bench) -> None:
    said = bench.run(MANIFEST, layer(DIGEST, 1000, 900), VERIFYING, Wait(1.5), SUCCESS)

    assert said[-1].phase == "installed"
    assert len(bench.fake.pulls) == 1


def test_a_pull_ends_at_its_deadline(bench: Bench) -> None:
    bench.script([MANIFEST, *[layer(DIGEST, 10**6, n) | {} for n in range(1, 3)], Wait(60)])
    bench.pulls._limits = replace(SHORT, stall_s=60)

    bench.pulls.carry_out(bench.order(deadline_s=1.0))

    assert (bench.said()[-1].phase, bench.said()[-1].retry) == ("failed", True)
    assert bench.said()[-1].reason == "It was not done in 0.0 h."


def test_a_pull_that_does_not_fit_the_disk_is_stopped_with_numbers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = bench.telemetry.find("rog").find(bench.fake.url)  # type: ignore[union-attr]
    assert watch
    watch.place = SmallDisk()

    said = bench.run(MANIFEST, layer(DIGEST, 6 * GIB, GIB), Wait(60))

    assert (said[-1].phase, said[-1].retry) == ("failed", False)
    assert said[-1].reason == (
        "It needs 3.0 GiB more on /srv/models: 5.0 GiB are still to come, and 2.0 GiB are free."
    )
    assert bench.fake.pulls[0].left is True


class SmallDisk:
    """A place with 2 GiB left."""

    def look(self) -> Any:
        raise AssertionError("not asked")

    def disk(self) -> DiskReading | None:
        return DiskReading(path="/srv/models", total_bytes=9 * GIB, free_bytes=2 * GIB)


def test_another_job_on_the_same_server_waits_and_says_so(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(1.5), SUCCESS])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")

    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("installed", job_id=2)

    assert phases(bench.said(2))[0] == "waiting"
    assert bench.said(2)[0].reason == "Another pull runs on this server."
    assert bench.fake.most_pulls_at_once == 1


def test_a_waiting_job_can_be_cancelled(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(60)])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")
    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("waiting", job_id=2)
    bench.server.client.set(cancel_key("rog", 2), 1)
    bench.wait_for_phase("cancelled", job_id=2)

    assert [pull.model for pull in bench.fake.pulls] == ["qwen3:8b"]


def test_the_same_job_twice_is_one_pull(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(1), SUCCESS])
    bench.start(bench.order())
    bench.wait_for_phase("verifying")

    bench.pulls.carry_out(bench.order(attempt=2))
    bench.wait_for_phase("installed")

    assert len(bench.fake.pulls) == 1
    assert bench.said()[-1].attempt == 2


def test_two_jobs_for_one_model_are_one_pull_told_to_both(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(1.5), SUCCESS], model="qwen3")
    bench.start(bench.order(1, model="qwen3"))
    bench.wait_for_phase("verifying")

    bench.pulls.carry_out(bench.order(2, model="library/Qwen3:latest"))
    bench.wait_for_phase("installed", job_id=2)

    assert bench.said(1)[-1].phase == "installed"
    assert len(bench.fake.pulls) == 1


def test_cancelling_one_of_two_jobs_leaves_the_other_its_pull(bench: Bench) -> None:
    bench.script([MANIFEST, VERIFYING, Wait(2), SUCCESS])
    bench.start(bench.order(1))
    bench.wait_for_phase("verifying")
    bench.pulls.carry_out(bench.order(2))
    bench.wait_for_phase("verifying", job_id=2)
    bench.server.client.set(cancel_key("rog", 1), 1)
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


def test_a_worker_that_is_to_end_leaves_the_pull_to_the_next_one(bench: Bench) -> None:
    bench.script([MANIFEST, layer(DIGEST, 1000, 10), VERIFYING, Wait(60)])
    bench.start(bench.order())
    bench.wait_for_phase("verifying")

    bench.stopping.set()
    bench.wait_for(lambda: bench.fake.pulls[0].left)

    assert bench.said()[-1].phase == "verifying"


def test_a_pull_outlasts_its_store_and_tells_its_end_later(bench: Bench) -> None:
    bench.script([MANIFEST, layer(DIGEST, 1000, 10), VERIFYING, Wait(1), SUCCESS])
    bench.start(bench.order())
    bench.wait_for_phase("verifying")

    bench.server.stop()
    bench.wait_for(lambda: bench.fake.pulls[0].ended_at)
    bench.server.start()
    bench.wait_for_phase("installed")

    bench.wait_for(bench.inventories)


def test_another_programs_pull_that_hangs_is_not_left_and_blocks_the_server(
    bench: Bench,
) -> None:
    bench.script([MANIFEST, Repeat(layer(DIGEST), 60), layer(DIGEST, 10, 1), Wait(60)])
    bench.script([MANIFEST, SUCCESS], model="gemma3:4b")

    bench.pulls.carry_out(bench.order(1))
    was_open = bench.fake.pulls[0].ended_at is None
    bench.start(bench.order(2, model="gemma3:4b"))
    bench.wait_for_phase("installed", job_id=2)

    assert bench.said(1)[-1].reason == (
        f"Another program's pull of the same files hangs on {bench.fake.url}. Restart Ollama there."
    )
    assert was_open
    assert bench.fake.most_pulls_at_once == 1


def test_a_host_that_ollama_refuses_is_explained(bench: Bench) -> None:
    said = bench.run(Refuse(403))

    assert "refuses requests under this host name (403)" in (said[-1].reason or "")
