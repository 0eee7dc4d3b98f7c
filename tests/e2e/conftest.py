"""A browser and a running lab for the tests that need a person's eyes."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsing import browser as browser  # noqa: PLC0414 - a fixture for all
from tests.deploy.running import Running
from tests.e2e.hub_process import hub_worker as hub_worker  # noqa: PLC0414 - a fixture for all
from tests.e2e.live_lab import LiveLab, sign_in
from tests.processes import processes_of

# Generous: two cores may run a browser, twelve processes and another test.
PATIENCE_MS = 60_000
SESSION = "labdash_session"
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Start the demo: five simulated machines with a real hub and real node workers."""
    folder = tmp_path_factory.mktemp("live") / "var"
    running = Running.start(folder, "--demo", "--host", "127.0.0.1")
    try:
        running.wait()
        lab = LiveLab(running, folder / "demo")
        lab.keep_to_the_registry()
        yield lab
    finally:
        assert running.end() == 0, running.said()
    assert processes_of(folder / "demo") == {}
    assert not (folder / "labdash.sqlite3").exists()


@pytest.fixture
def complaints() -> list[str]:
    """Return the patterns of what the console may say; a test adds what it brings about."""
    return []


@pytest.fixture
def context(browser: Browser, complaints: list[str]) -> Iterator[BrowserContext]:
    """Open a window whose console must stay silent, but for the ``complaints`` of its test."""
    opened = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    opened.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    opened.on(
        "console",
        lambda message: (
            said.append(f"{message.text} {message.location['url']}")
            if message.type == "error"
            else None
        ),
    )
    opened.on("weberror", lambda error: said.append(str(error.error)))
    yield opened
    opened.close()
    allowed = re.compile("|".join(complaints) or "(?!)")
    assert [line for line in said if not allowed.search(line)] == []


@pytest.fixture
def window(context: BrowserContext, lab: LiveLab) -> Page:
    """Return the page of somebody who signed in to the running lab, the first one by the door."""
    page = context.new_page()
    if lab.session:
        context.add_cookies([{"name": SESSION, "value": lab.session, "url": lab.url}])
        page.goto(f"{lab.url}/")
    # Also after a test that signed out.
    if page.url != f"{lab.url}/":
        sign_in(page, lab)
        lab.session = next(c["value"] for c in context.cookies() if c["name"] == SESSION)
    return page
