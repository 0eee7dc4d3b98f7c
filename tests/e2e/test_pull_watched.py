"""A pull, watched in a browser from the click to its end."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.live_lab import MIB, LiveLab

MODEL = "gemma3:4b-it-q8_0"
SIZE = "3.9 GiB"
pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _ready(window: Page, lab: LiveLab) -> None:
    lab.wait_until_live(window, 5)
    lab.order("/registry/speed", bytes_per_s=350 * MIB)
    lab.order("/registry/faults", model=MODEL, fault=None)


def start_pull(window: Page, lab: LiveLab, node: str, model: str = MODEL) -> Locator:
    """Fill the form, click, and return the line of the job, without loading a page."""
    window.goto(f"{lab.url}/pulls/")
    window.evaluate("window.stillTheSamePage = true")
    window.get_by_role("textbox", name="Model").fill(model)
    window.get_by_label(node).check()
    window.get_by_role("button", name="Pull", exact=True).click()
    line = window.locator("#running .job", has_text=model).filter(has_text=node)
    expect(line).to_be_visible()
    return line


def ended(window: Page, node: str) -> Locator:
    """Return the newest line of the history for a node."""
    return window.locator("#ended tbody tr", has_text=node).first


def test_pull_is_watched_from_the_click_to_installed(window: Page, lab: LiveLab) -> None:
    line = start_pull(window, lab, "rog")
    expect(line).to_contain_text(re.compile(rf"downloading\s*[\d.]+ of {SIZE}"))
    expect(line).to_contain_text(re.compile(r"\d+ MiB/s\s*\d+ s left"))
    bar = line.get_by_role("progressbar")
    first = int(bar.get_attribute("aria-valuenow") or 0)
    expect(bar).not_to_have_attribute("aria-valuenow", str(first))
    assert int(bar.get_attribute("aria-valuenow") or 100) > first
    expect(ended(window, "rog")).to_contain_text("installed")
    expect(ended(window, "rog")).to_contain_text(SIZE)
    assert window.evaluate("window.stillTheSamePage")
    window.goto(f"{lab.url}/models/")
    cell = window.locator("tbody tr", has_text="gemma3:4b").locator("td[data-label=rog]")
    expect(cell).to_contain_text("Q8_0")


def test_pull_is_cancelled_within_seconds(window: Page, lab: LiveLab) -> None:
    lab.order("/registry/speed", bytes_per_s=20 * MIB)
    line = start_pull(window, lab, "studio")
    expect(line).to_contain_text("downloading")
    line.get_by_role("button", name="Cancel").click()
    expect(ended(window, "studio")).to_contain_text("cancelled", timeout=5000)
    expect(window.locator("#running")).to_contain_text("Nothing is being pulled.")


def test_pull_that_does_not_fit_the_disk_is_refused_with_the_sizes(
    window: Page, lab: LiveLab, complaints: list[str]
) -> None:
    complaints.append("status of 422")
    lab.order("/machines/minibox/disk", free_bytes=1024 * MIB)
    window.goto(f"{lab.url}/nodes/minibox/")
    expect(window.locator("main")).to_contain_text("1.0 GiB of 256 GiB are free")
    window.goto(f"{lab.url}/pulls/")
    window.get_by_role("textbox", name="Model").fill(MODEL)
    window.get_by_label("minibox").check()
    window.get_by_role("button", name="Pull", exact=True).click()
    expect(window.locator("#pull-form")).to_contain_text(
        re.compile(
            r"1\.0 GiB free, less 10\.0 GiB to be kept free: 12\.\d GiB short of the 3\.9 GiB"
        )
    )
    lab.order("/machines/minibox/disk", free_bytes=64 * 1024 * MIB)


def test_pull_that_fails_upstream_says_why_and_can_be_repeated(window: Page, lab: LiveLab) -> None:
    lab.order("/registry/faults", model=MODEL, fault="manifest-500")
    window.goto(f"{lab.url}/pulls/")
    window.get_by_role("textbox", name="Model").fill(MODEL)
    window.get_by_label("oldie").check()
    window.get_by_role("button", name="Pull", exact=True).click()
    row = window.locator("#queued li", has_text="oldie")
    expect(row).to_contain_text("is tried again in")
    expect(row).to_contain_text("The registry has an error of its own")
    lab.order("/registry/faults", model=MODEL, fault=None)
    row.get_by_role("button", name="Go on now").click()
    expect(ended(window, "oldie")).to_contain_text("installed")


def test_name_that_nobody_offers_says_so(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/pulls/")
    window.get_by_role("textbox", name="Model").fill("no-such-model:1b")
    window.get_by_label("tower").check()
    window.get_by_role("button", name="Pull", exact=True).click()
    expect(ended(window, "tower")).to_contain_text("failed")
    expect(ended(window, "tower").locator("small")).to_have_text(
        "The registry has no model no-such-model:1b. Check its name and its tag."
    )


def test_slip_in_a_name_is_told_beside_the_field(
    window: Page, lab: LiveLab, complaints: list[str]
) -> None:
    complaints.append("status of 422")
    window.goto(f"{lab.url}/pulls/")
    window.get_by_role("textbox", name="Model").fill("https://ollama.com/library/qwen3")
    window.get_by_label("rog").check()
    window.get_by_role("button", name="Pull", exact=True).click()
    expect(window.locator("#pull-form")).to_contain_text("Leave out what ends with ://")
    expect(window.get_by_label("rog")).to_be_checked()


def test_button_in_the_matrix_turns_into_progress(window: Page, lab: LiveLab) -> None:
    lab.order("/registry/speed", bytes_per_s=60 * MIB)
    window.goto(f"{lab.url}/models/")
    row = window.locator("tbody tr", has_text="qwen2.5:14b")
    row.locator("td[data-label=tower]").get_by_role("button").click()
    expect(row.locator("td[data-label=tower]")).to_contain_text(re.compile(r"\d+ %"))
    window.goto(f"{lab.url}/")
    job = window.locator("#running .job", has_text="qwen2.5:14b")
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_have_count(0, timeout=10_000)
