"""The lab as one file, for git: nodes and what is to be served on them."""

from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from labdash.domain.errors import LabDashError
from labdash.domain.labs import Imported, import_lab
from labdash.management.base import LabDashCommand, require_lab
from labdash.management.files import read_text
from labdash.planner.errors import PlannerError
from labdash.queries.lab import read_lab
from labdash.queries.lab_export import read_entries
from labdash.queries.lab_file import read
from labdash.queries.lab_text import lab_text

HEAD = "# The lab of LabDash. `manage.py lab import` reads it, `manage.py plan --lab` plans it.\n\n"


class Command(LabDashCommand):
    """``lab export`` and ``lab import``."""

    help = "Write the lab as a file, or store what a file says. FILE may be - for standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the direction and its options."""
        actions = parser.add_subparsers(dest="action", required=True)
        export = actions.add_parser("export", help="write nodes, deployments and schedules")
        export.add_argument("--output", metavar="FILE", help="write there (standard output)")
        export.add_argument(
            "--now", action="store_true", help="also what is used, installed and in memory now"
        )
        importing = actions.add_parser("import", help="store what a file says")
        importing.add_argument("file", metavar="FILE")
        importing.add_argument(
            "--json", action="store_true", default=SUPPRESS, help="print one JSON object"
        )
        importing.add_argument("--dry-run", action="store_true", help="only tell what would change")
        importing.add_argument(
            "--prune", action="store_true", help="delete what the file lacks, too"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Write or read the file. Raises ``LabDashError`` for bad input."""
        require_lab()
        if options["action"] == "export":
            if options["json"]:
                raise LabDashError("lab export writes TOML: leave out --json")
            self._export(options["output"], present=options["now"])
        else:
            self._import(options)

    def _export(self, path: str | None, *, present: bool) -> None:
        text = HEAD + lab_text(read_entries(read_lab(now=timezone.now()), present=present))
        if path is None:
            self.stdout.write(text, ending="")
            return
        try:
            Path(path).write_text(text, "utf-8")
        except OSError as error:
            raise LabDashError(f"cannot write {path}: {error.strerror}") from error

    def _import(self, options: dict[str, Any]) -> None:
        try:
            entries = read(read_text(options["file"]))
        except PlannerError as error:
            raise LabDashError(str(error)) from error
        done = import_lab(entries=entries, prune=options["prune"], dry_run=options["dry_run"])
        if options["json"]:
            self.print_json({"changes": list(done.changes), "skipped": list(done.skipped)})
        else:
            self.stdout.write("\n".join(_lines(done, is_trial=options["dry_run"])))


def _lines(done: Imported, *, is_trial: bool) -> list[str]:
    head = "Would change:" if is_trial else "Changed:"
    changes = [head, *(f"  {line}" for line in done.changes)] if done.changes else ["No changes."]
    return [*changes, *(f"note: {line}" for line in done.skipped)]
