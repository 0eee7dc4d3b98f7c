"""What a person does with nodes."""

import json
from collections.abc import Callable

import pytest

from labdash import live
from labdash.domain import nodes
from labdash.domain.errors import LabDashError
from labdash.models import Gpu, Instance, Node, PullJob
from tests.factories import GIB, make_instance, make_node, orders, running_job, seen
from workers import wire

DB = pytest.mark.django_db
ACTUAL = pytest.mark.django_db(transaction=True)


def spec(slug: str) -> wire.NodeSpec | None:
    """Return what the store tells the worker of a node."""
    text = live.store().get(wire.spec_key(slug))
    return None if text is None else wire.NodeSpec.model_validate_json(str(text))


def hub_specs() -> list[wire.NodeSpec]:
    """Return what the store tells the worker on the hub."""
    text = live.store().get(wire.hub_nodes_key()) or "[]"
    return [wire.NodeSpec.model_validate(entry) for entry in json.loads(str(text))]


@ACTUAL
def test_an_added_node_is_told_to_its_worker() -> None:
    nodes.add_node(slug="rog", urls=["http://127.0.0.1:11434", "http://127.0.0.1:11435/"])
    assert spec("rog") == wire.NodeSpec(
        slug="rog",
        instances=(
            wire.InstanceSpec(name="ollama", url="http://127.0.0.1:11434"),
            wire.InstanceSpec(name="ollama-2", url="http://127.0.0.1:11435"),
        ),
    )
    assert hub_specs() == []


@ACTUAL
def test_an_agentless_node_is_told_to_the_worker_on_the_hub_with_its_hardware() -> None:
    card = wire.DeclaredGpu(name="RTX 4070", memory_total_bytes=12 * GIB)
    nodes.add_node(
        slug="attic",
        urls=["http://10.0.0.7:11434"],
        agentless=True,
        ram_bytes=32 * GIB,
        gpus=[card, card],
    )
    assert spec("attic") is None
    assert hub_specs() == [
        wire.NodeSpec(
            slug="attic",
            instances=(wire.InstanceSpec(name="ollama", url="http://10.0.0.7:11434"),),
            declared=wire.DeclaredHardware(ram_total_bytes=32 * GIB, gpus=(card, card)),
        )
    ]


@DB
def test_two_nodes_cannot_have_one_name() -> None:
    make_node("rog")
    with pytest.raises(LabDashError, match="There is a node named rog already"):
        nodes.add_node(slug="rog", urls=["http://127.0.0.1:11434"])


@DB
@pytest.mark.parametrize(
    "slug", ["", "Rog", "-rog", "r og", "rog\n", "@hub", "a:b", "x" * 51, "../x"]
)
def test_a_name_outside_the_grammar_is_refused(slug: str) -> None:
    with pytest.raises(LabDashError, match="is no name for a node"):
        nodes.add_node(slug=slug)


@DB
def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(LabDashError, match="amiga is no kind of node"):
        nodes.add_node(slug="rog", kind="amiga")


@DB
def test_a_server_of_another_node_is_not_added_again() -> None:
    make_node("attic", urls=["http://10.0.0.7:11434"], agentless=True)
    with pytest.raises(LabDashError, match="is listed already, as attic/ollama"):
        nodes.add_node(slug="cellar", urls=["http://10.0.0.7:11434/"], agentless=True)
    assert Node.objects.get().slug == "attic"


@DB
def test_a_start_goes_on_beside_a_node_that_lists_its_server() -> None:
    make_node("old-name", started_with="http://127.0.0.1:11434")
    nodes.add_started_node(slug="rog", kind="linux", urls=["http://127.0.0.1:11434"])
    assert Instance.objects.count() == 2


@DB
def test_a_server_is_not_given_to_a_node_twice() -> None:
    with pytest.raises(LabDashError, match="is listed already"):
        nodes.set_urls(node=make_node("rog"), urls=["http://127.0.0.1:1", "http://127.0.0.1:1"])


