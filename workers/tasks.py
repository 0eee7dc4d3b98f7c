"""Orders of the hub as Celery tasks; each is checked and handed to what carries it out."""

import logging
from typing import Any

from celery import Celery
from pydantic import ValidationError

from workers.telemetry import Telemetry
from workers.wire import RefreshOrder

log = logging.getLogger(__name__)


def add_tasks(app: Celery, telemetry: Telemetry) -> None:
    """Give the app its tasks. A bad order is told in one line and changes nothing."""

    @app.task(name="workers.refresh")  # type: ignore[untyped-decorator]
    def refresh(fields: dict[str, Any]) -> None:
        try:
            order = RefreshOrder.model_validate(fields)
        except ValidationError as error:
            log.warning("bad order task=workers.refresh error=%s", error)
            return
        watch = telemetry.find(order.node)
        if watch is None:
            log.warning("order for a node that is not served node=%s", order.node)
            return
        watch.refresh()
