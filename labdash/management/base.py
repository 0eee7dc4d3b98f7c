"""What LabDash's own commands share: one clear line and exit code 2 for what cannot be done."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from labdash.domain.errors import LabDashError
from labdash.env import data_dir
from labdash.runner.folder import is_held

BAD_INPUT = 2


class LineParser(CommandParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """End with the line alone, without the usage."""
        self.exit(BAD_INPUT, f"labdash: {message}\n")


class LabDashCommand(BaseCommand):
    """A command whose refusals are ``LabDashError``. ``--json`` prints one object."""

    # A lab that is not prepared yet must hear that, and not what the checks make of it.
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make the parser one of short words where a terminal is read."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if parser.called_from_command_line:
            parser.__class__ = LineParser
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        # Taken out of the command line by manage.py, before the settings are read.
        parser.add_argument("--demo", action="store_true", help="Of the simulated lab.")
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command and turn its refusals into Django's."""
        try:
            return super().execute(*args, **options)
        except LabDashError as error:
            raise CommandError(str(error), returncode=BAD_INPUT) from error

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from a terminal, with the refusal as the only line."""
        self._called_from_command_line = True
        options = vars(self.create_parser(argv[0], argv[1]).parse_args(argv[2:]))
        try:
            self.execute(*options.pop("args", ()), **options)
        except CommandError as error:
            if options["traceback"]:
                raise
            sys.stderr.write(f"labdash: {error}\n")
            sys.exit(error.returncode)

    def print_json(self, value: dict[str, Any]) -> None:
        """Print one object on one line."""
        self.stdout.write(json.dumps(value, default=str))


def require_lab() -> None:
    """Raise ``LabDashError`` with what to run where no lab was ever started."""
    database = settings.DATABASES["default"]
    if "sqlite3" in database["ENGINE"] and not Path(database["NAME"]).is_file():
        # Connecting would make an empty file.
        raise LabDashError(_no_lab())
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except DatabaseError as error:
        raise LabDashError(f"the database does not answer: {error}".splitlines()[0]) from error
    if not any(app == "labdash" for app, _ in applied):
        raise LabDashError(_no_lab())


def _no_lab() -> str:
    if settings.DEMO:
        return "no demo here yet: run deploy/up --demo"
    hint = "; the demo runs: add --demo" if is_held(data_dir(demo=True)) else ""
    return f"no lab here yet: run deploy/up{hint}"
