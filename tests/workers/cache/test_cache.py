"""The cache in front of a registry: once from there, verified, to many, and through its faults."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.processes import eventually
from tests.workers.cache.bench import (
    AGENT,
    MODEL,
    SECRET,
    Bench,
    Registry,
    ahead,
    bench_of,
    digest_of,
    registry_running,
    spec,
)
from workers.cache import arrival, arrivals, upstream
from workers.cache import cache as cache_module
from workers.cache.addresses import address_of
from workers.cache.ahead import Ahead
from workers.wire.caching import CacheGrant
from workers.wire.origins import SEAL_HEADER, sealed

LAYER = bytes(range(256)) * 1200
CONFIG = b'{"requires": "0.30.0"}'


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registry_running() as running:
        running.publish(MODEL, LAYER, config=CONFIG)
        yield running


@pytest.fixture
def bench(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(arrival, "SEGMENT_BYTES", 65536)
    monkeypatch.setattr(arrival, "WRITE_BYTES", 4096)
    monkeypatch.setattr(arrival, "SAVE_EVERY_BYTES", 65536)
    monkeypatch.setattr(arrival, "HELD_BACK_BYTES", 1000)
    monkeypatch.setattr(arrival, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(arrivals, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(cache_module, "ANSWER_KEPT_S", 0.0)
    monkeypatch.setattr(cache_module, "CRUMB_BYTES", 0)
    with bench_of(registry, tmp_path / "cache") as made:
        yield made


def is_whole(bench: Bench, data: bytes = LAYER) -> bool:
    path = bench.files.blob_path(digest_of(data))
    return path.is_file() and path.read_bytes() == data


def test_a_model_is_given_as_it_is_published_and_kept(bench: Bench) -> None:
    assert bench.manifest().content == bench.registry.publish(MODEL, LAYER, config=CONFIG)
    assert bench.blob(CONFIG).content == CONFIG
    assert bench.blob(LAYER).content == LAYER
    assert is_whole(bench)
    assert bench.blob(LAYER, 7, 70000).content == LAYER[7:70000]
    assert bench.registry.given_bytes == len(LAYER) + len(CONFIG)
    assert bench.cache.count.upstream_bytes == len(LAYER) + len(CONFIG)
    assert bench.cache.count.given_bytes == len(LAYER) + len(CONFIG) + 70000 - 7


def test_ten_who_ask_at_once_cost_one_download_and_are_served_while_it_arrives(
    bench: Bench,
) -> None:
    bench.registry.gate_at = 150000
    bench.manifest()
    spans = [(start, start + 30000) for start in range(0, 300000, 30000)]
    early = bench.blob(LAYER, 0, 140000)
    assert early.content == LAYER[:140000]
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda span: bench.blob(LAYER, *span).content, spans)
        bench.registry.gate.set()
        assert list(answers) == [LAYER[start:stop] for start, stop in spans]
    assert bench.registry.given_bytes == len(LAYER)


def test_only_who_knows_the_secret_gets_only_that_model(bench: Bench) -> None:
    bench.registry.publish("qwen3:4b", b"other")
    bench.manifest()
    for path in (
        f"/v2/{'6' * 32}/qwen3/manifests/8b",
        "/v2/library/qwen3/manifests/8b",
        f"/v2/{SECRET}/qwen3/manifests/4b",
        f"/v2/{SECRET}/llama3/manifests/8b",
        f"/v2/{SECRET}/qwen3/blobs/{digest_of(b'other')}",
    ):
        assert bench.get(path).status_code == 404
    bench.cache.follow(spec())
    assert bench.manifest().status_code == 404
    assert bench.registry.times("manifests/4b") == 0


def test_a_manifest_is_sealed_for_the_one_who_asks(bench: Bench) -> None:
    assert SEAL_HEADER not in bench.manifest().headers
    bench.cache.follow(spec(grants=(CacheGrant(secret=SECRET, model=MODEL, seal="7" * 32),)))
    for agent in (AGENT, {"User-Agent": "labdash"}):
        answer = bench.manifest(headers=agent)
        assert answer.headers[SEAL_HEADER] == sealed("7" * 32, answer.content)


def test_strange_words_of_a_client_about_itself_reach_no_registry(bench: Bench) -> None:
    assert bench.manifest().status_code == 200
    for agent in (b"ollama/\xe9", b"ollama/" + b"x" * 2000):
        answer = httpx.get(
            f"{bench.url}/v2/{SECRET}/qwen3/manifests/8b", headers={b"User-Agent": agent}
        )
        assert answer.status_code == 200
    assert bench.registry.times("manifests") == 1


def test_a_grant_that_is_newer_than_the_spec_is_read_at_once(bench: Bench) -> None:
    bench.cache.follow(spec())
    read: list[int] = []

    def reread() -> None:
        read.append(1)
        # The first of those who come at once may ask before the last one is granted.
        bench.cache.follow(spec()) if len(read) == 1 else bench.grant()

    bench.cache.reread = reread
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(bench.manifest)
        assert eventually(lambda: read != [])
        codes = [pool.submit(bench.manifest) for _ in range(7)]
        assert [each.result().status_code for each in codes] == [200] * 7
    assert first.result().status_code == 404
    assert len(read) <= 3


@pytest.mark.parametrize("status", [401, 404, 412])
def test_a_refusal_of_the_registry_is_passed_on(bench: Bench, status: int) -> None:
    bench.registry.faults["manifests/8b"] = status
    answer = bench.manifest()
    assert (answer.status_code, answer.text) == (status, "the registry's own words")
    assert bench.registry.times("ollama/0.32.15") == 1


def test_a_registry_that_drips_is_down(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "WHOLE_S", -1.0)
    assert bench.manifest().status_code == 502


def test_what_is_here_is_served_while_the_registry_is_down(bench: Bench) -> None:
    bench.manifest()
    bench.registry.faults["manifests/8b"] = 503
    assert bench.manifest().status_code == 502
    bench.blob(CONFIG)
    bench.blob(LAYER)
    assert bench.manifest().status_code == 200
    old = bench.manifest(headers={"User-Agent": "ollama/0.24.0 (amd64 linux)"})
    assert (old.status_code, "newer version of Ollama" in old.text) == (412, True)
    bench.grant("qwen3:4b")
    assert bench.manifest("4b").status_code == 404


def test_small_files_that_a_machine_has_already_come_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "CRUMB_BYTES", 1000)
    bench.manifest()
    bench.blob(LAYER)
    assert eventually(lambda: is_whole(bench, CONFIG))
    bench.registry.faults["manifests/8b"] = 503
    assert bench.manifest().status_code == 200


def test_who_is_no_ollama_is_answered_without_the_registry(bench: Bench) -> None:
    plain = {"User-Agent": "python-httpx"}
    assert bench.manifest(headers=plain).status_code == 404
    bench.manifest()
    assert bench.manifest(headers=plain).status_code == 200
    assert bench.registry.times("manifests") == 1


def test_a_newer_file_under_the_same_name_is_taken_up(bench: Bench) -> None:
    bench.manifest()
    bench.blob(LAYER)
    newer = bench.registry.publish(MODEL, LAYER[:5000], config=CONFIG)
    assert bench.manifest().content == newer
    assert bench.blob(LAYER[:5000]).content == LAYER[:5000]


def test_broken_lines_go_on_where_they_broke(bench: Bench) -> None:
    bench.registry.cut_after = [10000, 20000, 500]
    bench.manifest()
    assert bench.blob(LAYER).content == LAYER
    assert bench.cache.count.upstream_bytes == len(LAYER)


def test_wrong_bytes_are_never_given_whole_and_are_thrown_away(bench: Bench) -> None:
    bench.manifest()
    bench.registry.blobs[digest_of(LAYER)] = LAYER[:-1] + b"!"
    with pytest.raises(httpx.RemoteProtocolError):
        bench.blob(LAYER)
    assert not bench.files.blob_path(digest_of(LAYER)).exists()
    # Who asked is left a moment before the file is.
    assert eventually(lambda: not bench.files.partial_path(digest_of(LAYER)).exists())
    bench.registry.blobs[digest_of(LAYER)] = LAYER
    assert eventually(lambda: bench.blob(LAYER).status_code == 206)
    assert bench.blob(LAYER).content == LAYER


def test_a_disk_that_deletes_nothing_leaves_no_download_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(bench.files, "delete", refuse)
    bench.manifest()
    bench.registry.blobs[digest_of(LAYER)] = LAYER[:-1] + b"!"
    with pytest.raises(httpx.RemoteProtocolError):
        bench.blob(LAYER)
    assert eventually(lambda: not bench.cache.arrivals.busy())


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("http://169.254.169.254/latest", "sends on to 169.254.169.254"),
        ("https://cdn.example/x", "sends on to cdn.example"),
        ("http://user@cdn.example/x", "sends on to cdn.example"),
        ("http://cdn.example:8080/x", "sends on to cdn.example:8080"),
        ("file:///etc/passwd", "sends on to no host"),
    ],
)
def test_it_is_led_to_no_other_place(bench: Bench, place: str, reason: str) -> None:
    bench.registry.faults["manifests/8b"] = place
    answer = bench.manifest()
    assert (answer.status_code, reason in answer.text) == (502, True)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[" * 100000,
        b'{"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": -1}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": 9e99}, "layers": []}',
        b"{}" + b" " * 2**21,
    ],
)
def test_a_hostile_manifest_is_a_bad_gateway(bench: Bench, body: bytes) -> None:
    bench.registry.manifests["library/qwen3/manifests/8b"] = body
    assert bench.manifest().status_code == 502
    assert bench.files.entries() == []


def test_what_has_no_room_is_refused_before_the_first_byte(bench: Bench) -> None:
    bench.grant(limit_bytes=len(LAYER))
    answer = bench.manifest()
    assert (answer.status_code, bench.registry.given_bytes) == (507, 0)


def test_what_is_on_its_way_needs_no_room_a_second_time(bench: Bench) -> None:
    bench.grant(limit_bytes=len(LAYER) + len(CONFIG))
    bench.registry.gate_at = 150000
    bench.manifest()
    bench.blob(LAYER, 0, 140000)
    assert bench.cache.arrivals.busy() == {digest_of(LAYER)}
    assert bench.manifest().status_code == 200


def test_what_was_not_asked_for_the_longest_makes_room(bench: Bench) -> None:
    bench.manifest()
    bench.blob(LAYER)
    other = LAYER[::-1]
    bench.registry.publish("qwen3:4b", other, config=CONFIG)
    bench.grant("qwen3:4b", limit_bytes=len(LAYER) + 1000)
    assert bench.manifest("4b").status_code == 200
    assert bench.blob(other).content == other
    assert [entry.address.shown for entry in bench.files.entries()] == ["qwen3:4b"]
    assert not bench.files.blob_path(digest_of(LAYER)).exists()


def test_a_file_that_rots_on_disk_is_found_when_somebody_complains(bench: Bench) -> None:
    bench.manifest()
    bench.blob(LAYER)
    bench.blob(CONFIG)
    path = bench.files.blob_path(digest_of(LAYER))
    path.write_bytes(LAYER[:-1] + b"!")
    bench.cache.recheck(address_of(MODEL))
    assert not path.exists()
    assert is_whole(bench, CONFIG)
    assert bench.blob(LAYER).content == LAYER


def test_a_stop_loses_nothing_that_was_noted(bench: Bench, tmp_path: Path) -> None:
    bench.registry.gate_at = 200000
    bench.manifest()
    bench.blob(LAYER, 0, 190000)
    running = bench.cache.arrivals.find(digest_of(LAYER))
    assert running is not None
    bench.cache.arrivals.close()
    bench.registry.gate.set()
    bench.registry.gate_at = None
    assert eventually(lambda: running.is_closed)
    bench.files.close()
    before = bench.cache.count.upstream_bytes
    with bench_of(bench.registry, bench.folder) as again:
        assert again.files.used_bytes >= 190000
        again.manifest()
        assert again.blob(LAYER).content == LAYER
        assert again.cache.count.upstream_bytes == len(LAYER) - running.here_bytes
        assert before >= running.here_bytes


def test_what_a_crash_left_is_cleared_at_the_start(bench: Bench) -> None:
    bench.manifest()
    bench.blob(LAYER)
    bench.files.close()
    manifests = bench.folder / "manifests" / "registry.ollama.ai" / "library" / "qwen3"
    (manifests / ".8b.new").write_bytes(b"half")
    (manifests / "broken").write_bytes(b"half")
    bench.files.blob_path(digest_of(LAYER)).write_bytes(LAYER[:-5])
    bench.files.partial_path(digest_of(CONFIG)).write_bytes(b"without a note")
    with bench_of(bench.registry, bench.folder) as again:
        assert [path.name for path in manifests.iterdir()] == ["8b"]
        assert list((bench.folder / "partial").iterdir()) == []
        assert again.files.used_bytes == 0
        again.manifest()
        assert again.blob(LAYER).content == LAYER


def test_a_full_disk_ends_a_download_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.cache.vessel.Vessel.write", full)
    bench.manifest()
    with pytest.raises(httpx.RemoteProtocolError):
        bench.blob(LAYER)
    blob = bench.cache.files.entries()[0].manifest.blobs[1]
    assert bench.cache.arrivals.why_not(blob) == "it cannot be written (No space left on device)"


def test_nothing_comes_while_the_limit_is_a_pause(bench: Bench) -> None:
    bench.manifest()
    bench.grant(bytes_per_s=0)
    assert bench.blob(LAYER).status_code == 503
    bench.grant(bytes_per_s=None)
    assert bench.blob(LAYER).content == LAYER


def test_a_model_is_fetched_ahead_until_nobody_wants_it(bench: Bench) -> None:
    bench.cache.follow(spec(ahead=ahead()))
    runner = Ahead(bench.cache)

    def stepped() -> bool:
        runner.step()
        return is_whole(bench) and is_whole(bench, CONFIG)

    assert eventually(stepped)
    assert runner.reasons == {}
    bench.registry.faults["manifests/4b"] = 412
    bench.cache.follow(spec(ahead=ahead("qwen3:4b")))
    runner.step()
    assert list(runner.reasons.values()) == ["it needs a newer Ollama"]
    bench.cache.follow(spec())
    runner.step()
    assert runner.reasons == {}


def test_who_waits_is_told_when_the_hub_wants_it_no_more(bench: Bench) -> None:
    bench.registry.gate_at = 1000
    bench.manifest()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.blob, LAYER, 100000, 200000)
        assert eventually(lambda: bench.cache.arrivals.find(digest_of(LAYER)) is not None)
        bench.cache.follow(spec())
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result(20)
    assert threading.active_count() < 60
