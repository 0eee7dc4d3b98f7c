"""How many bytes a browser loads, compressed: the first page with everything, and a refresh."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from labdash.domain import planning
from labdash.models import Deployment
from labdash.queries.lab import read_lab
from labdash.views.planning import WAIT_S, plan_now
from tests.labdash.views.polling import POLL, poll_url
from tests.labdash.views.sample_lab import five_nodes, history

FIRST_PAGE_BYTES = 60 * 1024
REFRESH_BYTES_A_NODE = 2 * 1024
PLAIN = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PAGES = ("/", "/nodes/", "/nodes/rog/", "/models/", "/pulls/", "/planner/")
WANTED = ("qwen3:32b", "qwen2.5-coder:14b", "gemma3:27b", "llama3.1:8b", "gpt-oss:20b", "qwen3:4b")


@pytest.fixture
def page(db: None, settings: Settings) -> Iterator[Client]:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": PLAIN}
    cache.clear()
    for node in five_nodes().values():
        history(node)
    for name in WANTED:
        Deployment.objects.create(name=name, model=name)
    plan_now(read_lab(now=timezone.now()), wait_s=WAIT_S)
    client = Client(headers={"Accept-Encoding": "gzip"})
    client.force_login(User.objects.create_superuser("owner"))
    yield client
    planning.stop()


def compressed(name: str) -> int:
    """Return the size of a static file as it is sent."""
    path = finders.find(name)
    assert path, name
    return len(gzip.compress(Path(path).read_bytes()))


def first_bytes(page: Client, url: str) -> int:
    """Return the size of a page with all that it loads."""
    response = page.get(url)
    assert response.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(response.content).decode()
    files = set(re.findall(r'(?:src|href)="/?static/([^"]+)"', text))
    assert {"labdash/labdash.css", "labdash/tick.js", "django_htmx/htmx-2.min.js"} <= files
    return len(response.content) + sum(map(compressed, files))


def refresh_bytes(page: Client, url: str) -> int:
    """Return the size of an answer in which everything is new."""
    shown = gzip.decompress(page.get(url).content).decode()
    stale = re.sub(r"\.[0-9a-f]{8}", ".00000000", poll_url(shown))
    return len(page.get(stale, headers=POLL).content)


def test_first_page_with_everything_is_light(page: Client) -> None:
    sizes = {url: first_bytes(page, url) for url in PAGES}
    assert {url: size for url, size in sizes.items() if size > FIRST_PAGE_BYTES} == {}


def test_refresh_of_everything_is_light(page: Client) -> None:
    sizes = {url: refresh_bytes(page, url) for url in PAGES}
    assert {url: size for url, size in sizes.items() if size > 5 * REFRESH_BYTES_A_NODE} == {}


def test_refresh_without_change_has_no_body(page: Client) -> None:
    # Between two requests an age on the page may pass a limit, but not each time.
    def is_empty() -> bool:
        shown = gzip.decompress(page.get("/").content).decode()
        return page.get(poll_url(shown), headers=POLL).content == b""

    assert any(is_empty() for _ in range(10))
