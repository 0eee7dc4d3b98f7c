"""The hub's own worker and scheduler on the database and the store of one test."""

import os
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from labdash import live
from labdash.env import ROOT
from labdash.runner import commands
from labdash.runner.config import read_config
from labdash.runner.options import Options
from tests import bootstrap
from tests.deploy.running import NOWHERE
from tests.processes import eventually

COMMANDS = (commands.hub_worker, commands.scheduler)


@pytest.fixture
def hub_worker(transactional_db: None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a hub worker on the database and the store of this test."""
    (bootstrap.folder / "run").mkdir(exist_ok=True)
    environment = dict(os.environ) | {"LABDASH_REGISTRY_URL": NOWHERE}
    if url := environment.get("DATABASE_URL"):
        name = str(connection.settings_dict["NAME"])
        environment["DATABASE_URL"] = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    live.store().delete(live.INTAKE_ALIVE_KEY)
    config = read_config(Options())
    processes = [
        subprocess.Popen(  # noqa: S603 - our own worker and scheduler
            command(config).argv, cwd=ROOT, env=environment, start_new_session=True
        )
        for command in COMMANDS
    ]
    assert eventually(lambda: bool(live.store().exists(live.INTAKE_ALIVE_KEY)))
    yield processes[0]
    for process in processes:
        process.kill()
        process.wait()
    assert eventually(_alone)


def _alone() -> bool:
    """Tell whether the database has forgotten the worker's sessions."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return bool(cursor.fetchone()[0] == 1)
