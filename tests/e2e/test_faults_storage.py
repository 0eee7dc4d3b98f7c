"""The store or the database fails in the middle of a pull; see deploy/docs/faults.md."""

import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
import redis

from labdash.env import own_store_url
from tests.e2e.live_lab import MIB, LiveLab
from tests.e2e.owner import Owner
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.e2e

MODEL = "qwen2.5:0.5b"
NODE = "rog"
# As short as still outlives every time-out and the first pause after it.
SHORT_S = 8
STORE_SAYS = "The store does not answer"
DATABASE_SAYS = "The database takes nothing"
HUB_WORKER_SAYS = "The hub worker reads no reports"
WRITERS = ("web", "hub-worker", "scheduler")

type Fault = Callable[[LiveLab], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def owner(lab: LiveLab) -> Owner:
    owner = Owner.of(lab)
    assert eventually(owner.sees_all_live)
    return owner


@pytest.fixture
def job(lab: LiveLab, owner: Owner) -> Iterator[int]:
    """Begin a pull that takes some seconds more than a fault lasts."""
    lab.order("/registry/speed", bytes_per_s=30 * MIB)
    job = owner.pull(NODE, MODEL)
    owner.wait_for_bytes(job)
    yield job
    owner.delete(NODE, MODEL)


def end_of(lab: LiveLab, owner: Owner, job: int) -> str:
    """Let the pull come to its end soon, and return its state."""
    lab.order("/registry/speed", bytes_per_s=400 * MIB)
    return str(owner.wait_for_end(job)["state"])


def pid_of(lab: LiveLab, name: str) -> int:
    """Return the process that writes a log."""
    return next(pid for pid, log in processes_of(lab.folder).items() if log == name)


@contextmanager
def frozen_store(lab: LiveLab) -> Iterator[None]:
    """Let the store hang with all connections open."""
    lab.signal("store", signal.SIGSTOP)
    try:
        yield
    finally:
        lab.signal("store", signal.SIGCONT)


@contextmanager
def locked_database(lab: LiveLab) -> Iterator[None]:
    """Let another program write into the database without end."""
    with closing(sqlite3.connect(lab.folder / "labdash.sqlite3", timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.rollback()


@contextmanager
def full_disk(lab: LiveLab) -> Iterator[None]:
    """Let the hub's processes write nothing more into any file."""
    limits = {}
    for name in WRITERS:
        pid = pid_of(lab, name)
        limits[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[pid][1]))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@pytest.mark.parametrize("lasts_s", [SHORT_S, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("fault", "says"),
    [(frozen_store, STORE_SAYS), (locked_database, DATABASE_SAYS), (full_disk, DATABASE_SAYS)],
)
def test_pull_outlives_it_and_the_owner_is_told_why(
    lab: LiveLab, owner: Owner, job: int, fault: Fault, says: str, lasts_s: float
) -> None:
    with fault(lab):
        began = time.monotonic()
        assert eventually(lambda: owner.shows(says))
        page = owner.page()
        assert HUB_WORKER_SAYS not in page
        assert page.count("<article") == 5
        time.sleep(max(0, lasts_s - (time.monotonic() - began)))
    assert eventually(lambda: not owner.shows(says))
    assert end_of(lab, owner, job) == "installed"


@pytest.mark.parametrize("keeps", ["an old snapshot", "nothing"])
def test_pull_outlives_a_store_that_is_killed_and_remembers_little(
    lab: LiveLab, owner: Owner, job: int, keeps: str
) -> None:
    dead = pid_of(lab, "store")
    if keeps == "nothing":
        for snapshot in (lab.folder / "store").glob("*.rdb"):
            snapshot.unlink()
    lab.signal("store", signal.SIGKILL)
    assert eventually(lambda: "store" in processes_of(lab.folder).values())
    assert pid_of(lab, "store") != dead
    assert end_of(lab, owner, job) == "installed"
    assert eventually(owner.sees_all_live)


def test_node_that_writes_nonsense_without_end_harms_no_other(lab: LiveLab, owner: Owner) -> None:
    nonsense = [
        {"report": "{"},
        {"report": "[]"},
        {"no": "report"},
        {"report": '{"kind": "sample", "node": "tower", "protocol": 1}'},
        {"report": "x" * 100_000},
    ]
    with closing(redis.Redis.from_url(own_store_url(lab.folder))) as store:
        for _ in range(300):
            pipe = store.pipeline(transaction=False)
            for entry in nonsense:
                pipe.xadd("node:oldie:reports", entry)  # type: ignore[arg-type]  # bytes or str
            pipe.execute()
        in_the_year_5138 = "99999999999999-1"
        store.xadd("node:oldie:reports", {"report": "{"}, id=in_the_year_5138)
        assert eventually(lambda: not store.xlen("node:oldie:reports"))
    assert eventually(owner.sees_all_live)


def test_button_pressed_meanwhile_says_that_nothing_was_done(lab: LiveLab, owner: Owner) -> None:
    with full_disk(lab):
        status, page = owner.visitor.post("/nodes/", to="/nodes/rog/pause/")
        assert (status, "Nothing was done" in page) == (503, True)
    assert not owner.shows("rog is paused")
