"""What an open page does when the answers to its polls are none that it waits for."""

import re
import signal

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.live_lab import LiveLab

pytestmark = pytest.mark.e2e
MARK = "window.stillTheSamePage"


def open_page(window: Page, url: str) -> None:
    """Open a page and mark it, so that a reload can be told."""
    window.goto(url)
    window.evaluate(f"{MARK} = true")


def test_page_of_a_node_that_was_removed_says_so(
    window: Page, context: BrowserContext, lab: LiveLab, complaints: list[str]
) -> None:
    complaints += ["status of 404", "Status Error Code 404"]
    other = context.new_page()
    other.goto(f"{lab.url}/add-node/")
    other.locator("#id_slug").fill("shed")
    other.locator("#id_url").fill("http://127.0.0.9:11434")
    other.get_by_role("button", name="Add the node").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("shed")
    open_page(window, f"{lab.url}/nodes/shed/")
    other.goto(f"{lab.url}/admin/labdash/node/?q=shed")
    other.get_by_role("link", name="shed").click()
    other.locator(".deletelink").click()
    other.get_by_role("button", name="Yes, I").click()
    window.bring_to_front()
    expect(window.get_by_role("heading", level=1)).to_have_text("There is no such page.")


def test_page_left_open_after_signing_out_elsewhere_asks_to_sign_in_and_comes_back(
    window: Page, context: BrowserContext, lab: LiveLab
) -> None:
    open_page(window, f"{lab.url}/nodes/rog/?span=24h")
    other = context.new_page()
    other.goto(f"{lab.url}/models/")
    other.get_by_role("button", name="Sign out").click()
    window.bring_to_front()
    window.wait_for_url(re.compile(r"/sign-in/\?next="))
    name, password = lab.account()
    window.get_by_label("User name").fill(name)
    window.get_by_label("Password").fill(password)
    window.get_by_role("button", name="Sign in").click()
    window.wait_for_url(f"{lab.url}/nodes/rog/?span=24h")


@pytest.mark.parametrize(
    "answer", [(403, "no"), (400, "no"), (200, "<h1>Welcome to the café</h1>")]
)
def test_answer_that_is_no_answer_of_ours_is_told_and_the_page_loads_anew(
    window: Page, lab: LiveLab, complaints: list[str], answer: tuple[int, str]
) -> None:
    complaints += ["status of 40[03]", "Status Error Code 40[03]"]
    status, body = answer
    open_page(window, f"{lab.url}/")
    # What stands between a browser and the hub may answer in its place.
    window.route(
        re.compile(r"[?&]v="),
        lambda route: route.fulfill(status=status, body=body, content_type="text/html"),
    )
    expect(window.locator("#offline")).to_be_visible()
    expect(window.locator("article")).to_have_count(5)
    window.unroute_all()
    expect(window.locator("#offline")).to_be_hidden()
    expect(window.locator("#poll")).to_have_count(1)


def test_hub_that_hangs_or_fails_is_told_and_the_page_goes_on_by_itself(
    window: Page, lab: LiveLab, complaints: list[str]
) -> None:
    complaints += ["ERR_", "htmx:(timeout|sendError)", "status of 50", "Status Error Code 50"]
    open_page(window, f"{lab.url}/")
    lab.signal("web", signal.SIGSTOP)
    try:
        expect(window.locator("#offline")).to_contain_text("LabDash does not answer.")
    finally:
        lab.signal("web", signal.SIGCONT)
    expect(window.locator("#offline")).to_be_hidden()
    lab.signal("web", signal.SIGKILL)
    versions = window.locator("#poll").get_attribute("hx-get")
    expect(window.locator("#poll")).not_to_have_attribute("hx-get", str(versions))
    expect(window.locator("#offline")).to_be_hidden()
    assert window.evaluate(MARK)
