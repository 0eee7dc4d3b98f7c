"""What every test may use."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from labdash.live import BEAT_ALIVE_KEY, INTAKE_ALIVE_KEY, store
from tests import bootstrap


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Keep SQLite's test database in the file that a hub of this data folder would use.

    So threads see what each other wrote, and a hub worker process can be started beside a test.
    """
    database = settings.DATABASES["default"]
    if "sqlite3" in database["ENGINE"]:
        database["TEST"]["NAME"] = str(bootstrap.folder / "labdash.sqlite3")


def pytest_configure() -> None:
    """Hash passwords fast: what is tested is what becomes of them, not how hard they are."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _fresh_store() -> Iterator[None]:
    """Begin as a hub whose worker and scheduler run, and leave nothing behind."""
    store().mset({INTAKE_ALIVE_KEY: 1, BEAT_ALIVE_KEY: 1})
    yield
    store().flushall()
