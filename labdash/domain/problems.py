"""Keep since when each problem has been one."""

from datetime import datetime

from labdash.models import Problem
from labdash.queries.lab import read_lab
from labdash.queries.problems import ProblemView, find_problems


def record_problems(*, now: datetime) -> None:
    """Make the table of problems say what is wrong now; those that last keep their beginning."""
    found = {problem.key: problem for problem in find_problems(read_lab(now=now))}
    rows = {(row.code, row.node_slug, row.subject): row for row in Problem.objects.all()}
    gone = [row.pk for key, row in rows.items() if key not in found]
    if gone:
        Problem.objects.filter(pk__in=gone).delete()
    changed = []
    for key, row in rows.items():
        if key in found and row.text != found[key].text:
            row.text = found[key].text
            changed.append(row)
    if changed:
        Problem.objects.bulk_update(changed, ["text"])
    new = [_row(problem, now) for key, problem in found.items() if key not in rows]
    if new:
        # Two hub workers may find the same: the first one's moment counts.
        Problem.objects.bulk_create(new, ignore_conflicts=True)


def _row(problem: ProblemView, now: datetime) -> Problem:
    return Problem(
        code=problem.code,
        node_slug=problem.node,
        subject=problem.subject,
        text=problem.text,
        since=problem.since or now,
    )
