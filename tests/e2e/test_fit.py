"""Will it fit? A model is chosen, the slider is moved, and the table follows at once."""

import gzip
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from labdash.env import ROOT
from tests.e2e.live_lab import LiveLab

HEADER = ROOT / "tests" / "fixtures" / "oracle" / "headers" / "qwen3-8b.Q4_K_M.gguf.gz"
pytestmark = pytest.mark.e2e


def test_table_follows_model_slider_place_and_file(
    window: Page, lab: LiveLab, tmp_path: Path
) -> None:
    lab.wait_until_live(window, 5)
    window.goto(f"{lab.url}/fit/")
    window.locator("#id_model").fill("qwen3:32b")
    wanted = window.locator("#quants td[aria-current]")
    expect(window.locator("#model-title")).to_have_text("Qwen3-32B · Q4_K_M")
    expect(window.locator("#id_context")).to_have_attribute("max", "40960")
    # Who types on ends the request before: the console, which must stay silent, says nothing.
    window.locator("#fit-form").evaluate("form => { form.requestSubmit(); form.requestSubmit(); }")
    window.locator("#id_context").fill("20480")
    expect(window.locator("#context-said")).to_have_text("20k")
    expect(window.locator("#quants thead")).to_contain_text("20k")
    expect(wanted).to_have_count(1)
    assert "context=20480" in window.url
    window.locator("#at-tower-0").click()
    expect(window.locator("#quants-title")).to_contain_text("of tower")
    expect(wanted).to_contain_text("of 65")
    # What was described last has the table, whatever was chosen before.
    window.locator("#id_card").fill("3060 12 GB")
    expect(window.locator("#quants-title")).to_contain_text("on RTX 3060, 12 GB")
    content = gzip.decompress(HEADER.read_bytes())
    file = tmp_path / "mine.gguf"
    file.write_bytes(content + bytes(3 * 2**20))
    window.locator("#id_file").set_input_files(file)
    expect(window.locator("#model-title")).to_have_text("mine.gguf · Q4_K_M")
    window.reload()
    expect(window.locator("#model-title")).to_have_text("mine.gguf · Q4_K_M")
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    window.locator("#id_file").set_input_files(file)
    expect(window.locator("#file-said")).to_have_text(
        "mine.gguf: no GGUF file: it looks like a PNG picture"
    )
