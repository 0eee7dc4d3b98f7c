"""A pytest plugin for several workers: some tests stay together on one of them.

Those share what takes seconds to start, or look at all processes of this machine. Marks with
``xdist_group`` would say the same, but pytest-xdist 3.8 does not see its groups under pytest 9.2,
which derives the name of a test anew. (``-p tests.scheduling``)
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Each of these files makes for all its tests what takes seconds: a lab, a hub, what it read.
TOGETHER = (
    "tests/benchmarks/accuracy/test_measured.py",
    "tests/deploy/test_join.py",
    "tests/deploy/test_up.py",
    "tests/e2e/test_night.py",
    "tests/labdash/planner/memory/test_oracle.py",
    "tests/labdash/planner/test_real_labs.py",
    "tests/test_architecture.py",
    "tests/workers/simlab/test_control.py",
    "tests/workers/simlab/test_server_faults.py",
    "tests/workers/test_faults.py",
    "tests/workers/test_faults_servers.py",
    "tests/workers/test_simulated_lab.py",
)
# These files share one thing. The first two are halves of what needs the running demo, which is
# worth starting twice: no worker should be busy with it when the others have nothing left to do.
GROUPS = {
    "demo looked at": (
        "tests/e2e/test_admin_seen.py",
        "tests/e2e/test_demo.py",
        "tests/e2e/test_fit.py",
        "tests/e2e/test_history_seen.py",
        "tests/e2e/test_load.py",
        "tests/e2e/test_pages_seen.py",
        "tests/e2e/test_planner.py",
        "tests/e2e/test_try.py",
    ),
    "demo at work": (
        "tests/e2e/test_faults_processes.py",
        "tests/e2e/test_faults_storage.py",
        "tests/e2e/test_polling.py",
        "tests/e2e/test_pull_watched.py",
    ),
    # These start programs that are called as Ollama's are, or look for such.
    "processes": (
        "tests/workers/engines/test_place.py",
        "tests/workers/engines/test_server_log.py",
        "tests/workers/gpus/test_runners.py",
    ),
}
SCOPES = {file: file for file in TOGETHER} | {
    file: name for name, files in GROUPS.items() for file in files
}


def scope_of(nodeid: str) -> str:
    """Name what a test is handed out with: its place of those above, or itself alone."""
    return SCOPES.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Take the place of pytest-xdist's own."""
    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = scope_of
    return scheduler
