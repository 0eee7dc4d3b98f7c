"""Orders of the hub as Celery tasks; each is checked and handed to what carries it out."""

import logging
from typing import Any

from celery import Celery
from pydantic import ValidationError

from workers.engines.pulls import Pulls
from workers.engines.try_out import Tries
from workers.telemetry import Telemetry
from workers.wire import Order, PullOrder, RefreshOrder, TryOrder

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


def _checked[O: Order](kind: type[O], fields: dict[str, Any]) -> O | None:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        log.warning("bad order kind=%s field=%s error=%s", kind.__name__, where, problem["msg"])
        return None
