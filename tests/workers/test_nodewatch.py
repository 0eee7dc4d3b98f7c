"""One node under watch whose surroundings misbehave, with a real store."""

import time

import pytest

from tests.workers.stores import own_store
from tests.workers.test_telemetry import wait_for_threads
from workers import wire
from workers.nodewatch import NodeWatch
from workers.store import Store
from workers.wire import NodeSpec


class Stumbling(Store):
    """A store that takes no sample the first time, for a reason that nobody foresaw."""

    stumbles = 1

    def send(self, report: wire.Report) -> None:
        if isinstance(report, wire.Sample) and self.stumbles:
            self.stumbles -= 1
            raise RuntimeError("nobody foresaw this")
        super().send(report)


def test_a_cycle_that_fails_is_logged_and_the_next_one_reports(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with own_store() as server:
        server.client.set(wire.watched_key("rog"), 1)
        store = Stumbling(server.url, slug="rog")
        watch = NodeWatch(NodeSpec(slug="rog"), store=store, simulated_url=None)
        deadline = time.monotonic() + 20
        while not server.reports("rog"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        watch.stop()
        wait_for_threads()
        store._client.close()

    assert "nobody foresaw this" in caplog.text
