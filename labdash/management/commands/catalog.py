"""The lab's own entries of the catalog: new models need no new release."""

from argparse import SUPPRESS
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from labdash.catalog.entries import read_entries
from labdash.domain.catalog import Imported, import_entries, remove_entry
from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand
from labdash.management.files import read_text
from labdash.planner.errors import PlannerError
from labdash.queries.catalog_export import entries_text
from labdash.queries.own_catalog import entries_path, entries_trouble

# So many names and notes are written out; --json has all of them.
MOST_TOLD = 20
ONE_OBJECT: dict[str, Any] = {
    "action": "store_true",
    "default": SUPPRESS,
    "help": "print one JSON object",
}


class Command(LabDashCommand):
    """``catalog import``, ``catalog export`` and ``catalog remove``."""

    help = "Add models to the catalog. FILE may be - for standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what to do and its options."""
        actions = parser.add_subparsers(dest="action", required=True)
        importing = actions.add_parser("import", help="add the entries of a file, or replace them")
        importing.add_argument("file", metavar="FILE")
        importing.add_argument("--dry-run", action="store_true", help="only tell what would change")
        importing.add_argument(
            "--prune", action="store_true", help="take away own entries that the file lacks, too"
        )
        importing.add_argument("--json", **ONE_OBJECT)
        export = actions.add_parser("export", help="write the lab's own entries, one a line")
        export.add_argument("--all", action="store_true", help="and all that LabDash comes with")
        removing = actions.add_parser("remove", help="take one own entry away")
        removing.add_argument("name", metavar="NAME")
        removing.add_argument("--json", **ONE_OBJECT)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do what was asked. Raises ``LabDashError`` for bad input."""
        getattr(self, f"_{options['action']}")(options)

    def _import(self, options: dict[str, Any]) -> None:
        try:
            rows = read_entries(read_text(options["file"]))
        except PlannerError as error:
            raise LabDashError(f"{options['file']}: {error}") from error
        done = import_entries(rows=rows, prune=options["prune"], dry_run=options["dry_run"])
        if options["json"]:
            self.print_json({**_fields(done), "dry_run": options["dry_run"]})
        else:
            self.stdout.write("\n".join(_lines(done, is_trial=options["dry_run"])))

    def _export(self, options: dict[str, Any]) -> None:
        folder = entries_path().parent
        if not folder.exists() and not options["all"]:
            raise LabDashError(f"no lab here yet, in {folder}: run deploy/up")
        if trouble := entries_trouble():
            raise LabDashError(f"the lab's own entries cannot be read: {trouble}")
        self.stdout.write(entries_text(everything=options["all"]), ending="")

    def _remove(self, options: dict[str, Any]) -> None:
        if not remove_entry(name=options["name"]):
            raise LabDashError(f"the lab has no entry {options['name']} of its own")
        if options["json"]:
            self.print_json({"removed": [options["name"]]})
        else:
            self.stdout.write(f"Removed {options['name']}.")


def _fields(done: Imported) -> dict[str, Any]:
    return {
        "added": list(done.added),
        "changed": list(done.changed),
        "removed": list(done.removed),
        "same": done.same,
        "notes": list(done.notes),
    }


def _lines(done: Imported, *, is_trial: bool) -> list[str]:
    told = (
        ("add", "Added", done.added),
        ("change", "Changed", done.changed),
        ("remove", "Removed", done.removed),
    )
    lines = [
        f"{f'Would {verb}' if is_trial else past}: {_some(names, ', ')}"
        for verb, past, names in told
        if names
    ]
    same = [f"Already there: {done.same}."] if done.same else []
    notes = [_some([f"note: {line}" for line in done.notes], "\n")] if done.notes else []
    return [*lines, *same, *notes]


def _some(texts: Sequence[str], between: str) -> str:
    """Write the first of them, and how many more there are."""
    more = [f"and {len(texts) - MOST_TOLD} more"] if len(texts) > MOST_TOLD else []
    return between.join([*texts[:MOST_TOLD], *more])
