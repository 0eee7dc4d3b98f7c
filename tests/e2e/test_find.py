"""A look through a network that the test made: a hub and two machines in their own namespaces."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from labdash.env import ROOT
from tests.e2e.test_network import Network, ip, running
from tests.processes import eventually
from tests.workers.engines.test_find import Scripted, answer, scripted
from tests.workers.node_process import Hub
from tests.workers.stores import OwnStore, own_store
from workers.wire.finding import OLLAMA_PORT, Found, LeftOut, LookedNetwork
from workers.wire.keys import find_wish_key, found_key

ID = "ab" * 16
OLLAMA, PAGE = answer(b'{"version":"0.9.1"}'), answer(b"<html>a router</html>")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces"),
]


@pytest.fixture
def network() -> Iterator[Network]:
    """The namespaces; the hub has a bridge for containers and an address of the world too."""
    made = Network()
    try:
        made.make()
        hub = ("-n", made.name("hub"))
        ip(*hub, "link", "add", "docker0", "type", "bridge")
        ip(*hub, "addr", "add", "172.17.0.1/16", "dev", "docker0")
        ip(*hub, "link", "set", "docker0", "up")
        ip(*hub, "addr", "add", "198.51.100.7/24", "dev", "br0")
        yield made
    finally:
        made.remove()


def serve(network: Network, ends: ExitStack, of: str, address: str, say: bytes) -> Scripted:
    """Let a machine answer on Ollama's port."""
    with network.entered(of):
        return ends.enter_context(scripted(say, at=address, port=OLLAMA_PORT))


def found(server: OwnStore) -> Found | None:
    text: Any = server.client.get(found_key())
    return Found.model_validate_json(text) if text else None


def test_the_hubs_private_networks_are_asked_by_order_for_a_version_and_nothing_else(
    network: Network, tmp_path: Path
) -> None:
    worker = [*network.inside("hub"), sys.executable, "-m", "workers", "--node", "@hub"]
    log = tmp_path / "hub.txt"
    with own_store() as store, ExitStack() as ends:
        serve(network, ends, "hub", "10.77.0.1", OLLAMA)
        near = serve(network, ends, "a", "10.77.0.2", OLLAMA)
        serve(network, ends, "b", "10.77.0.3", PAGE)
        ends.enter_context(network.listened_to())
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REDIS_URL": store.url}
        ends.enter_context(running(worker, log, cwd=ROOT, env=env))
        assert eventually(lambda: "ready." in log.read_text()), log.read_text()
        assert near.asked == []
        store.client.set(find_wish_key(), ID, ex=10)
        Hub(store).order("@hub", "workers.find", {"find_id": ID})
        assert eventually(lambda: bool((told := found(store)) and told.state == "ended"))
        told = found(store)
    assert told
    assert (told.looked_at, told.total, told.is_simulated) == (254, 254, False)
    assert told.networks == (LookedNetwork(network="10.77.0.0/24"),)
    assert set(told.left_out) == {
        LeftOut(name="docker0", why="virtual"),
        LeftOut(name="br0 198.51.100.7", why="public"),
    }
    assert {(each.address, each.version, each.is_own) for each in told.servers} == {
        ("10.77.0.1", "0.9.1", True),
        ("10.77.0.2", "0.9.1", False),
    }
    assert len(near.asked) == 1
    heard = bytes(network.heard)
    assert heard.count(b"GET /api/version") == heard.count(b"GET ") == 2
