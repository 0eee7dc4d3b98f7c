"""A browser and a running lab for the tests that need a person's eyes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser import chromium_arguments, chromium_path
from tests.deploy.running import Running
from tests.e2e.live_lab import LiveLab, sign_in

# Generous: two cores may run a browser, twelve processes and another test.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


# Of a module, not of the session: while Playwright runs, Django's ORM refuses to in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium_path(), args=chromium_arguments()
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Start the demo: five simulated machines with a real hub and real node workers."""
    folder = tmp_path_factory.mktemp("live") / "var"
    running = Running.start(folder, "--demo", "--host", "127.0.0.1")
    try:
        running.wait()
        yield LiveLab(running, folder / "demo")
    finally:
        running.end()


@pytest.fixture
def context(browser: Browser, tmp_path: Path) -> Iterator[BrowserContext]:
    """Open a window whose console must stay silent."""
    opened = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    opened.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    opened.on(
        "console",
        lambda message: said.append(message.text) if message.type == "error" else None,
    )
    opened.on("weberror", lambda error: said.append(str(error.error)))
    yield opened
    opened.close()
    # What a page could not do because of its own policy is a mistake of ours.
    assert [line for line in said if "Content Security Policy" in line or "Error:" in line] == []


@pytest.fixture
def window(context: BrowserContext, lab: LiveLab) -> Page:
    """Return the page of somebody who signed in to the running lab."""
    page = context.new_page()
    sign_in(page, lab)
    return page
