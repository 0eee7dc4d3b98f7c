"""Tell before a pull what becomes of a model on every server of the lab."""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from labdash.domain.errors import LabDashError
from labdash.domain.names import parse_model_name
from labdash.management.base import LabDashCommand, require_lab
from labdash.planner.errors import PlannerError
from labdash.planner.prospects import Prospect
from labdash.queries.before_json import as_json
from labdash.queries.before_pull import Cell, Question, Verdicts, read_verdicts
from labdash.wording import size

DOES_NOT_FIT = 1
KIBI = 1024
LEAST_CTX, MOST_CTX = 256, 2**30


class Command(LabDashCommand):
    """The verdict of the page *Pulls*, *New*, for people or as JSON."""

    help = (
        "Tell what becomes of a model on every server before it is pulled, and which quant is the "
        "best for each. Exits with 1 where what was named fits whole nowhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a name and how it is to be served."""
        parser.add_argument("model", metavar="MODEL", help="a name, as qwen3:14b")
        parser.add_argument("--ctx", default="8k", help="context of a slot (8k)")
        parser.add_argument("--now", action="store_true", help="beside what is loaded now")
        parser.add_argument("--look", action="store_true", help="ask where it is published")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Read once and print. Raises ``LabDashError`` for bad input."""
        require_lab()
        parse_model_name(options["model"])
        question = Question(
            name=options["model"],
            ctx=_tokens(options["ctx"]),
            room="now" if options["now"] else "free",
            look=options["look"],
        )
        try:
            seen = read_verdicts(question, now=timezone.now())
        except PlannerError as error:
            raise LabDashError(str(error)) from error
        if seen.family.is_asking:
            raise LabDashError(f"{question.name}: {seen.family.basis} with --look")
        if options["json"]:
            self.print_json(as_json(seen))
        else:
            self.stdout.write("\n".join(_lines(seen)))
        if not seen.whole:
            sys.exit(DOES_NOT_FIT)


def _tokens(text: str) -> int:
    """Read ``8k`` or ``8192``. Raises ``LabDashError``."""
    number = text.lower().removesuffix("k")
    if number.isascii() and number.isdecimal() and len(number) <= len(str(MOST_CTX)):
        found = int(number) * (1 if number == text else KIBI)
        if LEAST_CTX <= found <= MOST_CTX:
            return found
    raise LabDashError(f"--ctx {text[:20]!r} is no context: write tokens as 8192 or 8k")


def _lines(seen: Verdicts) -> Iterator[str]:
    best = {
        cell.column.instance.pk: cell.offer
        for row in seen.rows
        for cell in row.cells
        if cell.is_best
    }
    if seen.dead:
        yield f"{seen.dead}."
    yield f"{seen.family.name} {seen.family.own}, {seen.question.ctx} tokens of context a slot"
    for cell in seen.own.cells if seen.own else ():
        offer = best.get(cell.column.instance.pk)
        right = f"; best {offer.variant.quant} ({offer.name})" if offer else "; best none"
        yield f"  {cell.column.title}: {_outcome(cell.shown)}; {_fetch(cell)}{right}"


def _outcome(shown: Prospect) -> str:
    pace = f", {shown.tokens_per_s:.0f} tokens/s" if shown.tokens_per_s else ""
    match shown.verdict:
        case "whole" | "ram":
            where = " in RAM" if shown.verdict == "ram" else ""
            return f"fits whole{where} up to {shown.most_ctx} tokens{pace}"
        case "part":
            return f"{shown.layers} of {shown.all_layers} layers on GPUs{pace}"
        case "no":
            short = f"{size(shown.short_bytes)} short" if shown.short_bytes else shown.text
            return f"does not fit: {short}"
    return f"unknown: {shown.text}"


def _fetch(cell: Cell) -> str:
    if cell.is_gone:
        return "not published"
    if cell.fetch.bytes == 0:
        return "installed"
    taken = "an unknown size" if cell.fetch.bytes is None else size(cell.fetch.bytes)
    return f"{taken} from {cell.fetch.giver.words}; {cell.fetch.room.words}".rstrip(".")
