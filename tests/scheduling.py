"""A pytest plugin for several workers: some tests stay together on one of them.

Those share a running lab, or look at all processes of this machine. Marks with ``xdist_group``
would say the same, but pytest-xdist 3.8 does not see its groups under pytest 9.2, which derives the
name of a test anew. (``-p tests.scheduling``)
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = (
    "tests/e2e/",
    "tests/deploy/test_up.py",
    "tests/deploy/test_demo.py",
    "tests/workers/test_faults.py",
    "tests/workers/test_faults_servers.py",
)


# These start programs that are called as Ollama's are, or look for such.
OF_PROCESSES = (
    "tests/workers/engines/test_place.py",
    "tests/workers/engines/test_server_log.py",
    "tests/workers/gpus/test_runners.py",
)


def scope_of(nodeid: str) -> str:
    """Name what a test is handed out with: its place of those above, or itself alone."""
    if nodeid.startswith(OF_PROCESSES):
        return "processes"
    return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Take the place of pytest-xdist's own."""
    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = scope_of
    return scheduler
