"""Orders of the hub as Celery tasks; each is checked and handed to what carries it out."""

import logging
from typing import Any

from celery import Celery
from pydantic import ValidationError

from workers.engines.clearing import Clearings
from workers.engines.find import Finder
from workers.engines.loads import Loads
from workers.engines.namings import Namings
from workers.engines.pulls import Pulls
from workers.engines.try_out import Tries
from workers.mirror.sharing import Sharing
from workers.telemetry import Telemetry
from workers.wire import (
    PROTOCOL_VERSION,
    ClearOrder,
    CreateOrder,
    DeleteOrder,
    LoadOrder,
    NameOrder,
    Order,
    PullOrder,
    RefreshOrder,
    ShareOrder,
    TryOrder,
    is_understood,
)
from workers.wire.finding import FindOrder

log = logging.getLogger(__name__)


def add_tasks(app: Celery, *, telemetry: Telemetry, pulls: Pulls, tries: Tries) -> None:
    """Give the app its tasks. A bad order is told in one line and changes nothing."""

    @app.task(name="workers.pull")  # type: ignore[untyped-decorator]
    def pull(fields: dict[str, Any]) -> None:
        if order := _checked(PullOrder, fields):
            pulls.carry_out(order)

    @app.task(name="workers.refresh")  # type: ignore[untyped-decorator]
    def refresh(fields: dict[str, Any]) -> None:
        order = _checked(RefreshOrder, fields)
        watch = telemetry.find(order.node) if order else None
        if watch is not None:
            watch.refresh()

    @app.task(name="workers.try_out")  # type: ignore[untyped-decorator]
    def try_out(fields: dict[str, Any]) -> None:
        if order := _checked(TryOrder, fields):
            tries.carry_out(order)


def add_load_task(app: Celery, *, loads: Loads) -> None:
    """Give the app the task that loads, keeps and unloads, in the same way."""

    @app.task(name="workers.load")  # type: ignore[untyped-decorator]
    def load(fields: dict[str, Any]) -> None:
        if order := _checked(LoadOrder, fields):
            loads.carry_out(order)


def add_name_tasks(app: Celery, *, namings: Namings) -> None:
    """Give the app the tasks that make and delete names, in the same way."""

    @app.task(name="workers.create")  # type: ignore[untyped-decorator]
    def create(fields: dict[str, Any]) -> None:
        if order := _checked(CreateOrder, fields):
            namings.carry_out(order)

    @app.task(name="workers.delete")  # type: ignore[untyped-decorator]
    def delete(fields: dict[str, Any]) -> None:
        if order := _checked(DeleteOrder, fields):
            namings.carry_out(order)

    @app.task(name="workers.name")  # type: ignore[untyped-decorator]
    def name(fields: dict[str, Any]) -> None:
        if order := _checked(NameOrder, fields):
            namings.carry_out(order)


def add_clear_task(app: Celery, *, clearings: Clearings) -> None:
    """Give the app the task that deletes what downloads left, in the same way."""

    @app.task(name="workers.clear")  # type: ignore[untyped-decorator]
    def clear(fields: dict[str, Any]) -> None:
        if order := _checked(ClearOrder, fields):
            clearings.carry_out(order)


def add_share_task(app: Celery, *, sharing: Sharing) -> None:
    """Give the app the task that gives models to neighbours, in the same way."""

    @app.task(name="workers.share")  # type: ignore[untyped-decorator]
    def share(fields: dict[str, Any]) -> None:
        if order := _checked(ShareOrder, fields):
            sharing.carry_out(order)


def add_find_task(app: Celery, *, finder: Finder) -> None:
    """Give the app the task that looks for servers in the network, in the same way."""

    @app.task(name="workers.find")  # type: ignore[untyped-decorator]
    def find(fields: dict[str, Any]) -> None:
        if order := _checked(FindOrder, fields):
            finder.carry_out(order)


def _checked[O: Order](kind: type[O], fields: dict[str, Any]) -> O | None:
    try:
        order = kind.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        log.warning("bad order kind=%s field=%s error=%s", kind.__name__, where, problem["msg"])
        return None
    if not is_understood(order.protocol):
        versions = (order.protocol, PROTOCOL_VERSION)
        log.warning(
            "an order in version %d of the protocol; this worker speaks %d: update the older",
            *versions,
        )
        return None
    return order
