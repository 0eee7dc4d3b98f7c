"""``deploy/up --demo``: five simulated machines, served by real node workers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labdash.env import ROOT
from tests.deploy.running import Running, Visitor, environment, run_up
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.e2e
NODES = {"minibox", "oldie", "rog", "studio", "tower"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("simulated") / "var"
    up = Running.start(folder, "--demo")
    try:
        up.wait()
        yield up
    finally:
        assert up.end() == 0, up.said()
    assert processes_of(folder / "demo") == {}
    assert not (folder / "labdash.sqlite3").exists()


@pytest.fixture
def folder(demo: Running) -> Path:
    return demo.output.parent / "var"


def status(folder: Path) -> dict[str, Any]:
    told = subprocess.run(  # noqa: S603 - our own manage.py
        [sys.executable, str(ROOT / "manage.py"), "status", "--demo", "--json"],
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def live(folder: Path) -> set[str]:
    return {node["slug"] for node in status(folder)["nodes"] if node["state"] == "live"}


def gpu_names(folder: Path) -> dict[str, list[str]]:
    nodes = status(folder)["nodes"]
    return {node["slug"]: [gpu["name"] for gpu in node["gpus"]] for node in nodes}


def test_five_nodes_come_alive_with_their_gpus(demo: Running, folder: Path) -> None:
    assert eventually(lambda: live(folder) == NODES), demo.said()
    gpus = {
        "rog": ["NVIDIA GeForce RTX 3090"] * 2,
        "tower": ["NVIDIA GeForce RTX 4070"],
        "oldie": ["Tesla P40"] * 2,
        "minibox": [],
        "studio": ["Apple M2 Max"],
    }
    assert eventually(lambda: gpu_names(folder) == gpus), gpu_names(folder)
    workers = {log for log in processes_of(folder / "demo").values() if log.startswith("node-")}
    assert workers == {f"node-worker-{slug}" for slug in (*NODES, "@hub")}


def test_the_printed_account_signs_in_and_pages_say_simulated(demo: Running) -> None:
    words = demo.said().partition("Sign in as ")[2].split()
    visitor = Visitor(demo.port)
    assert "imulated" in visitor.get("/sign-in/")[1]
    assert visitor.post("/sign-in/", username=words[0], password=words[4]) == (302, "/")
    for path in ("/", "/nodes/", "/nodes/rog/", "/models/", "/pulls/"):
        code, page = visitor.get(path)
        assert code == 200
        assert "imulated" in page


def test_a_real_lab_refuses_the_folder_of_the_demo(demo: Running, folder: Path) -> None:
    ended = run_up(folder / "demo", "--port", "1")
    assert ended.returncode == 2
    assert "holds the demo" in ended.stderr
