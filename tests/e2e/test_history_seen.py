"""History as a browser shows it, of a lab that runs for a minute or so."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.live_lab import LiveLab, violations

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _ready(window: Page, lab: LiveLab) -> None:
    lab.wait_until_live(window, 5)


def test_memory_by_model_is_drawn_within_the_first_minute(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/nodes/rog/")
    chart = window.locator("#history .chart.memory").first
    expect(chart.locator(".layer").first).to_be_visible(timeout=60_000)
    expect(chart.locator(".ends")).to_contain_text("now")
    table = window.locator("#history table").first
    expect(table.get_by_role("row", name="Memory in use")).to_contain_text("GiB")


def test_a_span_is_chosen_by_keyboard_and_stays(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/nodes/rog/")
    window.locator("#span-1h").focus()
    for _ in range(3):
        window.keyboard.press("Tab")
    expect(window.locator("#span-1y")).to_be_focused()
    window.keyboard.press("Enter")
    expect(window.locator("#span-1y")).to_have_attribute("aria-current", "true")
    expect(window.locator("#history .ends").first).to_contain_text("8 months")


@pytest.mark.parametrize("span", ["24h", "30d", "1y"])
def test_axe_finds_nothing_in_any_span(window: Page, lab: LiveLab, span: str) -> None:
    window.set_viewport_size({"width": 390, "height": 900})
    window.goto(f"{lab.url}/nodes/rog/?span={span}")
    assert violations(window) == []
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
