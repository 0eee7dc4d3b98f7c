"""Get a hub ready to start."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError

from labdash.domain import access, preparing
from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand
from labdash.models import NodeKind


class Command(LabDashCommand):
    """Tables, static files, secret key, nodes of this start, and the way to sign in."""

    help = "Migrate, collect static files, make the secret key and the nodes of this start."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take nodes as pairs of options, in order."""
        parser.add_argument(
            "--node", action="append", default=[], metavar="SLUG=URL[,URL]", help="A local node."
        )
        parser.add_argument(
            "--kind",
            action="append",
            default=[],
            metavar="|".join(NodeKind.values),
            help="The kind of the node before it (linux where left out).",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do all steps; print the setup code or the demo's account."""
        nodes = _pairs(options["node"], options["kind"])
        preparing.prepare_folder()
        preparing.prepare_secret_key()
        preparing.prepare_store()
        try:
            preparing.prepare_database()
        except DatabaseError as error:
            line = str(error).splitlines()[0]
            raise LabDashError(f"the database does not answer: {line}") from error
        preparing.prepare_static()
        for slug, urls, kind in nodes:
            preparing.prepare_node(slug=slug, kind=kind, urls=urls)
        told = _ways_in()
        if options["json"]:
            self.print_json(told)
        else:
            self.stdout.write("\n".join(_lines(told)))


def _pairs(nodes: list[str], kinds: list[str]) -> list[tuple[str, list[str], str]]:
    if len(kinds) > len(nodes):
        raise LabDashError("there are more --kind than --node")
    kinds = kinds + [str(NodeKind.LINUX)] * (len(nodes) - len(kinds))
    parsed = []
    for node, kind in zip(nodes, kinds, strict=True):
        slug, equals, urls = node.partition("=")
        if not equals:
            raise LabDashError(f"--node {node}: write SLUG=URL[,URL]")
        parsed.append((slug, [url for url in urls.split(",") if url], kind))
    return parsed


def _ways_in() -> dict[str, Any]:
    if settings.DEMO:
        return {"setup_code": None, "demo_account": preparing.prepare_demo_account()}
    code = None if access.has_owner() else access.new_code()
    return {"setup_code": code, "demo_account": None}


def _lines(told: dict[str, Any]) -> list[str]:
    lines = ["Ready."]
    if told["setup_code"]:
        lines.append(f"Setup code: {told['setup_code']}")
    if account := told["demo_account"]:
        lines.append(f"Sign in as {account['username']} with {account['password']}")
    return lines
