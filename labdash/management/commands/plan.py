"""Plan which model is served where: of the lab, or of one that a file describes."""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from labdash.domain import applying, planning
from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand, require_lab
from labdash.management.files import read_text
from labdash.planner.errors import PlannerError
from labdash.planner.lab import Lab
from labdash.planner.plan import Choice, DeviceLoad, Placement, Plan, Refusal
from labdash.queries.lab_file import parse
from labdash.queries.plan_json import plan_json
from labdash.queries.planner_page import LEAST_SHARE, possible
from labdash.queries.snapshot import snapshot
from labdash.wording import size

REFUSED = 1
COLUMNS = ("deployment", "where", "variant", "context", "GPU", "RAM", "tokens/s")


class Command(LabDashCommand):
    """A plan, for people or as JSON; 1 where something was refused."""

    help = (
        "Plan which model is served where, with every reason. Without --lab it is the real lab as "
        "it is now, and --apply puts the plan in force. FILE is a lab.toml, - is standard input."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the lab and how far to go."""
        add = parser.add_argument
        add("--lab", metavar="FILE", help="plan the lab that this file describes")
        add("--quick", action="store_true", help="the quick plan, without a search for the best")
        add("--gap", type=float, metavar="G", default=planning.USUAL_GAP,
            help=f"how near to the best is near enough ({planning.USUAL_GAP})")  # fmt: skip
        add("--limit-s", type=float, metavar="S", default=planning.USUAL_LIMIT_S,
            help=f"seconds for the search ({planning.USUAL_LIMIT_S:g})")  # fmt: skip
        add("--apply", action="store_true", help="put the plan in force")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Plan and print. Raises ``LabDashError`` for bad input."""
        _check(options)
        lab = _lab(options["lab"])
        plan = planning.plan(
            lab, exact=not options["quick"], gap=options["gap"], limit_s=options["limit_s"]
        )
        if options["json"]:
            self.print_json(plan_json(plan))
        else:
            self.stdout.write("\n".join(map(_plain, _lines(plan))))
        if options["apply"]:
            applying.apply(plan=plan, lab=lab, by=None, why="applied in a terminal",
                           content=plan_json(plan))  # fmt: skip
            self.stderr.write("Applied: `manage.py status` and the Planner page show how it goes.")
        if plan.refusals:
            sys.exit(REFUSED)


def _check(options: dict[str, Any]) -> None:
    if options["apply"] and options["lab"]:
        raise LabDashError("a plan of a file cannot be applied: leave out --lab or --apply")
    if not 0 <= options["gap"] <= 1:
        raise LabDashError("--gap is a share, from 0 to 1")
    if not 0 < options["limit_s"] <= planning.MOST_LIMIT_S:
        raise LabDashError(f"--limit-s is from 0 to {planning.MOST_LIMIT_S:g} seconds")


def _lab(path: str | None) -> Lab:
    if path is None:
        require_lab()
        return snapshot(now=timezone.now())
    try:
        return parse(read_text(path))
    except PlannerError as error:
        raise LabDashError(str(error)) from error


def _plain(line: str) -> str:
    """Blank out what would steer a terminal: names come from files and nodes."""
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _lines(plan: Plan) -> Iterator[str]:
    """Write a plan for people."""
    yield from _table([COLUMNS, *map(_row, plan.placements)]) if plan.placements else ()
    for placement in plan.placements:
        yield from (f"{_name(placement)}: {reason}" for reason in placement.reasons)
    for refusal in plan.refusals:
        yield from _refusal(refusal)
    for proposal in plan.proposals:
        yield f"Proposal for {proposal.instance}: {proposal.text}"
        yield from (f"    {line}" for line in proposal.lines)
        yield from (f"  - {gain}" for gain in proposal.gains)
        yield from (f"  but {loss}" for loss in proposal.losses)
    if plan.moves:
        yield "What it changes:"
        yield from (f"  {move.text}" for move in plan.moves)
    yield from map(_device, plan.devices)
    yield from (f"note: {warning}" for warning in plan.warnings)
    yield _verdict(plan)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(placement: Placement) -> tuple[str, ...]:
    choice = placement.choice
    on_gpus = sum(choice.bytes[device] for device in choice.gpu_devices)
    speed = choice.tokens_per_s
    return (
        _name(placement),
        f"{choice.instance} {_devices(choice)}",
        choice.variant.name,
        str(choice.ctx) + (f" x {choice.parallel}" if choice.parallel > 1 else ""),
        size(on_gpus) if on_gpus else "-",
        size(choice.host_bytes),
        "unknown" if speed is None else f"{speed:.1f}",
    )


def _name(placement: Placement) -> str:
    number = f" #{placement.replica + 1}" if placement.deployment.replicas > 1 else ""
    return placement.deployment.name + number


def _devices(choice: Choice) -> str:
    counts = [f"{device} ({count})" for device, count in choice.layers.items() if count]
    return " + ".join(counts if len(counts) > 1 else choice.layers)


def _refusal(refusal: Refusal) -> Iterator[str]:
    number = f" #{refusal.replica + 1}" if refusal.deployment.replicas > 1 else ""
    yield f"Refused: {refusal.deployment.name}{number} ({refusal.limit}): {refusal.text}"
    yield from (f"  - {way.text}" for way in refusal.nearest)


def _device(device: DeviceLoad) -> str:
    total = "unknown" if device.total_bytes is None else size(device.total_bytes)
    kept = f", {size(device.reserved_bytes)} not for plans" if device.reserved_bytes else ""
    return f"{device.device}: {size(device.planned_bytes)} planned of {total}{kept}"


def _verdict(plan: Plan) -> str:
    ended = " The search was ended by its time limit." if plan.limited_by else ""
    return f"{_how_good(plan)}.{ended}"


def _how_good(plan: Plan) -> str:
    if plan.status == "infeasible":
        return "Nothing can be placed"
    if plan.gap is None and plan.unproved:
        return f"A better plan may be possible: {possible(plan.unproved)}"
    if plan.gap is None:
        return "A better plan may be possible; how far it is from the best is not known"
    if plan.gap >= LEAST_SHARE:
        return f"It is at most {100 * plan.gap:.1f} % from the best value"
    if plan.status == "optimal":
        return "This is the best plan"
    return "No plan has a better value, but one may have less to move"
