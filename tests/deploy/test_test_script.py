"""``deploy/test``: what it runs, and its exit codes. The programs that it runs are stand-ins."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from labdash.env import ROOT
from tests.deploy.trees import write_program

PROGRAM = """
name=$(basename "$0")
case "$*" in
    *"-p tests.database_only"*) name="postgres ${DATABASE_URL%%@*}"
        echo "${DATABASE_URL##*host=}" >"$CALLS-cluster" ;;
    *browser.py) exit 0 ;;
    *"-m pytest"*) name="sqlite $*" ;;
    *makemigrations*) name=migrations ;;
esac
echo "$name" >>"$CALLS"
case "$name" in $FAILS*) exit "${CODE:-1}" ;; esac
"""


@dataclass(frozen=True)
class Tree:
    folder: Path

    def run(
        self, *arguments: str, fails: str = "nothing", code: int = 1
    ) -> "subprocess.CompletedProcess[str]":
        more = {"CALLS": str(self.folder / "calls"), "FAILS": fails, "CODE": str(code)}
        return subprocess.run(  # noqa: S603 - our own script
            [str(self.folder / "deploy" / "test"), *arguments],
            env={**os.environ, "DATABASE_URL": "postgresql://mine@db.lan/mine", **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "test", tmp_path / "deploy" / "test")
    write_program(tmp_path / "deploy" / "setup", "exit 0")
    for name in ("python", "ruff", "mypy", "lint-imports"):
        write_program(tmp_path / ".venv" / "bin" / name, PROGRAM)
    return Tree(tmp_path)


@pytest.mark.e2e
def test_all_is_run_and_twice_on_two_databases(tree: Tree) -> None:
    ended = tree.run()
    assert (ended.returncode, ended.stderr) == (0, "")
    sqlite = "sqlite -P -m pytest -n 4 -p tests.scheduling --durations=10 -m not long"
    postgres = "postgres postgresql://labdash"
    checks = ["ruff", "ruff", "lint-imports", "migrations"]
    calls = tree.calls()
    # It runs beside the others.
    calls.remove("mypy")
    assert calls == [*checks, sqlite, postgres]
    cluster = Path((tree.folder / "calls-cluster").read_text().strip())
    assert cluster.name.startswith("labdash-pg-")
    assert not cluster.exists()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("fails", "failed"),
    [("ruff", "ruff check,ruff format"), ("sqlite", "pytest on SQLite"), ("mypy", "mypy")],
)
def test_one_failure_fails_all_and_the_rest_still_runs(tree: Tree, fails: str, failed: str) -> None:
    ended = tree.run(fails=fails)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"Failed: {failed}"
    assert tree.calls()[-1] == "postgres postgresql://labdash"


@pytest.mark.e2e
def test_no_tests_at_all_is_a_failure(tree: Tree) -> None:
    assert tree.run(fails="sqlite", code=5).returncode == 1
    assert tree.run(fails="postgres", code=5).returncode == 1


@pytest.mark.e2e
def test_with_paths_only_those_are_tested_also_where_they_use_no_database(tree: Tree) -> None:
    (tree.folder / "tests").mkdir()
    ended = tree.run("--long", "tests", fails="postgres", code=5)
    assert ended.returncode == 0
    asked = (
        f"sqlite -P -m pytest -n 4 -p tests.scheduling --durations=10 -m  {tree.folder / 'tests'}"
    )
    assert tree.calls() == [asked, "postgres postgresql://labdash"]


def test_an_unknown_option_is_one_line(tree: Tree) -> None:
    ended = tree.run("--fast")
    assert ended.returncode == 2
    assert ended.stderr == "labdash: deploy/test knows --long and paths, not --fast\n"
