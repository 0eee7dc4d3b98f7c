"""The hub's cache in the simulated lab: files that are numbers pass through it like real ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.simlab import OllamaLab, ollama_lab
from tests.workers.cache.bench import SECRET, spec
from tests.workers.simlab.ollama.api import delete, names, pull
from workers.cache.addresses import Service
from workers.cache.cache import Cache
from workers.cache.counting import Count
from workers.cache.files import Files
from workers.mirror.serving import MirrorServer
from workers.simlab.cache import build
from workers.wire.caching import CacheGrant

MODEL = "llama3.2:1b"
SIZE = 1_321_084_448


@dataclass
class Through:
    lab: OllamaLab
    cache: Cache
    port: int

    def pull(self) -> dict[str, object]:
        name = f"127.0.0.1:{self.port}/{SECRET}/{MODEL}"
        return pull(self.lab, name, insecure=True)[-1]


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Through]:
    files = Files(tmp_path)
    count = Count(tmp_path / "count.json")
    with ollama_lab() as lab:
        services = {"registry.ollama.ai": Service(lab.registry_url)}
        cache = build(services)(files, count)
        cache.follow(spec(grants=(CacheGrant(secret=SECRET, model=MODEL),)))
        with MirrorServer(cache, host="127.0.0.1", port=0) as server:
            yield Through(lab, cache, server.port)
        cache.close()
    files.close()


def test_two_pulls_are_one_download(through: Through) -> None:
    lab = through.lab
    assert through.pull() == {"status": "success"}
    (name,) = names(lab)
    given = lab.registry.given_bytes
    delete(lab, name)
    assert through.pull() == {"status": "success"}
    assert lab.registry.given_bytes == given
    assert SIZE < given < SIZE + 2**20
    assert through.cache.count.saved_bytes >= SIZE


def test_wrong_bytes_never_arrive_whole(through: Through) -> None:
    through.lab.registry.order(MODEL, "corrupt")
    assert "error" in through.pull()
    (entry,) = through.cache.files.entries()
    large = next(blob for blob in entry.manifest.blobs if blob.size_bytes == SIZE)
    assert not through.cache.files.has(large)
