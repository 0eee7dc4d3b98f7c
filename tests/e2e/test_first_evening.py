"""The first start: a code from the terminal, an account, and what the overview says then."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.deploy.running import Running
from tests.e2e.live_lab import violations

pytestmark = pytest.mark.e2e


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    running = Running.start(tmp_path / "var", "--host", "127.0.0.1")
    try:
        running.wait()
        yield running
    finally:
        running.end()


def test_owner_sets_up_signs_out_and_in(
    fresh: Running, context: BrowserContext, complaints: list[str]
) -> None:
    complaints.append("status of 422")
    url = f"http://127.0.0.1:{fresh.port}"
    code = re.search(r"setup code: (\S+)", fresh.said())
    assert code
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Make this lab yours")
    assert violations(page) == []
    page.get_by_label("One-time code").fill("AAAA-BBBB-CCCC-DDDD")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("New password").fill("a good long phrase")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("alert").first).to_contain_text("This code is not right")
    page.get_by_label("One-time code").fill(code[1])
    page.get_by_label("New password").fill("a good long phrase")
    page.get_by_role("button", name="Make the account").click()
    expect(page.locator("article")).to_have_count(1)
    expect(page.locator("#problems")).to_contain_text("Ollama")
    expect(page.locator("body")).not_to_contain_text("imulated")
    assert violations(page) == []
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a good long phrase")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("article")).to_have_count(1)
