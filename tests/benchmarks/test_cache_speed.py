"""What a model that comes through the hub's cache costs: as it arrives, and once it is here."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.figures import Tell
from tests.workers.cache.bench import (
    MODEL,
    SECRET,
    Bench,
    bench_of,
    digest_of,
    registry_running,
)

pytestmark = pytest.mark.long

SIZE = 512 * 2**20
PARTS = 16
# Not of the file's size: some hundred MB would mean that it is held in memory.
MOST_GROWTH_BYTES = 100 * 2**20


def test_a_model_flows_through_the_cache_without_being_held(tmp_path: Path, tell: Tell) -> None:
    data = os.urandom(2**20) * (SIZE // 2**20)
    digest = digest_of(data)
    with registry_running() as registry, bench_of(registry, tmp_path / "cache") as bench:
        registry.publish(MODEL, data)
        bench.manifest()
        before = psutil.Process().memory_info().rss
        spans = [_pull(bench, digest) for _ in range(2)]
        growth = psutil.Process().memory_info().rss - before
    assert registry.given_bytes == SIZE + 2
    speeds = [SIZE / wall_s / 1e6 for wall_s, _ in spans]
    tell(
        "a model through the hub's cache, 16 parts at once (registry and client in one process)",
        f"{speeds[0]:.0f} MB/s as it arrives ({spans[0][1]:.1f} s of CPU), {speeds[1]:.0f} MB/s"
        f" once it is here ({spans[1][1]:.1f} s); memory +{growth / 2**20:.0f} MiB",
        goal="one download, memory flat",
    )
    assert growth < MOST_GROWTH_BYTES


def _pull(bench: Bench, digest: str) -> tuple[float, float]:
    """Fetch a file as Ollama does; return the seconds by the wall and of CPU."""
    size = SIZE // PARTS
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(PARTS) as pool:
        got = pool.map(lambda n: _part(bench, digest, n * size, (n + 1) * size - 1), range(PARTS))
        assert sum(got) == SIZE
    return time.perf_counter() - began, time.process_time() - cpu


def _part(bench: Bench, digest: str, start: int, last: int) -> int:
    place = urlsplit(bench.url)
    client = HTTPConnection(str(place.hostname), place.port, timeout=120)
    path = f"/v2/{SECRET}/qwen3/blobs/{digest}"
    client.request("GET", path, headers={"Range": f"bytes={start}-{last}"})
    answer, buffer, got = client.getresponse(), bytearray(2**20), 0
    while count := answer.readinto(buffer):
        got += count
    client.close()
    return got
