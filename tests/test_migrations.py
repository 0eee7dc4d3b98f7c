"""The tables that migrations make are those that the models describe."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_migrations_form_one_line() -> None:
    loader = MigrationLoader(connection)
    ours = sorted(name for app, name in loader.graph.nodes if app == "labdash")
    assert [name[:4] for name in ours] == [f"{number:04}" for number in range(1, len(ours) + 1)]
    assert len(loader.graph.leaf_nodes("labdash")) == 1
