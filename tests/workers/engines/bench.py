"""A node's pulls beside a scripted server over real HTTP, with a real store and short limits."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.workers.fake_ollama import FakeOllama, Step, fake_ollama
from tests.workers.stores import OwnStore, own_store
from workers.config import NodeConfig
from workers.engines.pull import Limits
from workers.engines.pulls import Pulls
from workers.shelf import StoreFiles
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import DiskReading, Inventory, PullOrder, PullProgress

DIGEST = "ab" * 32
SHORT = Limits(futile_s=60, reconnects=2, pause_first_s=0.1, pause_most_s=0.2)


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


class Disk:
    """A place whose store is a folder of the test."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def look(self) -> Any:
        raise AssertionError("not asked")

    def disk(self, told: str | None) -> DiskReading | None:
        return DiskReading(path=str(self._store), total_bytes=9 * 2**30, free_bytes=8 * 2**30)

    def files(self, told: str | None) -> StoreFiles | None:
        return StoreFiles(self._store)


@contextmanager
def running_bench(models: Path | None = None) -> Iterator[Bench]:
    """Run everything for the length of a test; ``models`` is the server's store."""
    with own_store() as server, fake_ollama() as fake, ThreadPoolExecutor(4) as threads:
        environ = {"REDIS_URL": server.url, "LABDASH_OLLAMA_URLS": fake.url}
        config = NodeConfig.from_env(environ, node="rog")
        store = Store(server.url, slug="rog")
        telemetry = Telemetry(config, store)
        telemetry.start()
        if models is not None:
            node = telemetry.find("rog")
            watch = node.find(fake.url) if node else None
            assert watch
            watch.place = Disk(models)
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
