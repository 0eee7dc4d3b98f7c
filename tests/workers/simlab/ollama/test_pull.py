"""Pulls from the fake registry: the stream, what is stored, and how they fail."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simlab import FAST, OllamaLab, machine, ollama_lab
from tests.workers.simlab.ollama.api import (
    Background,
    delete,
    get,
    names,
    post,
    progress,
    pull,
    steps,
    stream,
    until,
)
from workers.simlab.registry import Fault

MODEL = "llama3.2:1b"
SIZE = 1_321_084_448
CLEAN = ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"]


@pytest.fixture
def lab() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        lab.registry.bytes_per_s = 6e9
        yield lab


def blob(lab: OllamaLab) -> str:
    """Give the digest of the model's file."""
    return next(d for d, each in lab.registry.blobs.items() if each.size_bytes == SIZE)


def begin(lab: OllamaLab, lines: int = 4) -> int:
    """Begin a pull and leave it after some lines of progress; give the last ``completed``."""
    with stream(lab, "/api/pull", model=MODEL) as each:
        seen = [next(each) for _ in range(lines)]
    until(lambda: not lab.server.downloads.active)
    return int(seen[-1]["completed"])


def test_a_clean_pull_goes_through_its_phases_and_installs(lab: OllamaLab) -> None:
    seen = pull(lab, MODEL)
    assert steps(seen) == CLEAN
    assert names(lab) == [MODEL]


def test_progress_rises_and_its_last_line_is_below_the_total(lab: OllamaLab) -> None:
    done = progress(pull(lab, MODEL))
    assert done == sorted(done)
    assert 0 < done[-1] < SIZE


def test_layers_that_come_sooner_than_the_next_line_have_none() -> None:
    with ollama_lab(pace=replace(FAST, progress_s=0.3)) as lab:
        lab.registry.bytes_per_s = 2e9
        layers = {line["digest"] for line in pull(lab, MODEL) if "digest" in line}
        assert layers == {blob(lab)}


def test_layers_that_are_there_have_one_full_line_each(lab: OllamaLab) -> None:
    pull(lab, MODEL)
    again = [line for line in pull(lab, MODEL) if "digest" in line]
    assert len(again) == 5
    assert all(line["completed"] == line["total"] for line in again)


def test_without_a_stream_only_the_last_line_comes(lab: OllamaLab) -> None:
    assert post(lab, "/api/pull", model=MODEL, stream=False).json() == {"status": "success"}


def test_verifying_takes_its_time_and_says_nothing() -> None:
    pace = replace(FAST, verify_bytes_per_s=SIZE / 0.4)
    with ollama_lab(pace=pace) as lab, stream(lab, "/api/pull", model=MODEL) as each:
        line = next(each)
        while line["status"] != "verifying sha256 digest":
            line = next(each)
        assert names(lab) == []
        assert next(each)["status"] == "writing manifest"


def test_leaving_while_it_verifies_installs_all_the_same() -> None:
    pace = replace(FAST, verify_bytes_per_s=SIZE / 0.4)
    with ollama_lab(pace=pace) as lab:
        with stream(lab, "/api/pull", model=MODEL) as each:
            next(line for line in each if line["status"] == "verifying sha256 digest")
        until(lambda: names(lab) == [MODEL])


def test_a_pull_goes_on_where_a_client_left_it(lab: OllamaLab) -> None:
    left_at = begin(lab)
    asked = len(lab.registry.requests)
    assert progress(pull(lab, MODEL))[0] >= left_at
    assert not any(
        line.startswith("HEAD") and blob(lab) in line for line in asked_since(lab, asked)
    )


def asked_since(lab: OllamaLab, count: int) -> list[str]:
    return lab.registry.requests[count:]


def test_a_killed_server_forgets_how_far_it_was(lab: OllamaLab) -> None:
    with stream(lab, "/api/pull", model=MODEL) as each:
        next(line for line in each if line.get("completed", 0) > SIZE // 4)
        lab.call(lab.hosted.stop(kill=True))
    lab.call(lab.hosted.start())
    lab.registry.bytes_per_s = 1e9
    assert progress(pull(lab, MODEL))[0] < SIZE // 4


def test_an_unlucky_stop_makes_every_later_pull_fail_with_eof(lab: OllamaLab) -> None:
    with stream(lab, "/api/pull", model=MODEL) as each:
        next(line for line in each if "completed" in line)
        lab.call(lab.hosted.stop(spoil=True))
    lab.call(lab.hosted.start())
    for _ in range(2):
        assert steps(pull(lab, MODEL)) == ["pulling manifest", "EOF"]


def test_two_clients_share_a_pull_and_the_first_may_leave(lab: OllamaLab) -> None:
    lab.registry.bytes_per_s = 1e9
    with ExitStack() as first:
        lines = first.enter_context(stream(lab, "/api/pull", model=MODEL))
        next(line for line in lines if line.get("completed", 0) > SIZE // 4)
        with stream(lab, "/api/pull", model=MODEL) as second:
            next(second)
            assert next(second)["completed"] > SIZE // 4
            first.close()
            assert steps(list(second)) == CLEAN[1:]


def test_two_models_share_a_speed_limit(lab: OllamaLab) -> None:
    lab.registry.bytes_per_s = 1e9
    other = Background(lambda: pull(lab, "qwen3:0.6b"))
    until(lambda: lab.registry.transfers == 1)
    alone = Background(lambda: pull(lab, MODEL))
    until(lambda: lab.registry.transfers == 2)
    lab.registry.bytes_per_s = None
    assert steps(other.result()) == steps(alone.result()) == CLEAN


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("manifest-404", "pull model manifest: file does not exist"),
        ("manifest-500", "pull model manifest: 500: internal error"),
        ("blob-404", "file does not exist"),
        ("blob-get-404", "context deadline exceeded"),
        ("no-location", "http: no Location header in response"),
        ("cut", "max retries exceeded: EOF"),
    ],
)
def test_an_upstream_fault_ends_the_stream_with_its_text(
    lab: OllamaLab, fault: Fault, text: str
) -> None:
    lab.registry.order(MODEL, fault)
    assert steps(pull(lab, MODEL))[-1] == text
    assert names(lab) == []


