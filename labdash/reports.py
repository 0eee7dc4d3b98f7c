"""Entries of report streams become checked reports, and only those that still matter."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from workers import wire

# An inventory of a thousand models is about 1 MB.
LONGEST_REPORT = 8 * 2**20


class BadReport(Exception):  # noqa: N818 - named for what it is about
    """An entry that is no report for this hub. ``kind`` tells causes apart for counting."""

    def __init__(
        self, kind: str, detail: str = "", *, node: str | None = None, protocol: int | None = None
    ) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.node = node
        self.protocol = protocol


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A report and when it arrived, by the hub's clock."""

    report: wire.Sample | wire.Inventory | wire.PullProgress
    at: datetime


def parse(entry_id: str, fields: dict[str, str], *, nodes: set[str], clock: timedelta) -> Arrival:
    """Return the report of an entry. Raises ``BadReport``, also where it names another node.

    ``clock`` is what is added to the store's time, which the id carries in milliseconds.
    """
    text = fields.get("report")
    if text is None or len(text) > LONGEST_REPORT:
        raise BadReport("no report in the entry")
    try:
        report = wire.report_adapter.validate_json(text)
    except ValidationError as error:
        raise _why_invalid(text, nodes, error) from error
    if report.node not in nodes:
        raise BadReport("speaks of a node that is not its own", report.node)
    if report.protocol != wire.PROTOCOL_VERSION:
        raise _other_protocol(report.node, report.protocol)
    milliseconds = int(entry_id.partition("-")[0])
    return Arrival(report=report, at=datetime.fromtimestamp(milliseconds / 1000, tz=UTC) + clock)


def newest(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Leave out what a later report makes pointless: older samples, and older progress.

    Inventories stay, all of them and in order. The order of what stays is that of arrival.
    """
    kept: dict[object, Arrival] = {}
    for number, arrival in enumerate(arrivals):
        key = _subject(arrival.report) or number
        kept.pop(key, None)
        kept[key] = arrival
    return list(kept.values())


def _subject(report: wire.Sample | wire.Inventory | wire.PullProgress) -> object:
    match report:
        case wire.Sample():
            return report.node
        case wire.PullProgress():
            return (report.node, report.job_id, report.attempt)
        case _:
            return None


def _why_invalid(text: str, nodes: set[str], error: ValidationError) -> BadReport:
    """Tell a worker of another version from noise."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return BadReport("no JSON")
    if isinstance(fields, dict):
        node, protocol = fields.get("node"), fields.get("protocol")
        if len(nodes) == 1:
            node = next(iter(nodes))
        if node in nodes and isinstance(protocol, int) and protocol != wire.PROTOCOL_VERSION:
            return _other_protocol(str(node), protocol)
    first = error.errors(include_input=False, include_url=False)[0]
    return BadReport("no report that is known", f"{first['loc']}: {first['msg']}")


def _other_protocol(node: str, protocol: int) -> BadReport:
    return BadReport("other protocol", f"{node} speaks {protocol}", node=node, protocol=protocol)
