"""What a person does with nodes, and what node workers are told to serve."""

import json
import logging
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from labdash import live, store_users
from labdash.domain import history, orders, pulls
from labdash.domain.addresses import check_url, require_distinct
from labdash.domain.errors import LabDashError
from labdash.models import SLUG, Gpu, GpuSource, Instance, Node, NodeKind
from workers import wire

log = logging.getLogger(__name__)


def add_node(
    *,
    slug: str,
    kind: str = NodeKind.LINUX,
    urls: Iterable[str] = (),
    agentless: bool = False,
    ram_bytes: int | None = None,
    gpus: Iterable[wire.DeclaredGpu] = (),
) -> Node:
    """Add a node with one instance a URL, and let the workers know once that is stored.

    ``ram_bytes`` and ``gpus`` declare the hardware of an agentless node. Raises ``LabDashError``.
    """
    node = Node(slug=slug, kind=kind, agentless=agentless, declared_ram_bytes=ram_bytes)
    _store(node, urls, gpus, others=Instance.objects.select_related("node"))
    return node


def add_started_node(*, slug: str, kind: str, urls: Iterable[str]) -> Node:
    """Add a node whose worker starts with the hub.

    It may name a server that another node lists: no start depends on what was typed on a page.
    """
    addresses = [check_url(url) for url in urls]
    node = Node(slug=slug, kind=kind, started_with=",".join(addresses))
    _store(node, addresses, (), others=())
    return node


def set_urls(*, node: Node, urls: Iterable[str]) -> None:
    """Give a node exactly these Ollama servers; those that keep their place keep their models."""
    addresses = [check_url(url) for url in urls]
    require_distinct(node=node, urls=addresses, others=())
    with transaction.atomic():
        known = {instance.name: instance for instance in node.instances.all()}
        for name, address in zip(instance_names(len(addresses)), addresses, strict=True):
            instance = known.pop(name, None) or Instance(node=node, name=name)
            if instance.pk is None or instance.url != address:
                instance.url = address
                instance.save()
        for left_over in known.values():
            remove_instance(instance=left_over)
    publish_on_commit()


def pause_node(*, node: Node) -> None:
    """Start no new work on a node; what runs goes on."""
    _set_paused(node, paused=True)


def resume_node(*, node: Node) -> None:
    """Let a node begin new work again."""
    _set_paused(node, paused=False)


def refresh_inventory(*, node: Node) -> None:
    """Ask a node to report all that is installed. Raises ``LabDashError`` if the store is down."""
    orders.send_refresh(node)


def remove_node(*, node: Node) -> None:
    """Forget a node with all that was known of it. What runs there for LabDash is stopped."""
    slug = node.slug
    history.forget(node.gpus.all())
    with transaction.atomic():
        for job in pulls.active_jobs(node=node):
            pulls.abandon(job=job)
        node.delete()
    transaction.on_commit(lambda: _forget_keys(slug))
    publish_on_commit()


def number_gpus(*, node: Node) -> None:
    """Number the declared GPUs of a node from 0, as its worker does, and let that know them."""
    declared = list(node.gpus.filter(source=GpuSource.DECLARED).order_by("index", "pk"))
    for index, gpu in enumerate(declared):
        gpu.index = index
    Gpu.objects.bulk_update(declared, ["index"])
    publish_on_commit()


def remove_instance(*, instance: Instance) -> None:
    """Forget an Ollama server of a node."""
    with transaction.atomic():
        for job in pulls.active_jobs(node=instance.node).filter(instance=instance):
            pulls.abandon(job=job)
        instance.delete()
    publish_on_commit()


def check_slug(slug: str) -> str:
    """Return the slug, or raise ``LabDashError`` with the grammar in plain words."""
    try:
        SLUG(slug)
    except ValidationError as error:
        raise LabDashError(f"{slug[:60]} is no name for a node. {error.messages[0]}") from error
    return slug


def instance_names(count: int) -> list[str]:
    """Name the instances of a node in order, as a worker without a spec does too."""
    return ["ollama" if number == 1 else f"ollama-{number}" for number in range(1, count + 1)]


def spec_of(node: Node) -> wire.NodeSpec:
    """Return what the worker of a node shall serve."""
    instances = tuple(
        wire.InstanceSpec(name=instance.name, url=instance.url) for instance in node.instances.all()
    )
    declared = _declared(node) if node.agentless else None
    return wire.NodeSpec(slug=node.slug, instances=instances, declared=declared)


def publish_specs() -> None:
    """Write down for every worker what it shall serve. Raises ``live.StoreDown``."""
    nodes = list(Node.objects.prefetch_related("instances", "gpus"))
    agentless = [spec_of(node).model_dump(mode="json") for node in nodes if node.agentless]
    with live.store_errors():
        pipe = live.store().pipeline(transaction=False)
        for node in nodes:
            if not node.agentless:
                pipe.set(wire.spec_key(node.slug), spec_of(node).model_dump_json())
        pipe.set(wire.hub_nodes_key(), json.dumps(agentless))
        pipe.execute()


def publish_on_commit() -> None:
    """Publish once the database holds the change; a store that is down is told later by beat."""
    transaction.on_commit(_publish_or_log)


def _publish_or_log() -> None:
    try:
        publish_specs()
    except live.StoreDown as error:
        log.warning("specs not published yet: %s", error)


def _forget_keys(slug: str) -> None:
    """End the rights of a node in the store, then delete what it kept there."""
    try:
        store_users.expel(slug)
        live.forget_node(slug)
    except live.StoreDown as error:
        log.warning("keys of a removed node are still in the store node=%s: %s", slug, error)


def _set_paused(node: Node, *, paused: bool) -> None:
    Node.objects.filter(pk=node.pk).update(paused=paused)
    node.paused = paused


def _store(
    node: Node,
    urls: Iterable[str],
    gpus: Iterable[wire.DeclaredGpu],
    *,
    others: Iterable[Instance],
) -> None:
    """Store a node with its servers, none of which is one of ``others``."""
    addresses = [check_url(url) for url in urls]
    check_slug(node.slug)
    if node.kind not in NodeKind.values:
        raise LabDashError(f"{node.kind} is no kind of node: use {', '.join(NodeKind.values)}.")
    try:
        with transaction.atomic():
            node.save()
            require_distinct(node=node, urls=addresses, others=others)
            _add_instances(node, addresses)
            _declare(node, gpus)
    except IntegrityError as error:
        raise LabDashError(f"There is a node named {node.slug} already.") from error
    publish_on_commit()


def _add_instances(node: Node, addresses: list[str]) -> None:
    names = instance_names(len(addresses))
    Instance.objects.bulk_create(
        Instance(node=node, name=name, url=url) for name, url in zip(names, addresses, strict=True)
    )


def _declare(node: Node, gpus: Iterable[wire.DeclaredGpu]) -> None:
    Gpu.objects.bulk_create(
        Gpu(
            node=node,
            index=index,
            name=gpu.name,
            unified=gpu.unified,
            memory_total_bytes=gpu.memory_total_bytes,
            source=GpuSource.DECLARED,
        )
        for index, gpu in enumerate(gpus)
    )


def _declared(node: Node) -> wire.DeclaredHardware:
    gpus = tuple(
        wire.DeclaredGpu(
            name=gpu.name, memory_total_bytes=gpu.memory_total_bytes, unified=gpu.unified
        )
        for gpu in node.gpus.all()
        if gpu.source == GpuSource.DECLARED and gpu.memory_total_bytes is not None
    )
    return wire.DeclaredHardware(ram_total_bytes=node.declared_ram_bytes, gpus=gpus)
