"""``deploy/up`` for real: every process, on a data folder of its own."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.running import Running, Visitor, run_up
from tests.processes import eventually, free_port, processes_of

pytestmark = pytest.mark.e2e
PASSWORD = "a long enough pass phrase"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("real") / "my lab"
    up = Running.start(folder)
    try:
        up.wait()
        yield up
    finally:
        assert up.end() == 0, up.said()
    assert processes_of(folder) == {}


@pytest.fixture
def folder(running: Running) -> Path:
    return running.output.parent / "my lab"


def test_it_says_where_to_go_and_gives_a_setup_code(running: Running) -> None:
    said = running.said()
    assert f"  http://localhost:{running.port}\n" in said
    assert re.search(r"setup code: [A-Z2-7]{4}(-[A-Z2-7]{4}){3}\n", said)
    assert Visitor(running.port).get("/healthz") == (200, "ok")


def test_each_part_is_a_process_of_its_own(running: Running, folder: Path) -> None:
    parts = {"store", "web", "hub-worker", "scheduler", "node-worker-@hub"}
    assert eventually(lambda: parts < set(processes_of(folder).values()))
    assert len(set(processes_of(folder).values()) - parts) == 1
    assert (folder / "secret-key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_one_for_the_same_folder_is_one_line(running: Running, folder: Path) -> None:
    ended = run_up(folder, "--port", str(free_port()))
    assert ended.returncode == 3
    pid = running.process.pid
    assert ended.stderr == f"labdash: LabDash already runs for {folder} (process {pid})\n"


def test_a_port_in_use_is_one_line(running: Running, tmp_path: Path) -> None:
    ended = run_up(tmp_path / "other", "--port", str(running.port))
    assert ended.returncode == 3
    assert ended.stderr == (
        f"labdash: port {running.port} is in use by another program: choose one with --port\n"
    )


def test_the_demo_refuses_the_folder_of_a_real_lab(running: Running, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "labdash.sqlite3").touch()
    ended = run_up(tmp_path, "--demo", "--port", str(free_port()))
    assert ended.returncode == 2
    assert "holds a real lab" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_web_page_comes_back_when_it_is_killed(running: Running, folder: Path) -> None:
    web = [pid for pid, log in processes_of(folder).items() if log == "web"]
    os.kill(min(web), signal.SIGKILL)
    assert eventually(lambda: "web ended (SIGKILL); starting again in 1 s" in running.said())
    assert Visitor(running.port).get("/healthz") == (200, "ok")


def test_the_owner_sets_up_and_finds_a_way_back_in(running: Running, folder: Path) -> None:
    visitor = Visitor(running.port)
    assert visitor.get("/")[0] == 302
    code = running.said().partition("setup code: ")[2].split()[0]
    assert visitor.post("/set-up/", code=code, username="jo", password=PASSWORD) == (302, "/")
    assert visitor.get("/")[0] == 200
    ended = run_up(folder, "--reset-owner", "--port", str(running.port))
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second = ended.stdout.splitlines()
    assert "a new password for jo" in second
    reset_code = first.removeprefix("One-time code: ")
    assert second.endswith(f"at http://localhost:{running.port}/reset/")
    stranger = Visitor(running.port)
    assert stranger.post("/reset/", code=reset_code, password=f"{PASSWORD}!")[0] == 302
    other = Visitor(running.port)
    assert other.post("/sign-in/", username="jo", password=f"{PASSWORD}!") == (302, "/")


def test_the_page_is_served_on_every_address(running: Running) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            client.settimeout(10)
            client.connect((address, running.port))


def test_killing_the_runner_leaves_nothing_behind(tmp_path: Path) -> None:
    up = Running.start(tmp_path / "lab")
    up.wait()
    up.process.kill()
    up.process.wait()
    assert eventually(lambda: processes_of(tmp_path / "lab") == {})
    again = Running.start(tmp_path / "lab")
    again.wait()
    assert again.end(signal.SIGTERM) == 0
    assert processes_of(tmp_path / "lab") == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REDIS_URL", "store.lan", "REDIS_URL: write redis://"),
        ("LABDASH_SECRET_KEY", "short", "LABDASH_SECRET_KEY: write at least 32 characters"),
        ("LABDASH_NODE", "My Node", "LABDASH_NODE=My Node: write small letters"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, name: str, value: str, said: str) -> None:
    ended = run_up(tmp_path / "lab", "--port", str(free_port()), **{name: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"labdash: {said}"), ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "postgresql://127.0.0.1:1/labdash", "the database does not answer"),
        (
            "REDIS_URL",
            "redis://:s3cret@127.0.0.1:1/0",
            "the store that REDIS_URL names does not serve us",
        ),
    ],
)
def test_what_is_away_is_one_line_and_may_be_tried_again(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    ended = run_up(tmp_path / "lab", "--port", str(free_port()), **{name: value})
    assert ended.returncode == 3
    assert ended.stderr.startswith(f"labdash: {said}"), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "s3cret" not in ended.stderr


def test_a_reset_where_nothing_runs_is_one_line(tmp_path: Path) -> None:
    ended = run_up(tmp_path / "none", "--reset-owner")
    assert ended.returncode == 3
    assert ended.stderr.endswith("holds no LabDash: start it first, with deploy/up\n")
