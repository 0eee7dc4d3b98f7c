"""What a problem looks like to a page, to ``status``, and to the rules that find it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from labdash.queries.lab import NodeView

# What a row of a problem holds.
LONGEST_SUBJECT = 120
LONGEST_TEXT = 500

# Pages on which the next step is done, by the name of their address.
PAGES = {
    "schedules": "Schedules",
    "pull_updates": "Updates",
    "pull_storage": "Storage",
    "pull_cache": "Cache",
}

type Severity = Literal["info", "attention", "bad"]


@dataclass(frozen=True, kw_only=True)
class ProblemView:
    """Something wrong and what to do about it, in plain words.

    ``node`` is empty for what concerns the hub; ``subject`` is a GPU's UUID, an instance's name
    or a model's. ``info`` is a hint about something that may be as it should.
    ``since`` is ``None`` until it was recorded. ``page`` is one of ``PAGES``, where one helps.
    """

    code: str
    text: str
    next_step: str
    severity: Severity = "attention"
    node: str = ""
    subject: str = ""
    since: datetime | None = None
    page: str = ""

    @property
    def page_name(self) -> str:
        """Name the page as its tab does."""
        return PAGES.get(self.page, "")

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same problem as a moment ago, whatever its numbers."""
        return (self.code, self.node, self.subject)


def about(
    view: NodeView,
    code: str,
    text: str,
    next_step: str,
    *,
    severity: Severity = "attention",
    subject: str = "",
) -> ProblemView:
    """Make a problem of a node; names and reasons that it tells may be long."""
    return ProblemView(
        code=code,
        node=view.node.slug,
        subject=subject[:LONGEST_SUBJECT],
        text=text[:LONGEST_TEXT],
        next_step=next_step,
        severity=severity,
    )
