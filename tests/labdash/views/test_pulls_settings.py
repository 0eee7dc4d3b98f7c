"""What holds for all pulls, on its page."""

from typing import Any

import pytest
from django.test import Client

from labdash.models import Node, PullSettings
from tests.factories import make_node
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
URL = "/pulls/settings/"


@pytest.fixture
def rog() -> Node:
    return make_node("rog")


def sent(node: Node, **changes: Any) -> dict[str, Any]:
    """Return what the form sends as it is, but for changes."""
    values = {
        "speed": "20",
        "zone": "Europe/Berlin",
        "tries": "3",
        "neighbours": "on",
        "cache_limit": "100",
        "keep_free": "5",
        "unused": "never",
        "unused_after_days": "60",
        "window-0-days": ["0", "4"],
        "window-0-begins": "22:00",
        "window-0-ends": "06:00",
        "window-0-speed": "",
        "window-1-days": ["0"],
        "window-1-begins": "",
        "window-1-ends": "",
        f"node-{node.pk}-speed": "2.5",
        f"node-{node.pk}-keep_free": "",
    }
    return values | changes


def test_page_shows_what_holds_where_nobody_changed_anything(page: Client, rog: Node) -> None:
    shown = text_of(page.get(URL))
    assert "Now there is no limit" in shown
    assert 'name="keep_free" value="10"' in shown
    assert "no such model or tag" in shown


def test_what_is_sent_is_stored_and_shown_again(page: Client, rog: Node) -> None:
    assert page.post(URL, sent(rog)).headers["Location"] == URL
    stored = PullSettings.read()
    assert (stored.bytes_per_s, stored.keep_free_bytes) == (20 * 2**20, 5 * 2**30)
    assert (stored.zone, stored.tries, stored.cache) == ("Europe/Berlin", 3, False)
    assert stored.speed_windows == [
        {"days": [0, 4], "from": "22:00", "to": "06:00", "bytes_per_s": None}
    ]
    rog.refresh_from_db()
    assert (rog.pull_bytes_per_s, rog.keep_free_bytes) == (int(2.5 * 2**20), None)
    shown = text_of(page.get(URL))
    assert 'value="22:00"' in shown
    assert 'value="2.5"' in shown


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("speed", "fast", "Write a number of MiB a second"),
        ("zone", "Berlin", "is no time zone"),
        ("tries", "0", "Write a whole number from 1 to 20."),
        ("keep_free", "", "Write a number of GiB"),
        ("window-0-ends", "", "Write both times"),
        ("window-0-begins", "26:00", "such as 08:00"),
        ("window-0-days", ["9"], "Choose days of the week."),
        ("unused", "all", "Choose what becomes of them."),
    ],
)
def test_slip_is_told_and_nothing_is_stored(
    page: Client, rog: Node, field: str, value: object, words: str
) -> None:
    response = page.post(URL, sent(rog, **{field: value}))
    assert response.status_code == 422
    assert words in text_of(response)
    assert not PullSettings.objects.exists()


def test_slip_of_a_machine_is_told_beside_it(page: Client, rog: Node) -> None:
    response = page.post(URL, sent(rog, **{f"node-{rog.pk}-speed": "-1"}))
    assert response.status_code == 422
    assert "Write a number of MiB a second" in text_of(response)


def test_limit_of_nothing_is_told(page: Client, rog: Node) -> None:
    page.post(URL, sent(rog, speed="0", **{"window-0-begins": "", "window-0-ends": ""}))
    assert "Now nothing is pulled: the limit is 0" in text_of(page.get(URL))
