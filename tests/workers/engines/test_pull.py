"""One pull against a scripted server."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.workers.engines.bench import DIGEST, SHORT, Bench, phases
from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    VERIFYING,
    WRITING,
    Cut,
    Hold,
    Refuse,
    Repeat,
    Step,
    Wait,
    layer,
)
from workers.wire import DiskReading, cancel_key

GIB = 2**30
SMALL = "cd" * 32


def test_a_pull_is_told_from_beginning_to_end(bench: Bench) -> None:
    lines: dict[str, list[Step]] = {
        "starting": [MANIFEST],
        "downloading": [layer(DIGEST, 1000, 100)],
        "verifying": [layer(DIGEST, 1000, 900), layer(SMALL, 50, 50), VERIFYING],
        "finishing": [WRITING],
    }
    holds = {phase: Hold() for phase in lines}
    script = [step for phase in lines for step in (*lines[phase], holds[phase])]
    bench.script([*script, SUCCESS])
    bench.start(bench.order())
    for phase, hold in holds.items():
        bench.wait_for_phase(phase)
        hold.let_go()
    bench.wait_for_phase("installed")

    said = bench.said()
    assert phases(said) == ["starting", "downloading", "verifying", "finishing", "installed"]
    assert (said[-1].done_bytes, said[-1].total_bytes, said[-1].reason) == (1050, 1050, None)
    assert (said[-1].node, said[-1].job_id, said[-1].attempt) == ("rog", 1, 1)
    bench.wait_for(lambda: bench.inventories() > 1)


def test_progress_is_told_at_most_each_half_second_and_never_falls(bench: Bench) -> None:
    lines = [layer(DIGEST, 10_000, 100 * n if n % 7 else 1) for n in range(1, 60)]
    paced = [step for line in lines for step in (line, Wait(0.05))]

    said = bench.run(MANIFEST, *paced, SUCCESS)

    done = [report.done_bytes for report in said if report.done_bytes is not None]
    assert done == sorted(done)
    assert any(report.bytes_per_s and report.remaining_s for report in said)
    lasted_s = (said[-1].sent_at - said[0].sent_at).total_seconds()
    assert 4 <= len(said) <= lasted_s / 0.5 + 2


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
    bench.pulls._limits = replace(SHORT, stall_s=1.5)
    bench.script(
        [MANIFEST, layer(DIGEST, 1000, 300), Repeat(layer(DIGEST, 1000, 300), 1000)],
        [MANIFEST, layer(DIGEST, 1000, 300), layer(DIGEST, 1000, 990), VERIFYING, SUCCESS],
    )

    bench.pulls.carry_out(bench.order())

    assert bench.said()[-1].phase == "installed"
    assert bench.fake.pulls[0].left is True
    assert bench.fake.most_pulls_at_once == 1


def test_a_registry_that_sends_nothing_fails_the_pull_in_the_end(bench: Bench) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=0.6)
    said = bench.run(MANIFEST, Wait(60))

    assert (said[-1].phase, said[-1].retry) == ("failed", True)
    assert said[-1].reason == "Nothing more comes from the registry."
    assert len(bench.fake.pulls) == 3


def test_a_silent_verifying_phase_is_no_stall(bench: Bench) -> None:
    bench.pulls._limits = replace(SHORT, stall_s=3)
    said = bench.run(MANIFEST, layer(DIGEST, 1000, 900), VERIFYING, Wait(4), SUCCESS)

    assert said[-1].phase == "installed"
    assert len(bench.fake.pulls) == 1


def test_a_pull_ends_at_its_deadline(bench: Bench) -> None:
    bench.script([MANIFEST, *[layer(DIGEST, 10**6, n) | {} for n in range(1, 3)], Wait(60)])

    bench.pulls.carry_out(bench.order(deadline_s=1.0))

    assert (bench.said()[-1].phase, bench.said()[-1].retry) == ("failed", True)
    assert bench.said()[-1].reason == "It was not done in 0.0 h."


def test_a_pull_that_does_not_fit_the_disk_is_stopped_with_numbers(bench: Bench) -> None:
    node = bench.telemetry.find("rog")
    watch = node.find(bench.fake.url) if node else None
    assert watch
    watch.place = SmallDisk()

    said = bench.run(MANIFEST, layer(DIGEST, 6 * GIB, GIB), Wait(60))

    assert (said[-1].phase, said[-1].retry) == ("failed", False)
    assert said[-1].reason == (
        "It needs 3.0 GiB more on /srv/models: 5.0 GiB are still to come, and 2.0 GiB are free."
    )
    bench.wait_for(lambda: bench.fake.pulls[0].left)


def test_what_shall_stay_free_is_not_filled(bench: Bench) -> None:
    node = bench.telemetry.find("rog")
    watch = node.find(bench.fake.url) if node else None
    assert watch
    watch.place = SmallDisk(free_bytes=8 * GIB)
    bench.script([MANIFEST, layer(DIGEST, 6 * GIB, GIB), Wait(60)])
    bench.start(bench.order(keep_free_bytes=4 * GIB))
    bench.wait_for_phase("failed")
    assert bench.said()[-1].reason == (
        "It needs 1.0 GiB more on /srv/models: 5.0 GiB are still to come, and 8.0 GiB are free, of"
        " which 4.0 GiB are to stay free."
    )


def test_a_disk_without_room_refuses_a_pull_before_the_server_is_asked(bench: Bench) -> None:
    node = bench.telemetry.find("rog")
    watch = node.find(bench.fake.url) if node else None
    assert watch
    watch.place = SmallDisk(free_bytes=GIB // 16)

    said = bench.run(MANIFEST, SUCCESS)

    assert (said[-1].phase, said[-1].retry) == ("failed", False)
    assert said[-1].reason == (
        "Only 64.0 MiB are free on /srv/models. Free some space there first."
    )
    assert bench.fake.pulls == []


def test_a_disk_that_others_filled_is_looked_at_again_before_the_next_attempt(
    bench: Bench,
) -> None:
    node = bench.telemetry.find("rog")
    watch = node.find(bench.fake.url) if node else None
    assert watch
    disk = SmallDisk(free_bytes=8 * GIB)
    watch.place = disk
    hold = Hold()
    bench.script([MANIFEST, layer(DIGEST, 6 * GIB, GIB), hold, Cut()])
    bench.start(bench.order())
    bench.wait_for_phase("downloading")

    disk.free_bytes = 2 * GIB
    hold.let_go()
    bench.wait_for_phase("failed")

    assert "It needs 3.0 GiB more" in (bench.said()[-1].reason or "")
    assert len(bench.fake.pulls) == 1


class SmallDisk:
    """A place with 2 GiB left, or what the test says."""

    def __init__(self, *, free_bytes: int = 2 * GIB) -> None:
        self.free_bytes = free_bytes

    def look(self) -> Any:
        raise AssertionError("not asked")

    def disk(self, told: str | None) -> DiskReading | None:
        return DiskReading(path="/srv/models", total_bytes=9 * GIB, free_bytes=self.free_bytes)

    def files(self, told: str | None) -> Any:
        raise AssertionError("not asked")


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


def test_a_host_that_ollama_refuses_is_explained(bench: Bench) -> None:
    said = bench.run(Refuse(403))

    assert "refuses requests under this host name (403)" in (said[-1].reason or "")
