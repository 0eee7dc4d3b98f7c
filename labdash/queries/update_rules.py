"""One hint for the whole lab: what is outdated."""

from collections.abc import Iterator

from labdash.queries.lab import LabView
from labdash.queries.problem_view import LONGEST_TEXT, ProblemView

MOST_NAMED = 4


def find(lab: LabView) -> Iterator[ProblemView]:
    """Yield what is outdated, in one line."""
    names = lab.outdated
    if not names:
        return
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    verb = "is" if len(names) == 1 else "are"
    yield ProblemView(
        code="outdated",
        severity="info",
        text=f"{', '.join(names[:MOST_NAMED])}{more} {verb} outdated."[:LONGEST_TEXT],
        next_step="On Pulls, under Updates: take what is newer, or keep what is here.",
        page="pull_updates",
    )
