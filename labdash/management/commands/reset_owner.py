"""Print a one-time code for a forgotten password."""

from typing import Any

from django.conf import settings

from labdash.domain import access
from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand, require_lab
from labdash.models import CodePurpose


class Command(LabDashCommand):
    """A code that lives an hour; with ``--json`` as ``{"reset_code": …, "username": …}``."""

    help = "Print a one-time code with which the owner sets a new password."

    def handle(self, *_args: Any, **options: Any) -> None:
        """Make the code and print it."""
        require_lab()
        if settings.DEMO:
            raise LabDashError("the demo's password is not forgotten: each start prints it")
        owner = access.find_owner()
        if owner is None:
            raise LabDashError("this lab has no owner yet: open its page and set it up")
        code = access.new_code(purpose=CodePurpose.RESET)
        if options["json"]:
            self.print_json({"reset_code": code, "username": owner.username})
        else:
            self.stdout.write(
                f"One-time code, good for an hour: {code}\n"
                f"Enter it at /reset/, with a new password for {owner.username}."
            )
