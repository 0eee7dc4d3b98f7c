"""Copies of the project, and small programs that stand in for others on PATH."""

import os
import shutil
import sys
from pathlib import Path

from labdash.env import ROOT

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".uv", "var", "__pycache__", ".*_cache")
# The interpreter itself, also where the tests run in a virtual environment.
BASE_PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def copy_project(folder: Path) -> Path:
    """Copy everything that a checkout holds."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return folder


def copy_scripts(folder: Path) -> Path:
    """Copy what ``deploy/setup`` touches: enough to set up, and quick to copy."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=NOT_COPIED)
    for package in ("labdash", "workers"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    return folder


def write_program(path: Path, text: str) -> Path:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def bare_environment(home: Path, programs: Path) -> dict[str, str]:
    """Return an environment with nothing of ours: a home, and ``programs`` first on PATH."""
    # The ways to the network, and to the library of an interpreter that lies in no usual place.
    kept = (
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "HTTPS_PROXY", "https_proxy"),
        "LD_LIBRARY_PATH",
    )
    needed = {name: os.environ[name] for name in kept if name in os.environ}
    return {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin", **needed}
