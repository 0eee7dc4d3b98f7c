"""Entries of report streams become checked reports, and only those that still matter.

A node chooses every byte of an entry, its id included.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

from pydantic import ValidationError

from workers import wire

# An inventory of a thousand models is about 1 MB.
LONGEST_REPORT_BYTES = 8 * 2**20
LONGEST_DETAIL = 200
_KINDS = {
    kind.model_fields["kind"].default for kind in get_args(get_args(wire.Report.__value__)[0])
}


class BadReport(Exception):  # noqa: N818 - named for what it is about
    """An entry that is no report for this hub.

    ``kind`` tells causes apart for counting: never of the entry's own text, of which ``detail``
    says a line.
    """

    def __init__(
        self, kind: str, detail: str = "", *, node: str | None = None, protocol: int | None = None
    ) -> None:
        super().__init__(f"{kind}: {_line(detail)}" if detail else kind)
        self.kind = kind
        self.node = node
        self.protocol = protocol


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A report and when it arrived, by the hub's clock."""

    report: wire.Report
    at: datetime


def parse(fields: Mapping[bytes, bytes], *, nodes: set[str]) -> wire.Report:
    """Return the report of an entry. Raises ``BadReport``, also where it names another node."""
    text = fields.get(b"report")
    if text is None or len(text) > LONGEST_REPORT_BYTES:
        raise BadReport("no report in the entry")
    try:
        report = wire.report_adapter.validate_json(text)
    except ValidationError as error:
        raise _why_invalid(text, nodes, error) from error
    if report.node not in nodes:
        raise BadReport("speaks of a node that is not its own", report.node)
    if not wire.is_understood(report.protocol):
        raise _other_protocol(report.node, report.protocol)
    return report


def arrived_at(entry_id: bytes, *, clock: timedelta, now: datetime) -> datetime:
    """Return when an entry arrived, by the hub's clock, and ``now`` for one of the future.

    The id holds it in milliseconds by the store's clock, to which ``clock`` is added.
    """
    latest = int((now - clock).timestamp() * 1000)
    milliseconds = min(int(entry_id.partition(b"-")[0]), latest)
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC) + clock


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


def _subject(report: wire.Report) -> object:
    match report:
        case wire.Sample():
            return report.node
        case wire.PullProgress():
            return (report.node, report.job_id, report.attempt)
        case wire.LoadProgress() | wire.NameProgress() | wire.ClearProgress():
            return (report.node, report.kind, report.job_id)
        case _:
            return None


def _why_invalid(text: bytes, nodes: set[str], error: ValidationError) -> BadReport:
    """Tell a worker of another version from noise."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return BadReport("no JSON")
    if isinstance(fields, dict):
        node, protocol = fields.get("node"), _another_version(fields.get("protocol"))
        if len(nodes) == 1:
            node = next(iter(nodes))
        if isinstance(node, str) and node in nodes and protocol:
            if wire.is_understood(protocol) and fields.get("kind") not in _KINDS:
                return BadReport("a kind of report that this version does not know")
            return _other_protocol(node, protocol)
    first = error.errors(include_input=False, include_url=False)[0]
    return BadReport("no report that is known", f"{first['loc']}: {first['msg']}")


def _another_version(value: object) -> int | None:
    """Return a version that is another than the hub's; ``True`` is an ``int`` too."""
    if isinstance(value, bool) or not isinstance(value, int) or value == wire.PROTOCOL_VERSION:
        return None
    return value if 0 < value <= wire.HIGHEST_PROTOCOL else None


def _line(text: str) -> str:
    """Return what a log can hold of a text that somebody else wrote."""
    first = text.strip().partition("\n")[0][:LONGEST_DETAIL]
    return "".join(letter if letter.isprintable() else "?" for letter in first)


def _other_protocol(node: str, protocol: int) -> BadReport:
    return BadReport("other protocol", f"{node} speaks {protocol}", node=node, protocol=protocol)
