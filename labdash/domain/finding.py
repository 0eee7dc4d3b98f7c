"""Looking for Ollama in the hub's own networks: when somebody asks for it, and never else."""

import secrets
from datetime import datetime

from labdash import live
from labdash.domain import orders
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY
from labdash.queries.finding import LOOK_KEY, Asked
from workers.wire.finding import KEPT_S, TAKE_S
from workers.wire.keys import find_wish_key


def look(*, now: datetime) -> None:
    """Ask the worker on the hub to look. Raises ``LabDashError``."""
    asked = Asked(find_id=secrets.token_hex(16), asked_at=now)
    try:
        with live.store_errors():
            pipe = live.store().pipeline(transaction=True)
            pipe.set(LOOK_KEY, asked.model_dump_json(), ex=KEPT_S)
            pipe.set(find_wish_key(), asked.find_id, ex=TAKE_S)
            pipe.execute()
    except live.StoreDown as error:
        raise LabDashError(STORE_AWAY) from error
    orders.send_find(asked.find_id)


def stop() -> None:
    """Want the look no more: its worker ends within a second. Raises ``LabDashError``."""
    try:
        with live.store_errors():
            live.store().delete(find_wish_key())
    except live.StoreDown as error:
        raise LabDashError(STORE_AWAY) from error
