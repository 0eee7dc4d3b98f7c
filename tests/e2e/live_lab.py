"""A whole lab that runs: the demo as ``deploy/up`` starts it, and the strings to pull on it."""

import json
import os
import signal
import sqlite3
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Page

from tests.deploy.running import Running
from tests.processes import eventually, processes_of

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
MIB = 2**20
TIMEOUT_S = 10
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def order(url: str, body: object) -> None:
    """Tell a simulated lab to let something happen."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
        answer.read()


@dataclass
class LiveLab:
    """The running demo. ``folder`` is its data folder, ``session`` of who signed in last."""

    running: Running
    folder: Path
    session: str = ""

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.running.port}"

    def account(self) -> tuple[str, str]:
        """Return the printed name and password."""
        words = self.running.said().partition("Sign in as ")[2].split()
        return words[0], words[4]

    def keep_to_the_registry(self) -> None:
        """Let no machine copy from another one: tests time what the registry gives.

        All else is as nobody changed it (``PullSettings``).
        """
        row = {
            "id": 1,
            "neighbours": 0,
            "cache": 0,
            "cache_limit_bytes": 200 * 2**30,
            "keep_free_bytes": 10 * 2**30,
            "speed_windows": "[]",
            "zone": "",
            "unused": "propose",
            "unused_after_days": 30,
            "check_updates": 1,
            "tries": 5,
        }
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        insert = f"INSERT INTO labdash_pullsettings ({names}) VALUES ({marks})"  # noqa: S608 - ours
        path = self.folder / "labdash.sqlite3"
        with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as database:
            database.execute(insert, tuple(row.values()))
            database.commit()

    def simulation(self) -> dict[str, Any]:
        """Return what the simulated lab tells of itself."""
        described: dict[str, Any] = json.loads((self.folder / "run" / "simlab.json").read_text())
        return described

    def ollama_url(self, slug: str) -> str:
        """Return the address of the first Ollama server of a simulated machine."""
        machines = {each["slug"]: each for each in self.simulation()["machines"]}
        return str(machines[slug]["ollama_urls"][0])

    def order(self, path: str, **body: object) -> None:
        """Make something happen in the simulated lab."""
        order(f"{self.simulation()['control_url']}{path}", body)

    def given_bytes(self) -> int:
        """Return how many bytes of models the simulated registry ever gave away."""
        url = f"{self.simulation()['control_url']}/registry"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - loopback
            return int(json.load(answer)["given_bytes"])

    def signal(self, name: str, number: signal.Signals) -> None:
        """Freeze a process of the hub, let it go on, or kill it."""
        pids = [pid for pid, log in processes_of(self.folder).items() if log == name]
        assert len(pids) == 1
        os.kill(pids[0], number)

    def wait_until_live(self, page: Page, nodes: int) -> None:
        """Wait on the overview until so many nodes are live."""
        page.goto(f"{self.url}/")
        assert eventually(lambda: page.locator(".age", has_text="live").count() == nodes)


def sign_in(page: Page, lab: LiveLab) -> None:
    """Come in by the door."""
    name, password = lab.account()
    page.goto(f"{lab.url}/sign-in/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{lab.url}/")


def violations(page: Page) -> list[str]:
    """Return what axe finds on a page; the page's own policy forbids a script tag for it."""
    page.evaluate(AXE.read_text())
    # What is in order is not described: it is most, and would be thrown away.
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
