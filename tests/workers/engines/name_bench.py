"""A node's orders about names beside one server."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.workers.engines.bench import wait_for_threads
from tests.workers.stores import OwnStore
from workers.config import NodeConfig
from workers.engines.loads import Loads
from workers.engines.namings import Namings
from workers.store import Store
from workers.telemetry import Telemetry
from workers.wire import (
    ApplyProgress,
    CreateOrder,
    DeleteOrder,
    LoadOrder,
    LoadProgress,
    Parameters,
)

MODEL, ALIAS, LISTED = "llama3.2:1b", "labdash/chat", "labdash/chat:latest"
USUAL = Parameters(num_ctx=4096, num_batch=512)


class NameBench:
    """A node's orders about names beside one server."""

    def __init__(self, url: str, server: OwnStore) -> None:
        environ = {"REDIS_URL": server.url, "LABDASH_OLLAMA_URLS": url}
        self.url, self.server, self.jobs = url, server, 0
        # One for all: each makes a context for TLS, which takes a while.
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=20)
        self.store = Store(server.url, slug="rog")
        self.telemetry = Telemetry(NodeConfig.from_env(environ, node="rog"), self.store)
        self.telemetry.start()
        self.stopping = threading.Event()
        common: dict[str, Any] = {
            "telemetry": self.telemetry,
            "store": self.store,
            "stopping": self.stopping,
        }
        self.namings, self.loads = Namings(**common), Loads(**common)

    def close(self) -> None:
        self.telemetry.stop()
        wait_for_threads()
        self.store._client.close()
        self.client.close()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def show(self, model: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.post("/api/show", model=model).json()
        return shown

    def kept(self, model: str) -> dict[str, str]:
        lines = self.show(model).get("parameters", "").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def names(self) -> set[str]:
        return {each["name"] for each in self.client.get("/api/tags").json()["models"]}

    def ps(self) -> list[str]:
        return [each["name"] for each in self.client.get("/api/ps").json()["models"]]

    def create(self, model: str = ALIAS, base: str = MODEL, **fields: Any) -> ApplyProgress:
        order = self.order(CreateOrder, model=model, base=base, **{"parameters": USUAL} | fields)
        return self.do(order)

    def delete(self, model: str = ALIAS, **fields: Any) -> ApplyProgress:
        return self.do(self.order(DeleteOrder, model=model, **fields))

    def order[O: (CreateOrder, DeleteOrder)](self, kind: type[O], **fields: Any) -> O:
        self.jobs += 1
        values = {"node": "rog", "job_id": self.jobs, "instance_url": self.url, "deadline_s": 60}
        return kind.model_validate(values | fields)

    def do(self, order: CreateOrder | DeleteOrder) -> ApplyProgress:
        self.namings.carry_out(order)
        return self.said(order.job_id)[-1]

    def said(self, job_id: int) -> list[ApplyProgress]:
        reports = self.server.reports("rog")
        return [r for r in reports if isinstance(r, ApplyProgress) and r.job_id == job_id]

    def load(self, model: str, **fields: Any) -> LoadProgress:
        self.jobs += 1
        values = {"node": "rog", "job_id": self.jobs, "instance_url": self.url, "model": model}
        order = LoadOrder.model_validate(values | {"wish": "load", "deadline_s": 60} | fields)
        self.loads.carry_out(order)
        reports = self.server.reports("rog")
        return [r for r in reports if isinstance(r, LoadProgress) and r.job_id == order.job_id][-1]

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)
