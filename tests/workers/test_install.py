"""A node installs and runs without the hub's packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".uv/venv/bin"))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(UV is None, reason="uv is neither on PATH nor in .uv/"),
]


def run(*command: str, **environment: str) -> str:
    """Run a command and return what it wrote; fails with all of it."""
    done = subprocess.run(  # noqa: S603 - uv and the Python that it made
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Python of an environment that holds what the node's lock file names."""
    folder = tmp_path_factory.mktemp("node") / "venv"
    python = str(folder / "bin/python")
    run(str(UV), "venv", "-q", "--python", sys.executable, str(folder))
    lock = ["--require-hashes", "-r", "deploy/node.lock"]
    run(str(UV), "pip", "install", "-q", "--python", python, *lock)
    return python


def test_the_node_worker_starts_from_its_own_lock_file(python: str) -> None:
    assert "labdash-node" in run(python, "-m", "workers", "--help")


def test_every_module_of_the_node_side_loads_without_django(python: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "workers").rglob("*.py")
        if "simlab" not in path.parts and path.name not in {"__init__.py", "__main__.py"}
    ]
    code = f"import {', '.join(names)}, sys; print('django' in sys.modules)"

    assert "workers.app" in names
    assert run(python, "-c", code).strip() == "False"
    absent = "import importlib.util as u; print(u.find_spec('django'), u.find_spec('labdash'))"
    assert run(python, "-I", "-c", absent).strip() == "None None"
