"""The node worker as it really runs: a process with Celery's worker and its telemetry."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.fake_ollama import (
    MANIFEST,
    SUCCESS,
    VERIFYING,
    FakeOllama,
    Wait,
    fake_ollama,
    layer,
)
from tests.workers.node_process import ROOT, Hub, Node, node_process, wait_for
from tests.workers.stores import OwnStore, own_store
from workers.wire import PROTOCOL_VERSION, Inventory, Sample, cancel_key

pytestmark = pytest.mark.e2e

DIGEST = "ab" * 32
# Longer than a person waits, shorter than a service manager does before it kills.
SOON_S = 8


@pytest.fixture
def server() -> Iterator[OwnStore]:
    with own_store() as server:
        yield server


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with fake_ollama() as fake:
        yield fake


@pytest.fixture
def hub(server: OwnStore) -> Hub:
    return Hub(server)


@pytest.fixture
def node(server: OwnStore, fake: FakeOllama, tmp_path: Path) -> Iterator[Node]:
    urls = {"LABDASH_OLLAMA_URLS": fake.url, "OLLAMA_API_KEY": "a secret"}
    with node_process("rog", store_url=server.url, folder=tmp_path, **urls) as node:
        node.wait_until_ready()
        yield node


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "workers", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_setting_that_is_read() -> None:
    answer = run("--help")

    assert answer.returncode == 0
    for name in ("REDIS_URL", "REDIS_URL_FILE", "LABDASH_NODE", "LABDASH_OLLAMA_URLS"):
        assert name in answer.stdout
    assert "LABDASH_HARDWARE" in answer.stdout


def test_a_bad_setting_ends_it_with_one_line() -> None:
    answer = run("--node", "Bad Name", REDIS_URL="redis://127.0.0.1:1/0")

    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "labdash-node: --node or LABDASH_NODE: 'Bad Name': write small letters, digits and '-'"
        " (at most 50), or @hub\n"
    )


def test_it_samples_takes_orders_and_ends_when_told(
    server: OwnStore, fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.install("qwen3:8b", "c0" * 32, DIGEST)
    wait_for(lambda: any(isinstance(r, Sample) for r in server.reports("rog")))
    before = len(server.reports("rog"))
    hub.order("rog", "workers.refresh", {"node": "rog"})
    wait_for(lambda: any(isinstance(r, Inventory) for r in server.reports("rog")[before:]))

    assert node.terminate() < SOON_S
    assert node.process.returncode == 0
    assert "Traceback" not in node.log


def test_a_pull_goes_from_order_to_inventory(
    server: OwnStore, fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [
        [MANIFEST, layer(DIGEST, 1000, 400), Wait(1), layer(DIGEST, 1000, 900), VERIFYING, SUCCESS]
    ]
    hub.pull(fake.url)
    hub.wait_for_phase("installed")
    end = server.reports("rog").index(hub.said()[-1])
    wait_for(lambda: any(isinstance(r, Inventory) for r in server.reports("rog")[end:]))

    headers = [headers for path, _, headers in fake.calls if path == "/api/pull"]
    assert "authorization" not in {name.lower() for name in headers[0]}


def test_a_pull_is_cancelled_by_its_key(
    server: OwnStore, fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [[MANIFEST, layer(DIGEST, 1000, 900), VERIFYING, Wait(60)]]
    hub.pull(fake.url)
    hub.wait_for_phase("verifying")
    server.client.set(cancel_key("rog", 1), 1)
    hub.wait_for_phase("cancelled")

    wait_for(lambda: fake.pulls[0].left)


def test_the_end_of_the_worker_interrupts_a_pull_and_reports_no_end(
    fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [[MANIFEST, layer(DIGEST, 1000, 900), VERIFYING, Wait(120)]]
    hub.pull(fake.url)
    hub.wait_for_phase("verifying")

    assert node.terminate() < SOON_S
    assert node.process.returncode == 0
    wait_for(lambda: fake.pulls[0].left)
    assert hub.said()[-1].phase == "verifying"


def test_a_store_that_goes_and_comes_back_in_a_pull_loses_nothing(
    server: OwnStore, fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [[MANIFEST, layer(DIGEST, 1000, 900), VERIFYING, Wait(4), SUCCESS]]
    fake.scripts["gemma3:4b"] = [[MANIFEST, SUCCESS]]
    hub.pull(fake.url)
    hub.wait_for_phase("verifying")
    server.stop()
    wait_for(lambda: fake.pulls[0].ended_at)
    server.start()
    hub.wait_for_phase("installed")

    assert node.process.poll() is None
    hub.pull(fake.url, job_id=2, model="gemma3:4b")
    hub.wait_for_phase("installed", job_id=2)
    assert "Unrecoverable" not in node.log


def test_without_a_store_it_waits_for_one_and_ends_when_told(
    server: OwnStore, fake: FakeOllama, hub: Hub, tmp_path: Path
) -> None:
    server.stop()
    urls = {"LABDASH_OLLAMA_URLS": fake.url}
    with node_process("rog", store_url=server.url, folder=tmp_path, **urls) as node:
        wait_for(lambda: "Trying again" in node.log)
        server.start()
        wait_for(lambda: any(isinstance(r, Sample) for r in server.reports("rog")))
        fake.scripts["qwen3:8b"] = [[MANIFEST, SUCCESS]]
        hub.pull(fake.url)
        hub.wait_for_phase("installed")
    server.stop()
    with node_process("rog", store_url=server.url, folder=tmp_path, **urls) as node:
        wait_for(lambda: "Trying again" in node.log)

        assert node.terminate() < SOON_S


def test_a_bad_order_is_told_in_one_line_and_the_next_one_works(
    fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [[MANIFEST, SUCCESS]]
    hub.order("rog", "workers.pull", {"node": "rog", "job_id": "x"})
    hub.order("rog", "workers.pull", "no order at all")
    hub.order("rog", "workers.nothing", {})
    hub.pull(fake.url, model="a/../b", job_id=3)
    hub.pull(fake.url)
    hub.wait_for_phase("installed")

    assert hub.said(3) == []
    assert "bad order kind=PullOrder field=model" in node.log
    assert [pull.model for pull in fake.pulls] == ["qwen3:8b"]


def test_all_keys_of_a_node_lie_under_its_name_and_no_other_right_is_needed(
    server: OwnStore, fake: FakeOllama, hub: Hub, tmp_path: Path
) -> None:
    rights = (
        "on >secret resetkeys resetchannels ~node:rog:* +@read +@write +@transaction"
        " +@connection +@scripting -@dangerous +time -scan -randomkey"
    )
    server.client.execute_command("ACL", "SETUSER", "node-rog", *rights.split())  # type: ignore[no-untyped-call]
    url = server.url.replace("unix://", "unix://node-rog:secret@")
    urls = {"LABDASH_OLLAMA_URLS": fake.url}
    fake.scripts["qwen3:8b"] = [[MANIFEST, SUCCESS]]
    with node_process("rog", store_url=url, folder=tmp_path, **urls) as node:
        node.wait_until_ready()
        hub.pull(fake.url)
        hub.wait_for_phase("installed")
        wait_for(lambda: any(isinstance(r, Inventory) for r in server.reports("rog")))
        node.terminate()

    assert server.client.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]
    assert "secret" not in node.log


def test_the_worker_on_the_hub_pulls_for_an_agentless_node(
    server: OwnStore, fake: FakeOllama, hub: Hub, tmp_path: Path
) -> None:
    spec = (
        f'[{{"slug": "studio", "instances": [{{"name": "ollama", "url": "{fake.url}"}}],'
        ' "declared": {"gpus": []}}]'
    )
    server.client.set("node:@hub:nodes", spec)
    fake.scripts["qwen3:8b"] = [[MANIFEST, SUCCESS]]
    with node_process("@hub", store_url=server.url, folder=tmp_path) as node:
        node.wait_until_ready()
        hub.pull(fake.url, slug="@hub", node="studio")
        hub.wait_for_phase("installed", slug="@hub")

    assert {report.node for report in hub.said(slug="@hub")} == {"studio"}


def test_order_of_a_hub_one_version_newer_is_carried_out_and_of_two_is_told(
    fake: FakeOllama, hub: Hub, node: Node
) -> None:
    fake.scripts["qwen3:8b"] = [[MANIFEST, SUCCESS]]
    hub.pull(fake.url, job_id=3, protocol=PROTOCOL_VERSION + 2)
    wait_for(lambda: f"this worker speaks {PROTOCOL_VERSION}: update the older" in node.log)
    hub.pull(fake.url, protocol=PROTOCOL_VERSION + 1, invented_later={"a": 1})
    hub.wait_for_phase("installed")

    assert hub.said(3) == []
