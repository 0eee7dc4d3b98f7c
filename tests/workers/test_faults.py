"""What befalls Ollama and the driver under a real worker process; see deploy/docs/faults.md."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    FakeOllama,
    Hold,
    Refuse,
    fake_ollama,
    layer,
)
from tests.workers.gpus.test_nvml import compile_library
from tests.workers.node_process import Hub, node_process, wait_for
from tests.workers.stores import OwnStore, own_store
from workers.wire import InstanceReading, Sample, watched_key

pytestmark = pytest.mark.e2e

DIGEST = "ab" * 32
MODEL = "qwen3:8b"
# Longer than a question to Ollama may take.
SLOW_S = 30
GARBAGE = {
    "a page": "<!doctype html><title>It works!</title>",
    "half an answer": '{"version": "0.3',
    "another program": '{"status": "ok"}',
    "a list": "[1, 2]",
    "bytes": "\x00\x01\x02",
    "a lot": "x" * 3_000_000,
}
CARD = {
    "uuid": "GPU-a",
    "name": "NVIDIA GeForce RTX 3090",
    "pci": "00000000:01:00.0",
    "total": 25769803776,
    "used": 9663676416,
    "free": 15632171008,
    "reserved": 473956352,
}


class Lab:
    """A running worker, its store, and the faults that its server and driver can have."""

    def __init__(self, server: OwnStore, fake: FakeOllama, driver: Path) -> None:
        self.server, self.fake, self._driver = server, fake, driver
        self.hub = Hub(server)
        self.heal()

    def heal(self) -> None:
        """Let everything be well."""
        self.fake.failures.clear()
        self.fake.delays_s.clear()
        self.fake.version = "0.32.15"
        self.set_driver(count=1)

    def set_driver(self, **lines: object) -> None:
        """Write what the driver tells."""
        told = {"driver": "580.105.08", **{f"gpu0.{key}": value for key, value in CARD.items()}}
        text = "".join(f"{key} = {value}\n" for key, value in {**told, **lines}.items())
        self._driver.write_text(text.replace("error_", "error."))

    def sample(self) -> Sample | None:
        """Return what was reported last."""
        found = [each for each in self.server.reports("rog") if isinstance(each, Sample)]
        return found[-1] if found else None

    def instance(self) -> InstanceReading | None:
        """Return what was reported last of the Ollama server."""
        sample = self.sample()
        return sample.instances[0] if sample and sample.instances else None

    def is_well(self) -> bool:
        """Tell whether server and card are reported as they should be."""
        sample, instance = self.sample(), self.instance()
        return bool(
            sample
            and instance
            and instance.state == "ok"
            and sample.driver.state == "ok"
            and [gpu.state for gpu in sample.gpus] == ["ok"]
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("faults")
    with own_store() as server, fake_ollama() as fake:
        lab = Lab(server, fake, folder / "driver")
        settings = {
            "LABDASH_OLLAMA_URLS": fake.url,
            "LD_LIBRARY_PATH": str(compile_library(folder)),
            "FAKE_NVML_STATE": str(folder / "driver"),
        }
        with node_process("rog", store_url=server.url, folder=folder, **settings) as node:
            node.wait_until_ready()
            yield lab


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    running.heal()
    running.server.client.set(watched_key("rog"), 1)
    wait_for(running.is_well)
    yield running
    running.heal()
    wait_for(running.is_well)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_server_that_answers_garbage_is_told_and_asked_again(lab: Lab, garbage: str) -> None:
    lab.fake.failures["/api/version"] = Refuse(200, GARBAGE[garbage])
    wait_for(lambda: (told := lab.instance()) and told.state == "error" and told.reason)


def test_server_that_fails_is_told_with_its_status(lab: Lab) -> None:
    lab.fake.failures["/api/version"] = Refuse(500, "internal error")
    wait_for(lambda: (told := lab.instance()) and told.state == "error")


@pytest.mark.long
def test_server_that_is_slow_is_told_and_the_card_is_still_measured(lab: Lab) -> None:
    lab.fake.delays_s["/api/version"] = SLOW_S
    wait_for(lambda: (told := lab.instance()) and told.state == "timeout")
    sample = lab.sample()
    assert sample
    assert sample.gpus[0].memory_used_bytes == CARD["used"]


def test_server_that_is_replaced_in_a_pull_is_told_by_its_new_version(lab: Lab) -> None:
    hold = Hold()
    lab.fake.scripts[MODEL] = [[MANIFEST, layer(DIGEST, 100, 10), hold, SUCCESS]]
    lab.hub.pull(lab.fake.url)
    lab.hub.wait_for_phase("downloading")
    lab.fake.version = "0.40.0"
    wait_for(lambda: (told := lab.instance()) and told.version == "0.40.0")
    hold.let_go()
    lab.hub.wait_for_phase("installed")


def test_card_that_is_lost_is_told_and_comes_back(lab: Lab) -> None:
    lab.set_driver(count=1, **{"gpu0.error.all": 15})
    wait_for(lambda: (told := lab.sample()) and [gpu.state for gpu in told.gpus] == ["lost"])


@pytest.mark.parametrize(("code", "state"), [(9, "not_loaded"), (18, "mismatch")])
def test_driver_that_goes_is_told_and_comes_back(lab: Lab, code: int, state: str) -> None:
    lab.set_driver(count=1, **{"init.error": code, "count.error": code, "gpu0.error.all": code})
    wait_for(lambda: (told := lab.sample()) and told.driver.state == state)
