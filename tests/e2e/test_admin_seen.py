"""The admin in a browser, under the strict policy that the console would complain about."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.live_lab import LiveLab

pytestmark = pytest.mark.e2e


def choose(window: Page, action: str, *names: str) -> None:
    """Tick rows of a list and run an action on them."""
    for name in names:
        row = window.get_by_role("row", name=name)
        row.get_by_role("checkbox").check()
    window.get_by_label("Action:").first.select_option(label=action)
    window.get_by_role("button", name="Run").first.click()


def test_a_model_is_pulled_to_nodes_from_their_list(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/admin/labdash/node/")
    choose(window, "Pull a model to nodes", "minibox")
    window.get_by_label("Model").fill("not a name")
    window.get_by_role("button", name="Pull").click()
    expect(window.get_by_text("not a name is no model name")).to_be_visible()
    window.get_by_label("Model").fill("qwen3:0.6b")
    window.get_by_role("button", name="Pull").click()
    expect(window.get_by_text("Pulls of qwen3:0.6b queued: 1.")).to_be_visible()


def test_nodes_are_paused_and_resumed_from_their_list(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/admin/labdash/node/")
    choose(window, "Pause nodes", "minibox", "oldie")
    expect(window.get_by_text("Paused: 2.")).to_be_visible()
    choose(window, "Resume nodes", "minibox", "oldie")
    expect(window.get_by_text("Resumed: 2.")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("node", "Select node to change"),
        ("gpu", "Select GPU to change"),
        ("pulljob", "Select pull job to change"),
        ("installedmodel", "Select installed model to view"),
        ("gpusample", "Select GPU sample to view"),
    ],
)
def test_lists_load_without_a_complaint(
    window: Page, lab: LiveLab, name: str, heading: str
) -> None:
    lab.wait_until_live(window, 5)
    window.goto(f"{lab.url}/admin/labdash/{name}/")
    expect(window.locator("#content h1")).to_have_text(heading)
    expect(window.locator("#result_list tbody tr").first).to_be_visible()
