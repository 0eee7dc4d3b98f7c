"""A node's side of the store: reports up; wishes, watchers and cancellations down.

The store may be away for hours. Nothing here waits longer than about twice ``TIMEOUT_S``.
"""

import json
import logging
import threading
import time
from collections import OrderedDict

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers import wire

TIMEOUT_S = 2.0
# A stream keeps about this many entries: half an hour of samples at one a second.
REPORTS_KEPT = 2000
# After a failure all calls fail at once for so long, so that many callers do not queue up.
PAUSE_S = 1.0
# Ends of pulls and inventories that the store could not take yet.
UNSENT_KEPT = 500

log = logging.getLogger(__name__)


class StoreDown(Exception):  # noqa: N818 - named for the state
    """The store does not answer."""


class Store:
    """The store as one node worker sees it; safe to use from many threads.

    ``slug`` is that of the worker: ``@hub`` for the one that serves the agentless nodes.
    """

    def __init__(self, url: str, *, slug: str) -> None:
        self.slug = slug
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        # One sender at a time: a kept report must never overtake a newer one of its kind.
        self._sending = threading.Lock()
        self._unsent: OrderedDict[tuple[str, ...], wire.Report] = OrderedDict()
        self._paused_until = 0.0
        self._is_down = False

    def read(self, key: str) -> str | None:
        """Return the value of a key. Raises ``StoreDown``."""
        value = self._call("GET", key)
        return None if value is None else str(value)

    def write(self, key: str, text: str, *, keep_s: int) -> None:
        """Write a key that lives ``keep_s``. Raises ``StoreDown``."""
        self._call("SET", key, text, "EX", keep_s)

    def prolong(self, key: str, *, value: str, keep_s: int) -> bool:
        """Let a key that holds ``value`` live ``keep_s`` from now; tell whether it did hold it.

        Raises ``StoreDown``.
        """
        return self.read(key) == value and bool(self._call("EXPIRE", key, keep_s))

    def is_watched(self, slug: str) -> bool:
        """Tell whether somebody looks at a node's pages. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.watched_key(slug)))

    def is_cancelled(self, job_id: int) -> bool:
        """Tell whether a job shall stop. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.cancel_key(self.slug, job_id)))

    def is_load_cancelled(self, job_id: int) -> bool:
        """Tell whether a load shall stop. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.load_cancel_key(self.slug, job_id)))

    def is_apply_cancelled(self, job_id: int) -> bool:
        """Tell whether making or deleting a name shall stop. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.apply_cancel_key(self.slug, job_id)))

    def is_name_cancelled(self, job_id: int) -> bool:
        """Tell whether what is done to a name by hand shall stop. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.name_cancel_key(self.slug, job_id)))

    def take_prompt(self, try_id: str) -> str | None:
        """Return the prompt of a try, once. Raises ``StoreDown``."""
        value = self._call("GETDEL", wire.try_prompt_key(self.slug, try_id))
        return None if value is None else str(value)

    def is_try_wanted(self, try_id: str) -> bool:
        """Tell whether somebody waits for an answer. Raises ``StoreDown``."""
        return bool(self._call("EXISTS", wire.try_wish_key(self.slug, try_id)))

    def write_answer(self, try_id: str, *, at: int, text: str, keep_s: int) -> None:
        """Write a piece of an answer at its place, twice the same as once; it lives ``keep_s``.

        Raises ``StoreDown``.
        """
        key = wire.try_answer_key(self.slug, try_id)
        self._call("SETRANGE", key, at, text)
        self._call("EXPIRE", key, keep_s)

    def send(self, report: wire.Report) -> None:
        """Put a report on the stream; what no later one replaces is kept for ``flush``."""
        with self._sending:
            try:
                self._add(report)
            except StoreDown:
                self._keep(report)
            else:
                self._unsent.pop(_kept_as(report), None)

    def flush(self) -> None:
        """Send what the store could not take earlier. Raises ``StoreDown``."""
        with self._sending:
            for key, report in list(self._unsent.items()):
                self._add(report)
                del self._unsent[key]

    def _keep(self, report: wire.Report) -> None:
        if isinstance(report, wire.Sample):
            return
        self._unsent[_kept_as(report)] = report
        while len(self._unsent) > UNSENT_KEPT:
            self._unsent.popitem(last=False)

    def _add(self, report: wire.Report) -> None:
        key = wire.reports_key(self.slug)
        # Names of processes and folders are bytes: what is no UTF-8 in them has no JSON.
        fields = json.dumps(report.model_dump(mode="json"), ensure_ascii=False)
        text = fields.encode(errors="replace").decode()
        self._call("XADD", key, "MAXLEN", "~", REPORTS_KEPT, "*", "report", text)

    def _call(self, *command: str | int) -> object:
        if time.monotonic() < self._paused_until:
            raise StoreDown("the store did not answer a moment ago")
        try:
            answer: object = self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except (redis.RedisError, OSError) as error:
            self._lost(error)
            raise StoreDown(str(error)) from error
        self._found()
        return answer

    def _lost(self, error: Exception) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        if not self._is_down:
            self._is_down = True
            log.warning("store lost error=%s", error)

    def _found(self) -> None:
        if self._is_down:
            self._is_down = False
            log.info("store back")


def _kept_as(report: wire.Report) -> tuple[str, ...]:
    """Name the place of a report: a newer one of the same place makes it worthless."""
    match report:
        case wire.Inventory():
            return report.kind, report.node, report.instance
        case wire.Sample():
            return report.kind, report.node
        case _:
            return report.kind, str(report.job_id)
