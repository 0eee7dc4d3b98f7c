"""A signed-in owner before the admin, with its static files as they are in the code."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

PLAIN = "django.contrib.staticfiles.storage.StaticFilesStorage"


@pytest.fixture(autouse=True)
def _plain_static_files(settings: Settings) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": PLAIN}}


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
