"""What only a browser shows: layout, contrast, focus, the network that goes away."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.live_lab import LiveLab, sign_in, violations
from tests.processes import PATIENCE_S
from tests.workers.fake_ollama import FakeOllama, fake_ollama

PAGES = (
    *("/", "/nodes/", "/nodes/rog/", "/nodes/minibox/", "/nodes/rog/try/"),
    *("/models/", "/pulls/", "/add-node/", "/addresses/", "/fit/?model=qwen3:32b&context=16384"),
    *("/planner/", "/planner/new/", "/planner/what-if/", "/planner/gpus/1/"),
    *("/guide/names/", "/guide/hardware/"),
)
# Of these one look is enough: they are made of the same parts.
MORE_PAGES = (
    *("/pulls/new/?model=qwen3:8b", "/pulls/schedules/", "/pulls/schedules/new/"),
    *("/pulls/updates/", "/pulls/storage/", "/pulls/cache/", "/pulls/settings/"),
    *("/guide/?q=how much vram", "/guide/memory/?tour=1", "/guide/quality/", "/guide/formats/"),
    *("/guide/one-model/", "/guide/start/", "/guide/mistakes/"),
    *("/catalog/", "/catalog/family/Qwen3/", "/catalog/new/"),
)
DOORS = ("/sign-in/", "/reset/")
WIDTHS = (320, 390, 768, 1440, 2560)
# Where pictures of all pages are wanted, for the README or for a look.
PICTURES = os.environ.get("LABDASH_PICTURES")
pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _ready(window: Page, lab: LiveLab) -> None:
    lab.wait_until_live(window, 5)


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def keep(page: Page, path: str, name: str) -> None:
    """Keep a picture where that was asked for."""
    if PICTURES:
        place = path.strip("/").replace("/", "-") or "overview"
        page.screenshot(path=Path(PICTURES) / f"{place}-{name}.png", full_page=True)


def dress(page: Page, width: int, theme: str) -> None:
    """Show the page that is open at another width and in other colours."""
    page.emulate_media(color_scheme="light" if theme == "light" else "dark")
    page.set_viewport_size({"width": width, "height": 900})


@pytest.mark.parametrize(
    "looks",
    [
        [(390, "light"), (1440, "dark")],
        pytest.param([(390, "dark"), (1440, "light")], marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing(window: Page, lab: LiveLab, looks: list[tuple[int, str]]) -> None:
    for path in PAGES:
        window.goto(lab.url + path)
        for width, theme in looks:
            dress(window, width, theme)
            assert violations(window) == [], (path, width, theme)
            keep(window, path, f"{width}-{theme}")
    for path in MORE_PAGES:
        window.goto(lab.url + path)
        dress(window, *looks[0])
        assert violations(window) == [], path
        keep(window, path, f"{looks[0][0]}-{looks[0][1]}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_at_the_doors(browser: Browser, lab: LiveLab, theme: str) -> None:
    context = browser.new_context(color_scheme="light" if theme == "light" else "dark")
    page = context.new_page()
    for path in DOORS:
        page.goto(lab.url + path)
        assert violations(page) == [], path
        page.get_by_role("button").last.click()
        keep(page, path, f"1280-{theme}")
    context.close()


def test_no_page_is_wider_than_its_window(
    window: Page, lab: LiveLab, complaints: list[str]
) -> None:
    complaints.append("status of 404")
    for path in (*PAGES, *MORE_PAGES, "/models/?q=nothing-of-that-name", "/nodes/none/"):
        window.goto(lab.url + path)
        for width in WIDTHS:
            window.set_viewport_size({"width": width, "height": 900})
            assert overflow(window) <= 0, (path, width)


def test_targets_on_a_touch_screen_are_large_enough(browser: Browser, lab: LiveLab) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    sign_in(page, lab)
    for path in ("/", "/models/", "/pulls/", "/nodes/"):
        page.goto(lab.url + path)
        small = page.evaluate(
            """() => [...document.querySelectorAll("main button, nav a, .who button, h2 a")]
            .map(each => [each.textContent.trim(), each.getBoundingClientRect().height])
            .filter(([text, height]) => height > 0 && height < 43.5)"""
        )
        assert small == [], path
    context.close()


def test_focus_and_scroll_survive_a_refresh(window: Page, lab: LiveLab) -> None:
    window.set_viewport_size({"width": 1000, "height": 500})
    window.goto(f"{lab.url}/")
    window.locator("#node-rog-link").focus()
    window.evaluate("document.getElementById('node-rog').dataset.before = 'yes'")
    where = window.evaluate("window.scrollY")
    expect(window.locator("#node-rog")).not_to_have_attribute("data-before", "yes")
    assert window.evaluate("document.activeElement.id") == "node-rog-link"
    assert window.evaluate("window.scrollY") == where


def test_numbers_of_a_bar_show_on_focus(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/nodes/rog/")
    bar = window.locator("#gpus .bar").first
    numbers = bar.locator(".numbers")
    expect(numbers).to_be_hidden()
    bar.focus()
    expect(numbers).to_be_visible()
    expect(numbers).to_contain_text(re.compile(r"free\s*[\d.]+ GiB"))


def test_keyboard_reaches_the_content_first(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/")
    window.keyboard.press("Tab")
    expect(window.locator(".skip")).to_be_focused()
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == "main"


def test_hub_that_cannot_be_reached_is_told_and_comes_back(
    window: Page, context: BrowserContext, lab: LiveLab, complaints: list[str]
) -> None:
    complaints += ["ERR_INTERNET_DISCONNECTED", "htmx:(sendError|afterRequest)"]
    window.goto(f"{lab.url}/")
    context.set_offline(True)
    expect(window.locator("#offline")).to_contain_text("LabDash does not answer.")
    expect(window.locator("#offline-age")).to_have_text(re.compile(r"^[2-9] s$"))
    context.set_offline(False)
    expect(window.locator("#offline")).to_be_hidden()


def test_page_reads_without_javascript(browser: Browser, lab: LiveLab) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, lab)
    expect(page.locator("article")).to_have_count(5)
    page.goto(f"{lab.url}/nodes/rog/")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_contain_text("rog is paused.")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).not_to_contain_text("rog is paused.")
    page.goto(f"{lab.url}/pulls/")
    page.get_by_role("textbox", name="Model").fill("https://x")
    page.get_by_label("rog").check()
    page.get_by_role("button", name="Pull", exact=True).click()
    expect(page.locator("#pull-form")).to_contain_text("Leave out what ends with ://")
    context.close()


def test_store_that_freezes_leaves_the_last_known_state_with_ages(
    window: Page, lab: LiveLab
) -> None:
    window.goto(f"{lab.url}/")
    lab.signal("store", signal.SIGSTOP)
    try:
        expect(window.locator("#banner")).to_contain_text("The store does not answer")
        expect(window.locator("article")).to_have_count(5)
        expect(window.locator("#node-rog .age")).to_contain_text("silent for less than a minute")
        assert window.title().startswith("(")
    finally:
        lab.signal("store", signal.SIGCONT)
    expect(window.locator("#banner")).to_be_empty()
    expect(window.locator("#node-rog .age")).to_contain_text("live")


def test_lost_gpu_and_stopped_ollama_are_named_and_heal(window: Page, lab: LiveLab) -> None:
    window.goto(f"{lab.url}/")
    lab.order("/machines/rog/gpus/1/lose")
    lab.order("/machines/studio/ollama/0/stop")
    expect(window.locator("#node-rog")).to_contain_text("lost")
    expect(window.locator("#problems")).to_contain_text("Ollama is not running on studio")
    keep(window, "/trouble", "1440-dark")
    lab.order("/machines/rog/gpus/1/restore")
    lab.order("/machines/studio/ollama/0/start")
    expect(window.locator("#problems")).not_to_contain_text("is lost")
    expect(window.locator("#problems")).not_to_contain_text("Ollama is not running on studio")


@pytest.fixture
def another_ollama() -> Iterator[FakeOllama]:
    """Serve an Ollama that no machine of the lab has."""
    started, stopped = SimpleQueue[FakeOllama](), threading.Event()

    def run() -> None:
        with fake_ollama() as server:
            server.install("llama3.2:1b", "manifest", "weights")
            started.put(server)
            stopped.wait()

    # Playwright's event loop holds this thread.
    thread = threading.Thread(target=run)
    thread.start()
    yield started.get(timeout=PATIENCE_S)
    stopped.set()
    thread.join()


def test_agentless_node_added_in_the_admin_goes_green(
    window: Page, lab: LiveLab, another_ollama: FakeOllama
) -> None:
    window.goto(f"{lab.url}/admin/labdash/node/add/")
    window.locator("#id_slug").fill("attic")
    window.locator("#id_agentless").check()
    window.locator("#id_declared_ram_bytes").fill("32")
    window.locator("#id_instances-0-url").fill(another_ollama.url)
    window.get_by_role("button", name="Save", exact=True).click()
    window.goto(f"{lab.url}/")
    card = window.locator("#node-attic")
    expect(card.locator(".age")).to_contain_text("live")
    expect(card).to_contain_text(f"Ollama {another_ollama.version}")
    expect(card).to_contain_text("without agent")
    expect(card).to_contain_text("No GPU is declared for attic")
    window.goto(f"{lab.url}/nodes/attic/")
    expect(window.locator("#instances")).to_contain_text("llama3.2:1b")
    window.goto(f"{lab.url}/admin/labdash/node/")
    window.get_by_role("link", name="attic").click()
    window.locator(".deletelink").click()
    window.get_by_role("button", name="Yes, I").click()
    window.goto(f"{lab.url}/")
    expect(window.locator("article")).to_have_count(5)
