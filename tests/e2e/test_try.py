"""A model tried in a browser: the answer as it comes, what it proves, and how it is left."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.live_lab import LiveLab, violations
from tests.processes import eventually

LONG = "Tell me a very long story about this. " * 8
pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _ready(window: Page, lab: LiveLab) -> None:
    lab.wait_until_live(window, 5)


def ask(window: Page, lab: LiveLab, node: str, model: str, prompt: str) -> None:
    window.goto(f"{lab.url}/nodes/{node}/")
    window.locator("tr", has_text=model).locator("a[id^=try-]").click()
    window.get_by_label("Prompt").fill(prompt)
    window.evaluate("window.stillTheSamePage = true")
    window.get_by_role("button", name="Ask").click()


def test_answer_is_watched_and_its_figures_tell_where_it_ran(window: Page, lab: LiveLab) -> None:
    ask(window, lab, "rog", "llama3.1:8b", "Why is the sky blue?")
    said = window.locator("[id^=text-]")
    expect(said).to_contain_text("The simulated model")
    first = len(said.inner_text())
    assert eventually(lambda: len(said.inner_text()) > first)
    verdict = window.locator("#answer")
    expect(verdict).to_contain_text(re.compile(r"It ran on: GPU [01]"))
    expect(verdict).to_contain_text(re.compile(r"Measured by the driver.+ GiB on GPU [01] \(NV"))
    expect(verdict).to_contain_text(re.compile(r"Answer\s*[\d.,]+ tokens/s"))
    expect(verdict).to_contain_text(re.compile(r"First token\s*[\d.]+ m?s"))
    assert said.inner_text().count("mean nothing.") > 10
    assert window.evaluate("window.stillTheSamePage")
    assert violations(window) == []


def test_model_that_thinks_does_so_apart_and_one_without_a_gpu_says_cpu(
    window: Page, lab: LiveLab
) -> None:
    ask(window, lab, "minibox", "qwen3:0.6b", "Why?")
    expect(window.locator("#answer")).to_contain_text("It ran on: CPU")
    thought = window.locator("details.thought")
    expect(thought.locator("[id^=thought-]")).to_be_hidden()
    thought.locator("summary").click()
    expect(thought.locator("[id^=thought-]")).to_contain_text("The simulated model")
    expect(window.locator("[id^=text-]")).to_contain_text("words")


def test_stop_ends_an_answer_and_the_next_one_begins_at_once(window: Page, lab: LiveLab) -> None:
    ask(window, lab, "tower", "gemma3:4b", LONG)
    answer = window.locator("#answer")
    expect(answer).to_contain_text("answering…")
    answer.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("Stopped before its end: by hand")
    expect(answer.get_by_role("button", name="Stop")).to_have_count(0)
    window.get_by_role("button", name="Ask").click()
    expect(answer).to_contain_text("answering…")
    # Without a stop: to ask again is to leave the one before.
    window.get_by_label("Prompt").fill("Why?")
    window.get_by_role("button", name="Ask").click()
    expect(answer).to_contain_text("It ran on: GPU 0")
    expect(answer).to_contain_text(re.compile(r"tokens/s\s*64 tokens"))
