"""Each row of the guide's tables ends in something to do: a pull, a plan, or lines to copy."""

import re

import pytest
from django.test import Client

from tests.factories import make_node, ollama, seen
from tests.labdash.views.polling import text_of

pytestmark = pytest.mark.django_db
ACT = re.compile('data-copy="|>Pull here<')


def rows_of(text: str) -> list[str]:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    return [row for body in bodies for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]


@pytest.mark.parametrize(
    "address", ["formats/", "formats/?model=gpt-oss:20b", "start/", "mistakes/"]
)
def test_every_row_ends_in_something_to_do(page: Client, address: str) -> None:
    rows = rows_of(text_of(page.get(f"/guide/{address}")))
    assert rows
    assert [row for row in rows if not ACT.search(row)] == []


def test_server_that_nobody_else_reaches_is_told_by_its_own_machines_address(page: Client) -> None:
    make_node("rog")
    seen("rog", instances=(ollama(listens="loopback"),))
    (row, *_) = rows_of(text_of(page.get("/guide/start/?at=rog")))
    assert ">http://127.0.0.1:11434/v1<" in row
    assert "on its own machine" in row
    assert 'href="/addresses/#open"' in row
