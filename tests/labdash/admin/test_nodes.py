"""Nodes in the admin."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labdash import live
from labdash.domain.library import record_inventory
from labdash.domain.telemetry import record_sample
from labdash.models import Gpu, GpuPeriod, GpuSample, GpuSource, Instance, Node, PullJob, Tier
from tests.factories import GIB, inventory, make_node, orders, running_job, sample, seen
from workers import wire

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/labdash/node/"


def node_form(**changes: object) -> dict[str, object]:
    """Return what the form of a new agentless node with two GPUs sends."""
    return {
        "slug": "attic",
        "kind": "linux",
        "agentless": "on",
        "declared_ram_bytes": "64",
        "instances-TOTAL_FORMS": "1",
        "instances-INITIAL_FORMS": "0",
        "instances-0-name": "ollama",
        "instances-0-url": "http://10.0.0.7:11434/",
        "gpus-TOTAL_FORMS": "2",
        "gpus-INITIAL_FORMS": "0",
        "gpus-0-name": "RTX 3090",
        "gpus-0-memory_total_bytes": "24",
        "gpus-1-name": "RTX 4070",
        "gpus-1-memory_total_bytes": "11.5",
        **changes,
    }


def changed_form(node: Node, **changes: object) -> dict[str, object]:
    """Return what the form of a stored node sends, but for these changes."""
    fields: dict[str, object] = {"kind": node.kind, "gpus-TOTAL_FORMS": "0"}
    for prefix, rows, names in (
        ("instances", node.instances.all(), ("name", "url")),
        ("gpus", node.gpus.filter(source=GpuSource.DECLARED), ("name",)),
    ):
        fields |= {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": len(rows)}
        for number, row in enumerate(rows):
            fields |= {f"{prefix}-{number}-id": row.pk, f"{prefix}-{number}-node": node.pk}
            fields |= {f"{prefix}-{number}-{name}": getattr(row, name) for name in names}
            if isinstance(row, Gpu):
                fields[f"{prefix}-{number}-memory_total_bytes"] = "24"
    return fields | changes


def act(page: Client, action: str, *nodes: Node, **fields: object) -> str:
    """Run an action on nodes and return the page that follows."""
    chosen = [str(node.pk) for node in nodes]
    data = {"action": action, "_selected_action": chosen, **fields}
    return page.post(LIST, data, follow=True).text


def test_an_agentless_node_is_added_on_one_page_and_told_to_the_hubs_worker(page: Client) -> None:
    answer = page.post(f"{LIST}add/", node_form())
    assert answer.status_code == 302, answer.text
    node = Node.objects.get()
    assert (node.agentless, node.declared_ram_bytes) == (True, 64 * GIB)
    assert list(node.gpus.values_list("index", "name", "memory_total_bytes", "source")) == [
        (0, "RTX 3090", 24 * GIB, GpuSource.DECLARED),
        (1, "RTX 4070", int(11.5 * GIB), GpuSource.DECLARED),
    ]
    (told,) = json.loads(str(live.store().get(wire.hub_nodes_key())))
    spec = wire.NodeSpec.model_validate(told)
    assert spec.instances == (wire.InstanceSpec(name="ollama", url="http://10.0.0.7:11434"),)
    assert spec.declared is not None
    assert [gpu.name for gpu in spec.declared.gpus] == ["RTX 3090", "RTX 4070"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("slug", "At Tic", "Use small letters"),
        ("instances-0-url", "ftp://x", "is no http or https address"),
        ("instances-0-url", "http://a:b@x:1", "Leave out the user name"),
        ("gpus-0-memory_total_bytes", "0", "greater than or equal to 0.1"),
        ("gpus-0-memory_total_bytes", "lots", "Enter a number"),
        ("declared_ram_bytes", "-1", "greater than or equal to 0.1"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(
    page: Client, field: str, value: str, message: str
) -> None:
    answer = page.post(f"{LIST}add/", node_form(**{field: value}))
    assert (answer.status_code, message in answer.text) == (200, True)
    assert not Node.objects.exists()


def test_sizes_are_shown_in_gib_and_stay_when_nothing_is_changed(page: Client) -> None:
    page.post(f"{LIST}add/", node_form())
    node = Node.objects.get()
    answer = page.get(f"{LIST}{node.pk}/change/")
    assert 'value="64.0"' in answer.text
    assert 'value="11.5"' in answer.text


def test_the_name_of_a_node_and_who_serves_it_are_settled(page: Client) -> None:
    node = make_node("rog")
    text = page.get(f"{LIST}{node.pk}/change/").text
    assert 'name="slug"' not in text
    assert 'name="agentless"' not in text


def test_a_measured_node_has_no_gpu_to_be_typed(page: Client) -> None:
    node = make_node("rog")
    Gpu.objects.create(node=node, uuid="GPU-1", name="RTX 3090", source=GpuSource.NVML)
    text = page.get(f"{LIST}{node.pk}/change/").text
    assert "RTX 3090" in text
    assert 'name="gpus-0-name"' not in text


def test_a_changed_address_is_told_to_the_worker(page: Client) -> None:
    node = make_node("rog")
    data = changed_form(node, **{"instances-0-url": "http://127.0.0.1:9"})
    answer = page.post(f"{LIST}{node.pk}/change/", data)
    assert answer.status_code == 302, answer.text
    assert '"http://127.0.0.1:9"' in str(live.store().get(wire.spec_key("rog")))


def declared(node: Node) -> list[tuple[int, str]]:
    """Return the declared GPUs as they are numbered, which is as the worker numbers them."""
    (told,) = json.loads(str(live.store().get(wire.hub_nodes_key())))
    names = [gpu["name"] for gpu in told["declared"]["gpus"]]
    rows = list(node.gpus.order_by("index").values_list("index", "name"))
    assert rows == list(enumerate(names))
    return rows


def three_gpus() -> Node:
    """Store an agentless node with three GPUs, numbered as an earlier deletion left them."""
    node = make_node("attic", agentless=True)
    for index, name in ((1, "A"), (3, "B"), (4, "C")):
        Gpu.objects.create(node=node, index=index, name=name, memory_total_bytes=GIB)
    return node


def test_gpus_are_numbered_from_0_whatever_is_added_and_deleted(page: Client) -> None:
    node = three_gpus()
    url = f"{LIST}{node.pk}/change/"
    page.post(url, changed_form(node, **{"gpus-1-DELETE": "on"}))
    assert declared(node) == [(0, "A"), (1, "C")]
    added = {"gpus-TOTAL_FORMS": "4"}
    for number, name in ((2, "D"), (3, "E")):
        added |= {f"gpus-{number}-name": name, f"gpus-{number}-memory_total_bytes": "24"}
    page.post(url, changed_form(node, **{**added, "gpus-0-DELETE": "on"}))
    assert declared(node) == [(0, "C"), (1, "D"), (2, "E")]


@pytest.mark.parametrize("way", ["page", "list"])
def test_a_gpu_that_is_deleted_on_its_own_leaves_no_gap(page: Client, way: str) -> None:
    node = three_gpus()
    gone = node.gpus.get(name="A")
    if way == "page":
        page.post(f"/admin/labdash/gpu/{gone.pk}/delete/", {"post": "yes"})
    else:
        chosen = {"action": "delete_selected", "_selected_action": str(gone.pk), "post": "yes"}
        page.post("/admin/labdash/gpu/", chosen)
    assert declared(node) == [(0, "B"), (1, "C")]


@pytest.mark.parametrize("what", ["node", "instance"])
def test_what_nobody_has_counted_yet_is_unknown_and_not_0(page: Client, what: str) -> None:
    node = make_node("rog")
    url = f"/admin/labdash/{what}/"
    column = "gpu_count" if what == "node" else "models"
    cell = re.compile(rf'field-{column}">([^<]*)<')
    assert cell.findall(page.get(url).text) == ["unknown"]
    record_sample(sample("rog", gpus=()), arrived_at=timezone.now())
    record_inventory(inventory(), arrived_at=timezone.now())
    assert cell.findall(page.get(url).text) == ["0"]
    assert node.gpus.count() == 0


def test_a_server_is_listed_once_wherever_it_is_typed(page: Client) -> None:
    make_node("rog", urls=["http://10.0.0.7:11434"], agentless=True)
    message = "is listed already, as rog/ollama"
    assert message in page.post(f"{LIST}add/", node_form()).text
    tower = make_node("tower", agentless=True)
    form = changed_form(tower, **{"instances-0-url": "http://10.0.0.7:11434"})
    assert message in page.post(f"{LIST}{tower.pk}/change/", form).text
    lone = {"node": tower.pk, "name": "other", "url": "http://10.0.0.7:11434"}
    assert message in page.post("/admin/labdash/instance/add/", lone).text
    server = tower.instances.get()
    assert message in page.post(f"/admin/labdash/instance/{server.pk}/change/", lone).text
    assert Instance.objects.count() == 2


def test_servers_of_one_form_are_compared_with_each_other_as_they_will_be(page: Client) -> None:
    node = make_node("rog", urls=["http://10.0.0.7:1", "http://10.0.0.7:2"], agentless=True)
    url = f"{LIST}{node.pk}/change/"
    same = changed_form(node, **{"instances-1-url": "http://10.0.0.7:1"})
    assert "is listed already" in page.post(url, same).text
    swapped = {"instances-0-url": "http://10.0.0.7:2", "instances-1-url": "http://10.0.0.7:1"}
    assert page.post(url, changed_form(node, **swapped)).status_code == 302
    replaced = {"instances-0-DELETE": "on", "instances-1-url": "http://10.0.0.7:2"}
    assert page.post(url, changed_form(node, **replaced)).status_code == 302
    assert list(node.instances.values_list("name", "url")) == [("ollama-2", "http://10.0.0.7:2")]


def test_servers_that_were_stored_twice_keep_nothing_else_from_being_changed(page: Client) -> None:
    make_node("rog", agentless=True)
    node = make_node("tower", agentless=True)
    answer = page.post(f"{LIST}{node.pk}/change/", changed_form(node, paused="on"))
    assert answer.status_code == 302, answer.text
    node.refresh_from_db()
    assert node.paused is True


def test_a_new_node_has_the_server_that_its_form_proposes(page: Client) -> None:
    form = node_form(**{"instances-0-url": "http://127.0.0.1:11434"})
    page.post(f"{LIST}add/", form)
    assert Instance.objects.get().url == "http://127.0.0.1:11434"


def test_a_server_stays_on_its_node(page: Client) -> None:
    server, tower = make_node("rog").instances.get(), make_node("tower")
    data = {"node": tower.pk, "name": "ollama", "url": "http://127.0.0.1:9"}
    page.post(f"/admin/labdash/instance/{server.pk}/change/", data)
    server.refresh_from_db()
    assert (server.node.slug, server.url) == ("rog", "http://127.0.0.1:9")


@pytest.mark.parametrize(("started_with", "told"), [("http://127.0.0.1:11434", 1), ("", 0)])
def test_whoever_deletes_a_node_of_the_start_is_told_how_to_keep_it_away(
    page: Client, started_with: str, told: int
) -> None:
    node = make_node("rog", started_with=started_with)
    words = "the next start adds it again unless that is deploy/up --no-local-node"
    assert page.get(f"{LIST}{node.pk}/delete/").text.count(words) == told
    assert act(page, "delete_selected", node).count(words) == told
    answer = page.post(f"{LIST}{node.pk}/delete/", {"post": "yes"}, follow=True)
    assert (words in answer.text, Node.objects.exists()) == (False, False)


def test_deleting_a_node_forgets_its_keys(page: Client) -> None:
    node = make_node("rog")
    seen("rog")
    page.post(f"{LIST}{node.pk}/delete/", {"post": "yes"})
    assert (Node.objects.count(), live.store().exists(live.state_key("rog"))) == (0, 0)


def test_deleting_from_the_list_forgets_the_keys_too(page: Client) -> None:
    node = make_node("rog")
    seen("rog")
    act(page, "delete_selected", node, post="yes")
    assert (Node.objects.count(), live.store().exists(live.state_key("rog"))) == (0, 0)


@pytest.mark.parametrize("way", ["page", "list", "server", "servers", "inline"])
def test_deleting_is_refused_in_words_while_nobody_can_stop_a_pull(
    page: Client, dead_store: None, way: str
) -> None:
    job = running_job()
    node, instance = job.instance.node, job.instance
    servers = "/admin/labdash/instance/"
    chosen = {"action": "delete_selected", "_selected_action": str(instance.pk), "post": "yes"}
    match way:
        case "page":
            answer = page.post(f"{LIST}{node.pk}/delete/", {"post": "yes"}, follow=True).text
        case "list":
            answer = act(page, "delete_selected", node, post="yes")
        case "server":
            url = f"{servers}{instance.pk}/delete/"
            answer = page.post(url, {"post": "yes"}, follow=True).text
        case "servers":
            answer = page.post(servers, chosen, follow=True).text
        case _:
            form = changed_form(node, **{"instances-0-DELETE": "on"})
            answer = page.post(f"{LIST}{node.pk}/change/", form, follow=True).text
    assert "so the pull of qwen3:8b to rog/ollama cannot be stopped. Try again later." in answer
    assert PullJob.objects.get() == job


def test_nodes_are_paused_and_resumed(page: Client) -> None:
    node = make_node("rog")
    assert "Paused: 1." in act(page, "pause", node)
    assert Node.objects.get().paused is True
    assert "Resumed: 1." in act(page, "resume", node)
    assert Node.objects.get().paused is False


def test_inventories_are_asked_for(page: Client) -> None:
    rog, tower = make_node("rog"), make_node("tower")
    assert "Asked to report: 2." in act(page, "refresh_inventory", rog, tower)
    assert [order["task"] for order in orders("tower")] == ["workers.refresh"]


def test_a_store_that_is_down_is_told_for_each_node(page: Client, dead_store: None) -> None:
    text = act(page, "refresh_inventory", make_node("rog"))
    assert "Not done for rog: The store does not answer" in text


def test_a_pull_to_nodes_asks_for_a_name_first(page: Client) -> None:
    text = act(page, "pull_to_nodes", make_node("rog"), make_node("tower"))
    assert 'name="model"' in text
    assert "rog, tower" in text
    assert not PullJob.objects.exists()


def test_a_name_then_is_pulled_to_every_server_of_the_nodes(page: Client) -> None:
    rog = make_node("rog", urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    text = act(page, "pull_to_nodes", rog, pull_confirmed="yes", model="qwen3:8b")
    assert "Pulls of qwen3:8b queued: 2." in text
    assert PullJob.objects.count() == Instance.objects.count() == 2


def test_a_name_that_cannot_be_pulled_is_refused_on_the_page(page: Client) -> None:
    text = act(page, "pull_to_nodes", make_node("rog"), pull_confirmed="yes", model="evil/a/b/c/d")
    assert "too many parts" in text
    assert not PullJob.objects.exists()


def test_an_instance_can_be_pulled_to_from_its_list(page: Client) -> None:
    instance = make_node("rog").instances.get()
    data = {
        "action": "pull_to_instances",
        "_selected_action": str(instance.pk),
        "pull_confirmed": "yes",
        "model": "qwen3:8b",
    }
    page.post("/admin/labdash/instance/", data)
    assert PullJob.objects.get().instance == instance


def test_a_declared_gpu_can_be_corrected_and_what_is_measured_not(page: Client) -> None:
    node = make_node("attic", agentless=True)
    declared = Gpu.objects.create(node=node, name="4070", memory_total_bytes=GIB)
    measured = Gpu.objects.create(node=node, name="3090", uuid="A", source=GpuSource.NVML)
    data = {"name": "RTX 4070", "memory_total_bytes": "12"}
    page.post(f"/admin/labdash/gpu/{declared.pk}/change/", data)
    declared.refresh_from_db()
    assert (declared.name, declared.memory_total_bytes) == ("RTX 4070", 12 * GIB)
    page.post(f"/admin/labdash/gpu/{measured.pk}/change/", {**data, "reserve_bytes": "2"})
    measured.refresh_from_db()
    assert (measured.name, measured.memory_total_bytes) == ("3090", None)
    assert measured.reserve_bytes == 2 * GIB


def test_nodes_can_be_found_for_autocompletion(page: Client) -> None:
    make_node("rog")
    query = {"app_label": "labdash", "model_name": "instance", "field_name": "node", "term": "ro"}
    assert page.get("/admin/autocomplete/", query).json()["results"][0]["text"] == "rog"


def test_a_node_added_by_hand_is_agentless_unless_said_otherwise(page: Client) -> None:
    form = page.get(f"{LIST}add/").context["adminform"].form
    assert form["agentless"].initial is True


def test_history_is_not_listed_where_a_node_or_a_gpu_is_to_be_deleted_and_goes_too(
    page: Client,
) -> None:
    node, now = make_node(), timezone.now()
    row = Gpu.objects.create(node=node, uuid="A", name="P40")
    counts = []
    for number in range(2):
        GpuSample.objects.bulk_create(
            GpuSample(gpu=row, at=now - timedelta(seconds=number * 50 + second))
            for second in range(50)
        )
        GpuPeriod.objects.create(gpu=row, length_s=Tier.MINUTE, at=now, samples=1)
        now -= timedelta(minutes=5)
        for url in (f"{LIST}{node.pk}/delete/", f"/admin/labdash/gpu/{row.pk}/delete/"):
            with CaptureQueriesContext(connection) as queries:
                shown = page.get(url).text
            assert "GPU: rog GPU 0 (P40)" in shown
            assert "GPU sample:" not in shown
            counts.append(len(queries))
    assert counts[:2] == counts[2:]
    page.post(f"{LIST}{node.pk}/delete/", {"post": "yes"})
    assert (GpuSample.objects.count(), GpuPeriod.objects.count()) == (0, 0)
