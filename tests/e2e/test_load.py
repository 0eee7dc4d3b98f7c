"""A model loaded, kept, and unloaded in a browser, and a load that fails."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.live_lab import LiveLab, violations

MODEL = "qwen3:8b"
pytestmark = pytest.mark.e2e


def test_model_is_loaded_kept_and_unloaded_and_a_failure_is_explained(
    window: Page, lab: LiveLab
) -> None:
    lab.wait_until_live(window, 5)
    window.goto(f"{lab.url}/nodes/rog/")
    row = window.locator("tr", has=window.locator("th", has_text=MODEL))
    row.get_by_role("link", name=re.compile("^Load|^Keep")).click()
    state, done = window.locator("#state"), window.locator("#jobs li").first
    window.evaluate("window.stillTheSamePage = true")

    lab.order("/machines/rog/ollama/0/fail-load", text="cudaMalloc failed: out of memory")
    window.get_by_label("Context in tokens").fill("8192")
    window.get_by_label("GPU", exact=True).select_option("0")
    window.get_by_role("button", name="Load", exact=True).click()
    expect(done).to_contain_text("The GPU's memory is too small for it now.")
    expect(done).to_contain_text("Ollama says: cudaMalloc failed")
    done.locator("summary").click()
    expect(done.locator("pre")).to_contain_text("error loading llama server")

    window.get_by_role("button", name="Load", exact=True).click()
    expect(state).to_contain_text("In memory · context 8k", timeout=20_000)
    expect(done).to_contain_text(re.compile(r"GiB on GPU 0 \(measured\), context 8,192"))
    window.locator("#keep-form select").select_option("-1")
    window.get_by_role("button", name="Keep", exact=True).click()
    expect(state).to_contain_text("stays for ever")
    assert violations(window) == []
    window.get_by_role("button", name="Unload now").click()
    expect(state).to_contain_text("Not in memory")
    assert window.evaluate("window.stillTheSamePage")
