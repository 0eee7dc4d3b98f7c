"""What a page does each second, for tests."""

import re
from html import unescape
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

POLL = {"HX-Request": "true", "HX-Target": "poll"}


def text_of(response: Any) -> str:
    """Return a page as text."""
    return str(response.content.decode()).strip()


def count_queries(client: Client, url: str) -> int:
    """Count the queries of a page that was opened before; what a minute keeps is not counted."""
    counts = []
    for _ in range(3):
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        counts.append(len(queries))
    return min(counts)


def poll_url(page: str) -> str:
    """Return the address that a page, or an answer to a poll, would ask next."""
    match = re.search(r'id="poll" hx-get="([^"]+)"', page)
    assert match, "the page does not poll"
    return unescape(match.group(1))


def poll(client: Client, page: str) -> Any:
    """Ask what has changed since ``page``."""
    return client.get(poll_url(page), headers=POLL)


def parts(answer: str) -> list[str]:
    """Return the ids of the elements that an answer replaces out of band."""
    return re.findall(r'<\w+ id="([^"]+)" hx-swap-oob="true"', answer)
