"""A browser for the tests of one module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium_arguments, chromium_path


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
