"""Each process of a lab dies in the middle of a pull; see deploy/docs/faults.md."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_lab import MIB, LiveLab
from tests.e2e.owner import Owner
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.e2e

MODEL = "qwen2.5:0.5b"
SPEED = 120 * MIB
# Which pull is under way when a process goes, and how.
DEATHS = {
    "rog": ("web", signal.SIGKILL),
    "oldie": ("hub-worker", signal.SIGKILL),
    "minibox": ("scheduler", signal.SIGKILL),
    "tower": ("node-worker-tower", signal.SIGKILL),
    "studio": ("node-worker-studio", signal.SIGTERM),
}
# What a broken-off transfer had under way is fetched again.
FETCHED_AGAIN = 1.1


@pytest.fixture(scope="module")
def owner(lab: LiveLab) -> Owner:
    return Owner.of(lab)


@pytest.fixture(scope="module")
def outcome(lab: LiveLab, owner: Owner) -> Iterator[dict[str, Any]]:
    """Let all of them die, one after the other, each in a pull of its own."""
    assert eventually(owner.sees_all_live)
    lab.order("/registry/speed", bytes_per_s=SPEED)
    before = lab.given_bytes()
    jobs = {node: owner.pull(node, MODEL) for node in DEATHS}
    for job in jobs.values():
        owner.wait_for_bytes(job)
    for name, number in DEATHS.values():
        lab.signal(name, number)
    ends = {node: owner.wait_for_end(job) for node, job in jobs.items()}
    assert eventually(lambda: _running(lab) >= {name for name, _ in DEATHS.values()})
    yield {"ends": ends, "given_bytes": lab.given_bytes() - before}
    for node in DEATHS:
        owner.delete(node, MODEL)


def _running(lab: LiveLab) -> set[str]:
    return set(processes_of(lab.folder).values())


@pytest.mark.parametrize("node", DEATHS)
def test_pull_during_which_a_process_dies_ends_installed(
    outcome: dict[str, Any], owner: Owner, node: str
) -> None:
    assert outcome["ends"][node]["state"] == "installed", outcome["ends"][node]
    assert MODEL in owner.installed(node)


def test_no_bytes_are_fetched_twice(outcome: dict[str, Any], owner: Owner) -> None:
    size = max(end["done_bytes"] for end in outcome["ends"].values())
    assert outcome["given_bytes"] <= FETCHED_AGAIN * size * len(DEATHS)


def test_each_pull_stays_one_job(outcome: dict[str, Any], owner: Owner) -> None:
    count = "SELECT count(*) FROM labdash_pulljob WHERE model = ?"
    assert owner.ask(count, MODEL)[0][0] == len(outcome["ends"])


def test_deaths_are_told_where_the_lab_was_started(outcome: dict[str, Any], lab: LiveLab) -> None:
    told = {f"{name.replace('-', ' ')} ended (" for name, _ in DEATHS.values()}
    # Who was asked to end takes the time that it needs.
    assert eventually(lambda: all(each in lab.running.said() for each in told)), lab.running.said()
