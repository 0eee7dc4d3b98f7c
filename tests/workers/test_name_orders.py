"""The node worker as a process, asked by the queue to make a name and to delete it."""

from pathlib import Path

from tests.workers.fake_ollama import SUCCESS, fake_ollama
from tests.workers.node_process import Hub, node_process, wait_for
from tests.workers.stores import OwnStore, own_store
from workers.wire import ApplyProgress, CreateOrder, DeleteOrder, Parameters

ALIAS = "labdash/chat"


def phases(server: OwnStore) -> list[tuple[str, str]]:
    reports = [each for each in server.reports("rog") if isinstance(each, ApplyProgress)]
    return [(each.step, each.phase) for each in reports]


def test_names_are_made_and_deleted_by_order(tmp_path: Path) -> None:
    with own_store() as server, fake_ollama() as fake:
        fake.install("m:1b", "d1", "ab" * 32)
        fake.made[ALIAS] = [SUCCESS]
        with node_process(
            "rog", store_url=server.url, folder=tmp_path, LABDASH_OLLAMA_URLS=fake.url
        ) as node:
            node.wait_until_ready()
            hub = Hub(server)
            common = {"node": "rog", "job_id": 1, "instance_url": fake.url, "deadline_s": 60}
            made = CreateOrder.model_validate(
                common | {"model": ALIAS, "base": "m:1b", "parameters": Parameters(num_ctx=4096)}
            )
            hub.order("rog", "workers.create", made.model_dump(mode="json"))
            wait_for(lambda: ("create", "done") in phases(server))
            gone = DeleteOrder.model_validate(common | {"model": ALIAS})
            hub.order("rog", "workers.delete", gone.model_dump(mode="json"))
            # It was not listed, so there was nothing to delete.
            wait_for(lambda: ("delete", "done") in phases(server))
            bad = {**gone.model_dump(mode="json"), "model": "m:1b"}
            hub.order("rog", "workers.delete", bad)
            wait_for(lambda: "bad order kind=DeleteOrder field=model" in node.log)
