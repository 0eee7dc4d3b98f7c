"""What a hub costs and how soon it tells, with ten nodes of four GPUs each."""

import gzip
import http.client
import re
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import median

import pytest
from playwright.sync_api import Browser, Page

from tests.benchmarks.big_lab import HUB, OWNER, PASSWORD, BigLab, big_lab
from tests.benchmarks.simulation import NODES
from tests.benchmarks.weighing import GIB, MIB, cpu_s, median_and_p95, memory_bytes
from tests.browsing import browser as browser  # noqa: PLC0414 - a fixture of this module
from tests.deploy.running import Visitor
from tests.figures import Tell
from tests.labdash.views.polling import POLL, poll_url
from tests.processes import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.e2e]

HUB_BYTES = 300 * MIB
FIRST_LOAD_BYTES = 60 * 1024
REFRESH_BYTES_A_NODE = 2 * 1024
SETTLE_S = 60
CHANGES = 40
POLLS = 100


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigLab]:
    with big_lab(tmp_path_factory.mktemp("big")) as running:
        yield running


@pytest.fixture
def window(browser: Browser, lab: BigLab) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{lab.url}/sign-in/")
    page.get_by_label("User name").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{lab.url}/")
    page.wait_for_function(f"document.querySelectorAll('article.node').length === {NODES}")
    yield page
    page.close()


def test_hub_of_ten_nodes_is_light(lab: BigLab, tell: Tell) -> None:
    pids = lab.pids()
    before = {name: cpu_s(pids[name]) for name in HUB}
    time.sleep(SETTLE_S)
    weights = {name: memory_bytes(pids[name]) for name in HUB}
    share = sum(cpu_s(pids[name]) - before[name] for name in HUB) / SETTLE_S
    parts = ", ".join(f"{name} {size / MIB:.0f}" for name, size in weights.items())
    total = sum(weights.values())
    tell("hub, 10 nodes x 4 GPUs", f"{total / MIB:.0f} MB PSS ({parts})", goal="300")
    others = {name: memory_bytes(pid) for name, pid in pids.items() if name not in HUB}
    others["supervisor"] = memory_bytes(lab.running.process.pid)
    tell("beside it", ", ".join(f"{name} {size / MIB:.0f} MB" for name, size in others.items()))
    tell("hub, nobody watches", f"{100 * share:.1f} % of a core")
    assert total <= HUB_BYTES


def test_change_on_a_card_is_soon_on_the_page(lab: BigLab, window: Page, tell: Tell) -> None:
    window.goto(f"{lab.url}/nodes/node3/")
    cell = window.locator("#processes tr", has_text="Xorg").locator(".key")
    cell.wait_for()
    delays = []
    for number in range(CHANGES):
        size_gib = (10 + number) / 10
        began = time.monotonic()
        lab.order("/machines/node3/gpus/0/desktop", bytes=round(size_gib * GIB))
        cell.get_by_text(f"{size_gib:.1f} GiB", exact=True).wait_for()
        delays.append(time.monotonic() - began)
        # Not in step with the worker's seconds.
        time.sleep(number * 0.037 % 1)
    middle, high = median_and_p95(delays)
    tell("change on a card to the page", f"median {middle:.2f} s, 95 % {high:.2f} s", goal="2 s")


def test_dead_node_is_noticed(lab: BigLab, window: Page, tell: Tell) -> None:
    card = window.locator("article.node", has=window.get_by_role("link", name="node9", exact=True))
    card.get_by_text("live").wait_for()
    lab.workers["node9"].process.kill()
    began = time.monotonic()
    card.get_by_text("silent").wait_for()
    tell("dead node is silent on the page", f"after {time.monotonic() - began:.1f} s", goal="15 s")


class Asker:
    """Somebody who signed in, on one connection that stays open; answers come compressed."""

    def __init__(self, connection: http.client.HTTPConnection, cookies: dict[str, str]) -> None:
        self._connection = connection
        told = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._headers = {"Cookie": told, "Accept-Encoding": "gzip"}

    def get(self, path: str, **headers: str) -> bytes:
        """Return what comes over the wire."""
        self._connection.request("GET", path, headers=self._headers | headers)
        answer = self._connection.getresponse()
        assert answer.status in {http.client.OK, http.client.NO_CONTENT}
        return answer.read()

    def poll(self, page: str) -> bytes:
        """Ask what has changed since."""
        return self.get(poll_url(page), **POLL)


@pytest.fixture
def asker(lab: BigLab) -> Iterator[Asker]:
    visitor = Visitor(lab.running.port)
    visitor.post("/sign-in/", username=OWNER, password=PASSWORD)
    connection = http.client.HTTPConnection("127.0.0.1", lab.running.port, timeout=PATIENCE_S)
    with closing(connection):
        yield Asker(connection, visitor.cookies)


def unpacked(answer: bytes) -> str:
    """Return a text; a short one was not compressed."""
    return (gzip.decompress(answer) if answer.startswith(b"\x1f\x8b") else answer).decode()


def test_first_load_of_the_overview_is_light(asker: Asker, tell: Tell) -> None:
    page = asker.get("/")
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', unpacked(page)))
    total = len(page) + sum(len(asker.get(path)) for path in files)
    tell("first load of the overview", f"{total / 1024:.1f} KB compressed", goal="60")
    assert total <= FIRST_LOAD_BYTES


def test_refresh_of_the_whole_overview_is_light(asker: Asker, tell: Tell) -> None:
    page = unpacked(asker.get("/"))
    stale = re.sub(r"\.[0-9a-f]{8}", ".00000000", poll_url(page))
    size = len(asker.get(stale, **POLL)) / NODES
    tell("refresh of everything", f"{size / 1024:.2f} KB a node compressed", goal="2")
    assert size <= REFRESH_BYTES_A_NODE


def test_polls_of_the_overview_are_cheap(lab: BigLab, asker: Asker, tell: Tell) -> None:
    page, web = unpacked(asker.get("/")), lab.pids()["web"]
    took: list[float] = []
    empty, before = 0, cpu_s(web)
    for _ in range(POLLS):
        began = time.monotonic()
        answer = asker.poll(page)
        took.append(time.monotonic() - began)
        empty += not answer
        page = unpacked(answer) if answer else page
    cpu_ms = 1000 * (cpu_s(web) - before) / POLLS
    tell("a poll of the overview", f"median {1000 * median(took):.0f} ms, {cpu_ms:.0f} ms of CPU")
    tell("polls that changed nothing and have no body", f"{empty} of {POLLS}, back to back")
