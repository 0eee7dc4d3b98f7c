"""What tests of the hub may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from labdash import live
from labdash.catalog.own import take
from labdash.celery import app, broker_url
from labdash.queries import own_catalog


@pytest.fixture
def dead_store(tmp_path: Path) -> Iterator[None]:
    """Let the hub look for its store where none listens."""
    alive, broker = settings.REDIS_URL, app.conf.broker_url
    settings.REDIS_URL = f"unix://{tmp_path}/absent.sock?db=0"
    app.conf.broker_url = broker_url(settings.REDIS_URL)
    live.store.cache_clear()
    yield
    settings.REDIS_URL, app.conf.broker_url = alive, broker
    live.store.cache_clear()


@pytest.fixture
def own_entries(tmp_path: Path) -> Iterator[Path]:
    """Return a data folder whose entries of the catalog are used."""
    before = own_catalog.entries_path().parent
    own_catalog.follow(tmp_path)
    yield tmp_path
    own_catalog.follow(before)
    take(())