@ACTUAL
def test_new_addresses_keep_the_server_that_keeps_its_place() -> None:
    node = make_node(urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    first = node.instances.get(name="ollama")
    nodes.set_urls(node=node, urls=["http://127.0.0.1:9"])
    assert list(node.instances.values_list("pk", "url")) == [(first.pk, "http://127.0.0.1:9")]
    told = spec("rog")
    assert told is not None
    assert [each.url for each in told.instances] == ["http://127.0.0.1:9"]


@DB
def test_pausing_and_resuming_are_stored() -> None:
    node = make_node()
    nodes.pause_node(node=node)
    assert (node.paused, Node.objects.get().paused) == (True, True)
    nodes.resume_node(node=node)
    assert (node.paused, Node.objects.get().paused) == (False, False)


@DB
def test_a_refresh_is_ordered_from_the_worker_of_the_node() -> None:
    nodes.refresh_inventory(node=make_node("rog"))
    nodes.refresh_inventory(node=make_node("attic", agentless=True))
    assert orders("rog") == [{"task": "workers.refresh", "protocol": 1, "node": "rog"}]
    assert orders(wire.HUB_NODE) == [{"task": "workers.refresh", "protocol": 1, "node": "attic"}]


@DB
def test_a_refresh_says_that_the_store_is_down(dead_store: None) -> None:
    with pytest.raises(LabDashError, match="The store does not answer"):
        nodes.refresh_inventory(node=make_node())


@ACTUAL
def test_a_removed_node_leaves_only_the_flags_that_stop_its_jobs() -> None:
    job = running_job()
    seen("rog")
    nodes.publish_specs()
    nodes.refresh_inventory(node=job.instance.node)
    nodes.remove_node(node=job.instance.node)
    assert not Node.objects.exists()
    assert live.store().keys("node:rog:*") == [wire.cancel_key("rog", job.pk)]
    assert live.store().exists(live.state_key("rog")) == 0


@ACTUAL
def test_a_removed_agentless_node_is_no_longer_told_to_the_hub() -> None:
    node = make_node("attic", agentless=True)
    nodes.publish_specs()
    nodes.remove_node(node=node)
    assert hub_specs() == []


@ACTUAL
def test_a_removed_server_stops_its_jobs_and_is_no_longer_told() -> None:
    instance = make_instance()
    job = running_job(instance)
    nodes.remove_instance(instance=instance)
    assert live.store().exists(wire.cancel_key("rog", job.pk)) == 1
    told = spec("rog")
    assert told is not None
    assert told.instances == ()


@ACTUAL
def test_changes_are_stored_while_the_store_is_down(dead_store: None) -> None:
    nodes.add_node(slug="rog", urls=["http://127.0.0.1:11434"])
    nodes.remove_node(node=Node.objects.get())
    assert not Node.objects.exists()


@ACTUAL
@pytest.mark.parametrize(
    "forget",
    [
        lambda job: nodes.remove_node(node=job.instance.node),
        lambda job: nodes.remove_instance(instance=job.instance),
        lambda job: nodes.set_urls(node=job.instance.node, urls=[]),
    ],
)
def test_what_a_node_pulls_to_is_not_forgotten_while_nobody_can_stop_it(
    dead_store: None, forget: Callable[[PullJob], None]
) -> None:
    job = running_job()
    with pytest.raises(LabDashError, match="The store does not answer"):
        forget(job)
    assert PullJob.objects.get() == job


@DB
def test_publishing_takes_as_many_queries_for_three_nodes_as_for_one(
    django_assert_num_queries: object,
) -> None:
    for count in (1, 3):
        Node.objects.all().delete()
        for number in range(count):
            node = make_node(f"n{number}", agentless=True)
            Gpu.objects.create(node=node, name="P40", memory_total_bytes=GIB)
        with django_assert_num_queries(3):  # type: ignore[operator]  # pytest-django's fixture
            nodes.publish_specs()
    assert Instance.objects.count() == 3
