"""The worker on the hub as a process, asked to look. Only as in the demo: no network is asked."""

from pathlib import Path
from typing import Any

from tests.workers.fake_ollama import fake_ollama
from tests.workers.node_process import Hub, node_process, wait_for
from tests.workers.stores import OwnStore, own_store
from workers.wire.finding import Found
from workers.wire.keys import find_wish_key, found_key

ID = "ab" * 16


def found(server: OwnStore) -> Found | None:
    text: Any = server.client.get(found_key())
    return Found.model_validate_json(text) if text else None


def test_the_demos_worker_looks_by_order_at_its_own_machines_alone(tmp_path: Path) -> None:
    demo = {"LABDASH_DEMO": "yes"}
    with own_store() as server, fake_ollama() as fake:
        demo["LABDASH_OLLAMA_URLS"] = fake.url
        with node_process("@hub", store_url=server.url, folder=tmp_path, **demo) as node:
            node.wait_until_ready()
            assert not server.client.exists(found_key())
            assert fake.calls == []
            server.client.set(find_wish_key(), ID, ex=10)
            Hub(server).order("@hub", "workers.find", {"find_id": ID})
            wait_for(lambda: (told := found(server)) and told.state == "ended")
        told = found(server)
    assert told
    assert told.is_simulated
    assert told.networks == ()
    assert [f"http://{each.address}:{each.port}" for each in told.servers] == [fake.url]
