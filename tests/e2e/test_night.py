"""Nights of a lab, lived through in minutes: its clock is moved, all its processes are real."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.deploy.running import Running
from tests.e2e.live_lab import MIB, TIMEOUT_S, LiveLab
from tests.e2e.owner import Owner
from tests.moved_clock import MovedClock
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.e2e

MODEL = "gemma3:4b-it-q8_0"
# The one to which the model comes slowly is still at it when the window closes.
SLOW, OTHERS = "rog", ("oldie", "tower")
NODES = (*OTHERS, SLOW)
SLOW_MIB_PER_S, REGISTRY_MIB_PER_S = 40, 600
# Manifests and configs are asked for by each, and what was broken off is fetched again in part.
ONE_DOWNLOAD = 1.05
HOUR = timedelta(hours=1)
JOBS = """SELECT n.slug, j.state, j.done_bytes, j.source, j.lost_bytes, j.reason, j.source_reason
 FROM labdash_pulljob j JOIN labdash_instance i ON i.id = j.instance_id
 JOIN labdash_node n ON n.id = i.node_id WHERE j.model = ? ORDER BY j.id"""

TAGS = "SELECT name, state, checked_at, next_at, error, behind FROM labdash_upstreamtag"


@dataclass
class Job:
    """What the hub stored of a pull."""

    node: str
    state: str
    done_bytes: int | None
    source: str
    lost_bytes: int
    reason: str
    source_reason: str


@dataclass
class Night:
    """A lab with a clock to move, and its owner."""

    lab: LiveLab
    owner: Owner
    clock: MovedClock
    first: datetime
    seen: dict[str, Any] = field(default_factory=dict)

    def move_to(self, *, night: int = 0, hour: float) -> None:
        """Let it be another time, and wait until all nodes were heard at that time."""
        self.clock.move_to(self.first + timedelta(days=night) + hour * HOUR)
        assert eventually(self.owner.sees_all_live)

    def jobs(self) -> dict[str, Job]:
        """Return the newest pull of each node."""
        return {row[0]: Job(*row) for row in self.owner.ask(JOBS, MODEL)}

    def wait_for(self, state: str, *nodes: str) -> dict[str, Job]:
        """Wait until the newest pulls of some nodes are in a state."""
        assert eventually(lambda: {self.jobs()[node].state for node in nodes} == {state}), (
            self.jobs()
        )
        return self.jobs()

    def digest(self, node: str, model: str = MODEL) -> str:
        """Ask a node's Ollama server for the digest of a model."""
        url = f"{self.lab.ollama_url(node)}/api/tags"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - loopback
            models = {each["name"]: each["digest"] for each in json.load(answer)["models"]}
        return str(models.get(model, ""))

    def press(self, path: str) -> None:
        """Press a button of the pages on pulls."""
        status, _ = self.owner.visitor.post("/pulls/updates/", to=path)
        assert status < 400, (path, status)

    def limit(self, node: str, mib_per_s: str) -> None:
        """Limit what pulls to a node may take."""
        key = self.owner.ask("SELECT id FROM labdash_node WHERE slug = ?", node)[0][0]
        status, page = self.owner.visitor.post(
            "/pulls/settings/",
            tries="5",
            neighbours="on",
            check_updates="on",
            cache_limit="200",
            keep_free="10",
            unused="never",
            unused_after_days="30",
            **{f"node-{key}-speed": mib_per_s},
        )
        assert status < 400, page


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Start the demo two minutes before the schedule is due."""
    folder = tmp_path_factory.mktemp("night")
    clock = MovedClock.make(folder)
    # Not before today: files that were just written would come from the future.
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
    clock.move_to(first + 1.9 * HOUR)
    running = Running.start(folder / "var", "--demo", "--host", "127.0.0.1", **clock.environment)
    try:
        running.wait()
        lab = LiveLab(running, folder / "var" / "demo")
        owner = Owner.of(lab)
        assert eventually(owner.sees_all_live)
        lab.order("/registry/speed", bytes_per_s=REGISTRY_MIB_PER_S * MIB)
        yield Night(lab, owner, clock, first)
    finally:
        running.end()


@pytest.fixture(scope="module")
def first_night(night: Night) -> dict[str, Job]:
    """Let a schedule begin at two and its window close at six."""
    night.limit(SLOW, str(SLOW_MIB_PER_S))
    status, page = night.owner.visitor.post(
        "/pulls/schedules/new/",
        name="nightly",
        what="models",
        models=MODEL,
        nodes=list(NODES),
        at="02:00",
        until="06:00",
        zone="UTC",
        updates="never",
        priority="5",
    )
    assert status < 400, page
    night.seen["given"] = night.lab.given_bytes()
    night.move_to(hour=2)
    assert eventually(lambda: bool(night.jobs()))
    night.wait_for("installed", *OTHERS)
    assert eventually(lambda: bool(night.jobs()[SLOW].done_bytes)), night.jobs()
    night.move_to(hour=6)
    return night.wait_for("paused", SLOW)


@pytest.fixture(scope="module")
def second_night(night: Night, first_night: dict[str, Job]) -> dict[str, Job]:
    """Restart the server of what is paused, and let the next window open."""
    night.lab.order(f"/machines/{SLOW}/ollama/0/stop")
    night.lab.order(f"/machines/{SLOW}/ollama/0/start")
    night.limit(SLOW, "")
    night.seen["before night"] = night.jobs()[SLOW].done_bytes
    night.move_to(night=1, hour=2)
    return night.wait_for("installed", *NODES)


def test_nothing_begins_before_the_window(night: Night, first_night: dict[str, Job]) -> None:
    question = "SELECT min(sent_at) FROM labdash_pulljob WHERE model = ?"
    sent_at = datetime.fromisoformat(night.owner.ask(question, MODEL)[0][0])
    assert sent_at.replace(tzinfo=UTC) >= night.first + 2 * HOUR - timedelta(seconds=2)


def test_one_machine_downloads_and_the_others_copy(first_night: dict[str, Job]) -> None:
    assert sorted(job.source for job in first_night.values()) == [
        "internet",
        "neighbour",
        "neighbour",
    ]


def test_what_is_not_done_at_six_pauses(
    night: Night, first_night: dict[str, Job], second_night: dict[str, Job]
) -> None:
    assert first_night[SLOW].state == "paused"
    assert night.seen["before night"] < second_night[SLOW].done_bytes


def test_it_is_finished_the_next_night(second_night: dict[str, Job], night: Night) -> None:
    assert second_night[SLOW].state == "installed"
    assert len({night.digest(node) for node in NODES}) == 1


def test_what_ollama_deleted_when_it_started_is_counted(second_night: dict[str, Job]) -> None:
    assert second_night[SLOW].lost_bytes > 0
    assert not any(second_night[node].lost_bytes for node in OTHERS)


def test_all_of_them_cost_one_download(night: Night, second_night: dict[str, Job]) -> None:
    size = max(job.done_bytes or 0 for job in second_night.values())
    assert night.lab.given_bytes() - night.seen["given"] <= ONE_DOWNLOAD * size


# --- a newer version ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def updated(night: Night, second_night: dict[str, Job]) -> dict[str, str]:
    """Publish a new version, and take it on two machines; return the digests before."""
    old = {node: night.digest(node) for node in NODES}
    night.lab.order("/registry/publish", model=MODEL, change="weights")
    # A day later, so that names are asked for again.
    night.move_to(night=2, hour=12)
    night.press("/pulls/updates/look/")
    assert eventually(lambda: MODEL in _outdated(night)), night.owner.ask(TAGS)
    night.seen["given"] = night.lab.given_bytes()
    for node in OTHERS:
        night.press(f"/pulls/updates/begin/?copy={_installed(night, node)}")
    assert eventually(lambda: all(night.digest(node) != old[node] for node in OTHERS)), night.jobs()
    return old


def _outdated(night: Night) -> str:
    page = night.owner.page("/pulls/updates/")
    return page.partition('id="old"')[2].partition('id="held"')[0]


def _installed(night: Night, node: str) -> int:
    question = "SELECT m.id FROM labdash_installedmodel m JOIN labdash_instance i"
    question += " ON i.id = m.instance_id JOIN labdash_node n ON n.id = i.node_id"
    return int(night.owner.ask(f"{question} WHERE n.slug = ? AND m.name = ?", node, MODEL)[0][0])


def test_outdated_tag_is_updated_on_two_machines_from_each_other(
    night: Night, updated: dict[str, str]
) -> None:
    jobs = night.wait_for("installed", *OTHERS)
    assert sorted(jobs[node].source for node in OTHERS) == ["internet", "neighbour"]
    size = max(jobs[node].done_bytes or 0 for node in OTHERS)
    assert night.lab.given_bytes() - night.seen["given"] <= ONE_DOWNLOAD * size


def test_version_before_comes_back_on_one_of_them(night: Night, updated: dict[str, str]) -> None:
    question = "SELECT u.id FROM labdash_update u JOIN labdash_instance i ON i.id = u.instance_id"
    question += " JOIN labdash_node n ON n.id = i.node_id WHERE n.slug = 'tower' AND u.state = ?"
    assert eventually(lambda: bool(night.owner.ask(question, "trying")))
    night.press(f"/pulls/updates/{night.owner.ask(question, 'trying')[0][0]}/back/")
    assert eventually(lambda: night.digest("tower") == updated["tower"])
    assert night.digest("oldie") != updated["oldie"]


# --- what goes wrong ------------------------------------------------------------------------------


def test_damaged_file_of_a_neighbour_is_caught_and_fetched_elsewhere(
    night: Night, updated: dict[str, str]
) -> None:
    new = night.digest("oldie")
    night.lab.order("/machines/oldie/ollama/0/rot", model=MODEL)
    night.press(f"/pulls/updates/begin/?copy={_installed(night, SLOW)}")
    assert eventually(lambda: night.digest(SLOW) == new), night.jobs()
    assert night.wait_for("installed", SLOW)[SLOW].source == "internet"


def test_full_disk_is_refused_before_the_first_byte(night: Night) -> None:
    night.lab.order("/machines/minibox/disk", free_bytes=2048 * MIB)
    free = "SELECT shelf FROM labdash_instance"
    assert night.owner.ask(free)
    before = night.lab.given_bytes()
    assert eventually(lambda: "2.0 GiB" in night.owner.page("/pulls/storage/"))
    count = len(night.owner.ask(JOBS, MODEL))
    night.owner.pull("minibox", MODEL)
    assert len(night.owner.ask(JOBS, MODEL)) == count
    assert night.lab.given_bytes() == before


@pytest.mark.long
def test_each_part_dies_in_turn_and_the_right_files_arrive(
    night: Night, updated: dict[str, str]
) -> None:
    night.limit("studio", str(SLOW_MIB_PER_S))
    new = night.digest(SLOW)
    job = night.owner.pull("studio", MODEL)
    for name in ("hub-worker", "store", "node-worker-studio", "node-worker-rog"):
        _wait_for_more(night, job)
        night.lab.signal(name, signal.SIGKILL)
        assert eventually(partial(_runs, night, name))
    night.lab.order("/registry/stop")
    night.limit("studio", "")
    assert eventually(lambda: night.owner.job(job)["state"] == "installed"), night.jobs()
    assert night.digest("studio") == new


def _wait_for_more(night: Night, job: int) -> None:
    done = night.owner.job(job)["done_bytes"] or 0
    assert eventually(lambda: (night.owner.job(job)["done_bytes"] or 0) > done), night.jobs()


def _runs(night: Night, name: str) -> bool:
    return name in processes_of(night.lab.folder).values()
