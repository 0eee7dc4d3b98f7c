"""The only sender of orders to node workers."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from celery.exceptions import OperationalError as CeleryOperationalError
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from labdash import live
from labdash.celery import app
from labdash.domain.errors import LabDashError
from labdash.models import (
    InstalledModel,
    LoadJob,
    LoadWish,
    NameAct,
    NameJob,
    Node,
    PlanItem,
    PullJob,
    PullSettings,
    Transfer,
)
from labdash.queries.room import keep_free_bytes
from workers import wire
from workers.wire.finding import FindOrder
from workers.wire.loads import LOAD_DEADLINE_S
from workers.wire.sharing import LEASE_S
from workers.wire.shelf import CLEAR_DEADLINE_S, ClearOrder

# A page that sends an order waits no longer than this for a store that does not answer.
SEND_TIMEOUT_S = 1.0
# A pull may take a night on a slow line; Ollama goes on where it stopped if it takes longer.
PULL_DEADLINE_S = 24 * 3600.0
# A node that comes back after so long is sent anew what is still wanted.
STALE_AFTER = timedelta(days=1)


class NotSent(LabDashError):  # noqa: N818 - named for what became of the order
    """The store did not take an order."""


def address(node: Node) -> str:
    """Return whose queue and keys serve a node: its own, or those of the worker on the hub."""
    return wire.HUB_NODE if node.agentless else node.slug


def send_pull(job: PullJob, *, origin: wire.Origin | None = None) -> None:
    """Tell the node to pull, from ``origin`` or else from the registry of its name.

    Raises ``NotSent`` within about a second if the store is down.
    """
    instance = job.instance
    order = wire.PullOrder(
        node=instance.node.slug,
        job_id=job.pk,
        attempt=job.attempt,
        instance=instance.name,
        instance_url=instance.url,
        model=job.model,
        deadline_s=PULL_DEADLINE_S,
        keep_free_bytes=keep_free_bytes(instance.node, PullSettings.read()),
        origin=origin,
    )
    _send("workers.pull", order, instance.node)


def send_share(row: Transfer, *, bytes_per_s: int | None = None, lease_s: float = LEASE_S) -> None:
    """Tell a node to give a model to another one, or no longer. Raises ``NotSent``."""
    if row.giver is None:
        return
    order = wire.ShareOrder(
        node=row.giver.node.slug,
        job_id=row.job_id,
        instance_url=row.giver.url,
        model=row.model,
        digest=row.digest,
        secret=row.secret,
        bytes_per_s=bytes_per_s,
        lease_s=lease_s,
    )
    _send("workers.share", order, row.giver.node)


def send_refresh(node: Node) -> None:
    """Tell the node to report its whole inventory. Raises ``NotSent``."""
    _send("workers.refresh", wire.RefreshOrder(node=node.slug), node)


def send_try(try_id: str, *, installed: InstalledModel, main_gpu: int | None) -> None:
    """Tell the node to ask a model what lies under ``try_prompt_key``. Raises ``NotSent``."""
    node = installed.instance.node
    order = wire.TryOrder(
        node=node.slug,
        try_id=try_id,
        instance_url=installed.instance.url,
        model=installed.name,
        main_gpu=main_gpu,
    )
    _send("workers.try_out", order, node)


def send_load(job: LoadJob) -> None:
    """Tell the node to load, keep or unload. Raises ``NotSent``."""
    instance = job.instance
    order = wire.LoadOrder(
        node=instance.node.slug,
        job_id=job.pk,
        instance_url=instance.url,
        model=job.model,
        wish=LoadWish(job.wish).value,
        context=job.context,
        keep_s=job.keep_s,
        main_gpu=job.main_gpu,
        deadline_s=LOAD_DEADLINE_S,
    )
    _send("workers.load", order, instance.node)


def send_create(item: PlanItem) -> None:
    """Tell the node to give a model the options of a plan, by its alias. Raises ``NotSent``."""
    instance = item.instance
    order = wire.CreateOrder(
        node=instance.node.slug,
        job_id=item.pk,
        instance_url=instance.url,
        model=item.served_name,
        base=item.model,
        parameters=wire.Parameters(
            num_ctx=item.ctx,
            num_batch=item.num_batch,
            num_gpu=item.num_gpu,
            main_gpu=item.main_gpu,
        ),
        deadline_s=wire.APPLY_DEADLINE_S,
    )
    _send("workers.create", order, instance.node)


def send_delete(item: PlanItem) -> None:
    """Tell the node to unload and delete an alias. Raises ``NotSent``."""
    instance = item.instance
    order = wire.DeleteOrder(
        node=instance.node.slug,
        job_id=item.pk,
        instance_url=instance.url,
        model=item.alias,
        deadline_s=wire.APPLY_DEADLINE_S,
    )
    _send("workers.delete", order, instance.node)


def send_name(job: NameJob) -> None:
    """Tell the node to change a name, or to delete what is unfinished. Raises ``NotSent``."""
    instance = job.instance
    common = {"node": instance.node.slug, "job_id": job.pk, "instance_url": instance.url}
    if job.act == NameAct.CLEAR:
        clear = ClearOrder.model_validate({**common, "deadline_s": CLEAR_DEADLINE_S})
        _send("workers.clear", clear, instance.node)
        return
    is_long = job.act == NameAct.QUANTIZE
    order = wire.NameOrder.model_validate(
        {
            **common,
            "act": job.act,
            "model": job.model,
            "target": job.target or None,
            "digest": job.digest or None,
            "quant": job.quant or None,
            "replaces": job.replaces,
            "deadline_s": wire.QUANTIZE_DEADLINE_S if is_long else wire.NAME_DEADLINE_S,
        }
    )
    _send("workers.name", order, instance.node)


def send_find(find_id: str) -> None:
    """Tell the worker on the hub to look for Ollama in the network. Raises ``NotSent``."""
    _send_to(wire.HUB_NODE, "workers.find", FindOrder(find_id=find_id))


def drop_stale(*, now: datetime) -> None:
    """Empty the queues of workers that were not seen for ``STALE_AFTER``.

    Raises ``live.StoreDown``.
    """
    nodes = Node.objects.only("slug", "agentless", "last_seen_at", "created_at")
    queues = [wire.orders_queue(slug) for slug in _silent(nodes, now=now)]
    if queues:
        with live.store_errors():
            live.store().delete(*queues)


def _silent(nodes: Iterable[Node], *, now: datetime) -> list[str]:
    """Return whom nobody saw: one worker speaks for all agentless nodes."""
    seen: dict[str, datetime] = {}
    for node in nodes:
        moment = node.last_seen_at or node.created_at
        seen[address(node)] = max(moment, seen.get(address(node), moment))
    return [slug for slug, moment in seen.items() if moment < now - STALE_AFTER]


def _send(task: str, order: wire.Order, node: Node) -> None:
    _send_to(address(node), task, order)


def _send_to(slug: str, task: str, order: wire.Order) -> None:
    name = wire.orders_queue(slug)
    queue = Queue(name, Exchange(name), routing_key=name)
    timeouts = {"socket_timeout": SEND_TIMEOUT_S, "socket_connect_timeout": SEND_TIMEOUT_S}
    try:
        # kombu would try for 6 s to reach a store that is down; this tells within a second.
        live.ping()
        # A fresh connection declares the queue anew, also for a store that forgot everything.
        with app.connection_for_write(transport_options=timeouts) as connection:
            app.send_task(
                task,
                args=[order.model_dump(mode="json")],
                queue=queue,
                connection=connection,
                retry=False,
            )
    except (live.StoreDown, OperationalError, CeleryOperationalError, OSError) as error:
        raise NotSent("The store does not answer, so the order was not sent.") from error
