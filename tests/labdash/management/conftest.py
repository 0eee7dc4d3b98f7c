"""Commands as a shell runs them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labdash.env import ROOT
from labdash.runner.folder import hold

type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def manage(tmp_path: Path) -> Run:
    """Return ``manage.py`` for a data folder of its own, with a store that does not answer."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**kept, "LABDASH_DATA_DIR": str(tmp_path / "var"), **environment},
        )

    return run


@pytest.fixture
def demo_runs(tmp_path: Path) -> Iterator[None]:
    """Hold the demo's folder as the runner does while the demo runs."""
    with hold(tmp_path / "var" / "demo", demo=True):
        yield
