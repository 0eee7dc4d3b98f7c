"""An owner without a browser: asks for pulls, reads pages, and looks into what the hub stored."""

import json
import re
import sqlite3
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.deploy.running import Visitor
from tests.e2e.live_lab import TIMEOUT_S, LiveLab
from tests.processes import eventually

ENDED = {"installed", "failed", "cancelled"}


@dataclass
class Owner:
    """Somebody who signed in to a running lab."""

    lab: LiveLab
    visitor: Visitor

    @classmethod
    def of(cls, lab: LiveLab) -> "Owner":
        """Sign in."""
        visitor = Visitor(lab.running.port)
        name, password = lab.account()
        visitor.post("/sign-in/", username=name, password=password)
        return cls(lab, visitor)

    def page(self, path: str = "/") -> str:
        """Return a page."""
        status, text = self.visitor.get(path)
        assert status == 200, (status, text)
        return text

    def shows(self, text: str, path: str = "/") -> bool:
        """Tell whether a page says something now."""
        return text in self.page(path)

    def sees_all_live(self, nodes: int = 5) -> bool:
        """Tell whether every card of the overview is of a node that reports."""
        page = self.page()
        return page.count("<article") == nodes and not {"silent", "never", "late"} & set(
            re.findall(r'class="age">(\w+)', page)
        )

    def pull(self, node: str, model: str) -> int:
        """Ask for a pull on the pulls page and return its job."""
        instance = self.ask(
            "SELECT i.id FROM labdash_instance i JOIN labdash_node n ON n.id = i.node_id"
            " WHERE n.slug = ?",
            node,
        )[0][0]
        self.visitor.post("/pulls/", to="/pulls/new/", model=model, instances=str(instance))
        return int(self.ask("SELECT max(id) FROM labdash_pulljob")[0][0])

    def job(self, job: int) -> dict[str, Any]:
        """Return what is stored of a job."""
        question = "SELECT state, done_bytes, attempt, reason FROM labdash_pulljob WHERE id = ?"
        row = self.ask(question, job)[0]
        return dict(zip(("state", "done_bytes", "attempt", "reason"), row, strict=True))

    def wait_for_bytes(self, job: int) -> None:
        """Wait until a pull is under way."""
        assert eventually(lambda: bool(self.job(job)["done_bytes"])), self.job(job)

    def wait_for_end(self, job: int) -> dict[str, Any]:
        """Wait until a job has ended, and return it."""
        assert eventually(lambda: self.job(job)["state"] in ENDED), self.job(job)
        return self.job(job)

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the hub's own database, as it is on disk."""
        path = f"file:{self.lab.folder / 'labdash.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as database:
            return database.execute(question, values).fetchall()

    def installed(self, node: str) -> list[str]:
        """Return what the Ollama server of a node has."""
        with urllib.request.urlopen(  # noqa: S310 - loopback
            f"{self.lab.ollama_url(node)}/api/tags", timeout=TIMEOUT_S
        ) as answer:
            return [model["name"] for model in json.load(answer)["models"]]

    def delete(self, node: str, model: str) -> None:
        """Delete a model past LabDash, and wait until that is known."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.lab.ollama_url(node)}/api/delete",
            data=json.dumps({"model": model}).encode(),
            method="DELETE",
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 - as above
            pass
        self.visitor.post("/nodes/", to=f"/nodes/{node}/refresh/")
        known = "SELECT 1 FROM labdash_installedmodel m JOIN labdash_instance i"
        known += " ON i.id = m.instance_id JOIN labdash_node n ON n.id = i.node_id"
        known += " WHERE n.slug = ? AND m.name = ?"
        assert eventually(lambda: not self.ask(known, node, model))
