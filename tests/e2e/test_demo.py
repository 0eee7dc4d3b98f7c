"""``deploy/up --demo``: five simulated machines, served by real node workers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labdash.env import ROOT
from tests.deploy.running import Visitor, environment, run_up
from tests.e2e.live_lab import LiveLab
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.e2e
GPUS = {
    "rog": ["NVIDIA GeForce RTX 3090"] * 2,
    "tower": ["NVIDIA GeForce RTX 4070"],
    "oldie": ["Tesla P40"] * 2,
    "minibox": [],
    "studio": ["Apple M2 Max"],
}


def live_gpus(folder: Path) -> dict[str, list[str]]:
    """Return the names of the GPUs of the nodes that are live."""
    told = subprocess.run(  # noqa: S603 - our own manage.py
        [sys.executable, str(ROOT / "manage.py"), "status", "--demo", "--json"],
        env=environment(folder.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    nodes: list[dict[str, Any]] = json.loads(told.stdout)["nodes"]
    live = [node for node in nodes if node["state"] == "live"]
    return {node["slug"]: [gpu["name"] for gpu in node["gpus"]] for node in live}


def test_five_nodes_come_alive_with_their_gpus(lab: LiveLab) -> None:
    assert eventually(lambda: live_gpus(lab.folder) == GPUS), lab.running.said()
    workers = {log for log in processes_of(lab.folder).values() if log.startswith("node-")}
    assert workers == {f"node-worker-{slug}" for slug in (*GPUS, "@hub")}


def test_the_printed_account_signs_in_and_pages_say_simulated(lab: LiveLab) -> None:
    name, password = lab.account()
    visitor = Visitor(lab.running.port)
    assert "imulated" in visitor.get("/sign-in/")[1]
    assert visitor.post("/sign-in/", username=name, password=password) == (302, "/")
    for path in ("/", "/nodes/", "/nodes/rog/", "/models/", "/pulls/"):
        code, page = visitor.get(path)
        assert code == 200
        assert "imulated" in page


def test_a_real_lab_refuses_the_folder_of_the_demo(lab: LiveLab) -> None:
    ended = run_up(lab.folder, "--port", "1")
    assert ended.returncode == 2
    assert "holds the demo" in ended.stderr
