"""What a node worker costs its machine: the real binding of NVML, four cards, one pull done."""

import time
from collections.abc import Iterator

import pytest

from tests.benchmarks.weighing import MIB, cpu_s, memory_bytes
from tests.figures import Tell
from tests.simlab import OllamaLab, ollama_lab
from tests.workers.gpus.test_nvml import compile_library
from tests.workers.node_process import Hub, Node, node_process
from tests.workers.stores import OwnStore, own_store

pytestmark = [pytest.mark.long, pytest.mark.e2e]

WORKER_BYTES = 75 * MIB
REST_S = 60
CARD = """\
gpu{n}.uuid = GPU-{n}
gpu{n}.name = NVIDIA GeForce RTX 3090
gpu{n}.pci = 00000000:0{n}:00.0
gpu{n}.total = 25769803776
gpu{n}.used = 9663676416
gpu{n}.free = 15632171008
gpu{n}.reserved = 473956352
gpu{n}.util = 0
gpu{n}.temp = 41
gpu{n}.power = 21500
gpu{n}.limit = 350000
gpu{n}.clock.graphics = 210
gpu{n}.clock.memory = 405
gpu{n}.throttle = 0x1
gpu{n}.compute = 4242{n}:9200000000
gpu{n}.graphics =
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaLab]:
    with ollama_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def node(
    server: OwnStore, ollama: OllamaLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    state = folder / "state"
    state.write_text(
        "driver = 580.105.08\ncount = 4\n" + "".join(CARD.format(n=n) for n in range(4))
    )
    settings = {
        "LABDASH_OLLAMA_URLS": ollama.url,
        "LD_LIBRARY_PATH": str(compile_library(folder)),
        "FAKE_NVML_STATE": str(state),
    }
    with node_process("rog", store_url=server.url, folder=folder, **settings) as node:
        node.wait_until_ready()
        hub = Hub(server)
        hub.pull(ollama.url, model="qwen3:0.6b")
        hub.wait_for_phase("installed")
        yield node


def test_node_worker_at_rest_is_light(node: Node, tell: Tell) -> None:
    pid = node.process.pid
    before = cpu_s(pid)
    time.sleep(REST_S)
    share = (cpu_s(pid) - before) / REST_S
    alone = memory_bytes(pid, "Rss")
    shared = memory_bytes(pid)
    tell(
        "node worker after a pull",
        f"{shared / MIB:.0f} MB PSS, {alone / MIB:.0f} MB RSS",
        goal="75",
    )
    tell("node worker at rest", f"{100 * share:.2f} % of a core", goal="0.5")
    assert shared <= WORKER_BYTES
