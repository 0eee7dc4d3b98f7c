"""A signed-in client, and static files without a manifest."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from pytest_django.fixtures import Settings

FINDERS = "django.contrib.staticfiles.storage.StaticFilesStorage"


@pytest.fixture(autouse=True)
def _plain_static_files(settings: Settings) -> Iterator[None]:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": FINDERS}}
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def owner(db: None) -> User:
    """Return the one account."""
    return User.objects.create_superuser("owner", password="correct horse")


@pytest.fixture
def page(owner: User) -> Client:
    """Return a client that is signed in."""
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def stranger(owner: User) -> Client:
    """Return a client that is not signed in, of a lab that has an owner."""
    return Client()
