"""The planner in a browser: wishes become a plan, one is refused, and a way out helps."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.deploy.running import Running
from tests.e2e.live_lab import LiveLab, sign_in, violations

WIDTHS = (390, 1440)
GIB = 2**30
# Of a first plan, which reckons every model on every GPU, of a search, and of what workers see.
SEARCH_MS = 60_000
pytestmark = pytest.mark.e2e


def want(page: Page, lab: LiveLab, **fields: str) -> None:
    """Fill in the form of a deployment, all of it unfolded."""
    page.goto(f"{lab.url}/planner/new/")
    page.locator("#more summary").click()
    for name, value in fields.items():
        field = page.locator(f"#id_{name}")
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Add it").click()
    page.wait_for_url(f"{lab.url}/planner/")


def expect_plan(page: Page, headline: str) -> None:
    """Wait until the best plan is there."""
    expect(page.locator("#lead h1")).to_have_text(headline, timeout=SEARCH_MS)
    settled = re.compile("Proved best|Within .* of the best")
    expect(page.locator("#lead p")).to_have_text(settled, timeout=SEARCH_MS)


def test_wishes_become_a_plan_with_reasons_ways_out_and_a_preview(
    window: Page, lab: LiveLab
) -> None:
    lab.wait_until_live(window, 5)
    want(window, lab, model="phi4:14b", quant_floor="Q4_K_M", pin="tower/0", ctx_wish="16k")
    want(window, lab, model="llama3.3:70b-instruct-q3_K_M", pin="tower/0", priority="5")
    expect_plan(window, "One of two fits.")
    wanted = window.locator("#wanted")
    expect(wanted).to_contain_text(re.compile(r"Context \d+k instead of 16k: 16k needs"))
    expect(wanted).to_contain_text(re.compile(r"needs [\d.]+ GiB"))
    expect(window.locator("#bars .bar").first).to_be_visible()
    for width in WIDTHS:
        window.set_viewport_size({"width": width, "height": 900})
        assert violations(window) == []
        assert window.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    wanted.get_by_role("button", name="fits on", exact=False).first.click()
    expect(window.locator("#lead h1")).to_have_text("All two fit.", timeout=SEARCH_MS)
    window.goto(f"{lab.url}/planner/preview/")
    expect(window.locator("#preview")).to_contain_text("labdash/phi4-14b")
    assert violations(window) == []
    for name in ("phi4:14b", "llama3.3:70b-instruct-q3_K_M"):
        window.goto(f"{lab.url}/planner/")
        window.locator("#wanted").get_by_role("link", name=name, exact=True).click()
        window.locator("#delete summary").click()
        window.get_by_role("button", name=f"Delete {name}").click()
    expect(window.locator("#wanted")).to_contain_text("Nothing is asked for yet")


@pytest.mark.long
def test_plan_is_applied_seen_as_planned_and_gives_way_to_a_game(
    browser: Browser, tmp_path: Path
) -> None:
    running = Running.start(tmp_path / "var", "--demo", "--host", "127.0.0.1")
    try:
        running.wait()
        lab = LiveLab(running, tmp_path / "var" / "demo")
        page = browser.new_page()
        sign_in(page, lab)
        lab.wait_until_live(page, 5)
        _apply_and_play(page, lab)
    finally:
        running.end()


def _apply_and_play(page: Page, lab: LiveLab) -> None:
    lab.order("/registry/speed", bytes_per_s=0)
    want(page, lab, model="qwen3:30b-a3b", ctx_floor="16k", pin="rog/1", priority="1")
    want(page, lab, model="gpt-oss:20b", ctx_floor="16k", priority="1")
    want(page, lab, model="phi4:14b", quant_floor="Q4_K_M", pin="tower/0", ctx_wish="16k")
    expect_plan(page, "All three fit.")
    page.locator("#go-preview").click()
    page.get_by_role("button", name="Apply").click()
    force = page.locator("#force")
    expect(force).to_contain_text("3 of 3 as planned", timeout=3 * SEARCH_MS)
    page.goto(f"{lab.url}/")
    expect(page.locator("#node-rog .mark-line")).to_have_count(2)
    page.goto(f"{lab.url}/planner/")
    rog = page.locator(".plan-node", has=page.get_by_role("link", name="rog", exact=True))
    rog.get_by_role("link", name="Reserve, give back").nth(1).click()
    page.locator("#id_game").fill("2")
    page.get_by_role("button", name="Save").click()
    lab.order("/machines/rog/gpus/1/game", bytes=6 * GIB)
    page.goto(f"{lab.url}/")
    leaves = "the plan leaves it the card"
    expect(page.locator("#problems")).to_contain_text(leaves, timeout=SEARCH_MS)
    expect(page.locator("#node-rog")).to_contain_text("given back", timeout=SEARCH_MS)