def test_a_newer_version_is_asked_for_in_the_registry_s_words(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "manifest-412")
    assert "requires a newer version of Ollama" in steps(pull(lab, MODEL))[-1]


def test_an_error_without_a_stream_has_status_500(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "manifest-404")
    answer = post(lab, "/api/pull", model=MODEL, stream=False)
    assert answer.status_code == 500
    assert answer.json() == {"error": "pull model manifest: file does not exist"}


def test_a_corrupt_blob_is_found_when_verified_and_thrown_away(lab: OllamaLab) -> None:
    free = lab.server.machine.disk_free_bytes
    lab.registry.order(MODEL, "corrupt")
    assert steps(pull(lab, MODEL))[-1].startswith("digest mismatch, file must be downloaded again")
    assert free - lab.server.machine.disk_free_bytes < 10_000
    lab.registry.order(MODEL, None)
    assert steps(pull(lab, MODEL)) == CLEAN


def test_a_stream_may_end_without_success(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "never-success")
    assert steps(pull(lab, MODEL)) == CLEAN[:-1]


def test_a_cut_connection_is_taken_up_again(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "cut-once")
    done = progress(pull(lab, MODEL))
    assert done == sorted(done)
    assert names(lab) == [MODEL]


def test_a_reset_connection_lets_progress_fall() -> None:
    pace = replace(FAST, retry_s=(0.3,) * 6)
    with ollama_lab(pace=pace) as lab:
        lab.registry.bytes_per_s = 3e9
        lab.registry.order(MODEL, "reset-once")
        done = progress(pull(lab, MODEL))
    assert done != sorted(done)


def test_a_stalled_transfer_starts_again_from_where_it_was(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "stall-once")
    done = progress(pull(lab, MODEL))
    assert done.count(SIZE // 3) > 5
    assert done == sorted(done)
    assert names(lab) == [MODEL]


def test_a_stall_that_lasts_never_ends(lab: OllamaLab) -> None:
    lab.registry.order(MODEL, "stall")
    with stream(lab, "/api/pull", model=MODEL) as each:
        seen = [next(each) for _ in range(60)]
    assert seen[-1]["completed"] < SIZE


def test_a_full_disk_ends_the_pull_and_stays_full() -> None:
    with ollama_lab(machine(disk_free_bytes=10**9)) as lab:
        lab.registry.bytes_per_s = 6e9
        for _ in range(2):
            text = steps(pull(lab, MODEL))[-1]
            assert text.startswith("write /usr/share/ollama/.ollama/models/blobs/sha256-")
            assert text.endswith("-partial: no space left on device")
            assert lab.server.machine.disk_free_bytes < 10_000


def test_a_pull_takes_its_disk_and_a_delete_gives_back_what_nothing_else_uses(
    lab: OllamaLab,
) -> None:
    free = lab.server.machine.disk_free_bytes
    pull(lab, MODEL)
    assert free - lab.server.machine.disk_free_bytes >= SIZE
    post(lab, "/api/create", model="mine", **{"from": MODEL}, parameters={"num_ctx": 4096})
    delete(lab, MODEL)
    assert free - lab.server.machine.disk_free_bytes >= SIZE
    delete(lab, "mine")
    assert lab.server.machine.disk_free_bytes == free


def test_what_was_pulled_is_there_after_a_restart(tmp_path: Path) -> None:
    with ollama_lab(folder=tmp_path) as lab:
        pull(lab, MODEL)
        before = get(lab, "/api/tags")
    with ollama_lab(folder=tmp_path) as lab:
        assert get(lab, "/api/tags") == before
        assert 600 * 2**30 - lab.server.machine.disk_free_bytes >= SIZE


def test_a_host_that_does_not_exist_is_told_as_go_tells_it(lab: OllamaLab) -> None:
    text = steps(pull(lab, "nas.example:5000/library/x", insecure=True))[-1]
    assert text.startswith('pull model manifest: Get "http://nas.example:5000/v2/library/x/')
    assert "dial tcp: lookup nas.example on" in text


def test_a_registry_on_loopback_is_pulled_from_by_its_own_name(lab: OllamaLab) -> None:
    host = lab.registry_url.removeprefix("http://")
    assert steps(pull(lab, f"{host}/library/{MODEL}", insecure=True)) == CLEAN
    assert names(lab) == [f"{host}/library/{MODEL}"]
    assert "first record does not look like a TLS handshake" in str(pull(lab, f"{host}/library/x"))
