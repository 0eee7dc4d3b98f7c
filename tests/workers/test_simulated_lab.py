"""Real node workers against the whole simulated lab: what they report, and pulls with faults."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.workers.node_process import Hub, node_process, wait_for
from tests.workers.simlab.running import Running, running_lab
from tests.workers.stores import OwnStore, own_store
from workers.wire import (
    Inventory,
    Origin,
    PullProgress,
    Sample,
    ShareOrder,
    ShareProgress,
    TryEnd,
    TryLine,
    TryOrder,
    cancel_key,
    try_answer_key,
    try_line_adapter,
    try_prompt_key,
    try_wish_key,
    watched_key,
)

pytestmark = pytest.mark.e2e

GIB = 2**30
# 1.2 GiB, at home in the registry and not on rog.
MODEL = "llama3.2:1b"


class Lab:
    """The simulated lab with a node worker for some of its machines."""

    def __init__(self, simlab: Running, server: OwnStore, folder: Path, stack: ExitStack) -> None:
        self.simlab = simlab
        self.server = server
        self.hub = Hub(server)
        self.folder = folder
        self._stack = stack
        self.job_id = 0

    def start_node(self, slug: str) -> None:
        machine = self.simlab.machine(slug)
        environ = {
            "LABDASH_OLLAMA_URLS": ",".join(machine["ollama_urls"]),
            "LABDASH_HARDWARE": f"simulated:{machine['hardware_url']}",
        }
        self.server.client.set(watched_key(slug), 1)
        node = node_process(slug, store_url=self.server.url, folder=self.folder, **environ)
        self._stack.enter_context(node)

    def log(self, slug: str) -> str:
        """Return what a node's worker logged."""
        return (self.folder / f"{slug}.log").read_text()

    def control(self, path: str, **body: Any) -> None:
        url = f"{self.simlab.control_url}{path}"
        httpx.post(url, json=body, trust_env=False, timeout=10).raise_for_status()

    def sample(self, slug: str) -> Sample:
        """Return the newest sample of a node whose server has answered."""
        found: list[Sample] = []

        def has_one() -> bool:
            reports = self.server.reports(slug)
            found[:] = [r for r in reports if isinstance(r, Sample) and r.instances[0].version]
            return bool(found)

        wait_for(has_one)
        return found[-1]

    def inventory(self, slug: str) -> Inventory | None:
        reports = self.server.reports(slug)
        return next((r for r in reversed(reports) if isinstance(r, Inventory)), None)

    def pull(self, model: str = MODEL, *, speed: int = 4_000_000_000) -> int:
        """Order a pull on rog and return the job."""
        self.job_id += 1
        self.control("/registry/speed", bytes_per_s=speed)
        self.hub.pull(self.simlab.ollama_url("rog"), job_id=self.job_id, model=model)
        return self.job_id

    def said(self) -> list[PullProgress]:
        """Return what was told of the newest job."""
        return self.hub.said(self.job_id)

    def end(self) -> PullProgress:
        """Wait for the end of the newest job."""
        ends = {"installed", "failed", "cancelled"}
        wait_for(lambda: self.said() and self.said()[-1].phase in ends, 90)
        return self.said()[-1]

    def clean_up(self) -> None:
        """Put rog and the registry back to how they began, without leftovers of a pull."""
        self.control("/registry/faults", model=MODEL, fault=None)
        self.control("/registry/speed", bytes_per_s=4_000_000_000)
        self.control("/machines/rog/disk", free_bytes=700 * GIB)
        body = {"model": MODEL, "stream": False}
        # What lies there of an earlier download goes only with the model.
        for method, path in (("POST", "/api/pull"), ("DELETE", "/api/delete")):
            url = self.simlab.ollama_url("rog") + path
            answer = httpx.request(method, url, json=body, trust_env=False, timeout=60)
            answer.raise_for_status()


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("simulated")
    with (
        running_lab(folder / "lab", "--no-life") as simlab,
        own_store() as server,
        ExitStack() as stack,
    ):
        lab = Lab(simlab, server, folder, stack)
        lab.start_node("rog")
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    shared_lab.clean_up()
    return shared_lab


def test_a_model_is_asked_and_the_driver_says_where_it_answered(lab: Lab) -> None:
    lab.sample("rog")
    try_id = "ab" * 16
    lab.server.client.mset({try_wish_key("rog", try_id): 1, try_prompt_key("rog", try_id): "Why?"})
    order = TryOrder(
        node="rog", try_id=try_id, instance_url=lab.simlab.ollama_url("rog"), model="qwen3:8b"
    )
    lab.hub.order("rog", "workers.try_out", order.model_dump())

    def lines() -> list[TryLine]:
        text: Any = lab.server.client.get(try_answer_key("rog", try_id)) or ""
        return [try_line_adapter.validate_json(line) for line in text.splitlines()]

    wait_for(lambda: any(isinstance(line, TryEnd) for line in lines()))
    end = lines()[-1]
    assert isinstance(end, TryEnd)
    assert (end.outcome, end.was_loaded, end.answer_tokens) == ("answered", False, 64)
    assert end.place
    assert end.place.gpus
    (card,) = end.place.gpus
    assert card.used_bytes
    assert end.place.size_vram_bytes
    # A process holds more than the buffers that Ollama counts.
    assert end.place.size_vram_bytes < card.used_bytes < end.place.size_vram_bytes + GIB
    assert "Why?" not in lab.log("rog")


def test_a_node_reports_simulated_cards_disk_and_models(lab: Lab) -> None:
    sample = lab.sample("rog")
    wait_for(lambda: lab.inventory("rog"))
    inventory = lab.inventory("rog")

    assert [gpu.source for gpu in sample.gpus] == ["simulated"] * 2
    assert all(gpu.memory_total_bytes for gpu in sample.gpus)
    instance = sample.instances[0]
    assert (instance.state, instance.version, instance.home) == ("ok", "0.32.15", "process")
    assert instance.disk
    assert instance.disk.free_bytes > GIB
    wait_for(lambda: lab.sample("rog").instances[0].settings)
    assert inventory
    models = {model.name: model for model in inventory.models}
    assert models["qwen3:8b"].blob_digest
    assert models["qwen3:8b"].architecture == "qwen3"


def test_a_card_that_is_lost_comes_back(lab: Lab) -> None:
    states = [[gpu.state for gpu in lab.sample("rog").gpus]]
    lab.control("/machines/rog/gpus/1/lose")
    wait_for(lambda: lab.sample("rog").gpus[1].state == "lost")
    states.append([gpu.state for gpu in lab.sample("rog").gpus])
    lab.control("/machines/rog/gpus/1/restore")
    wait_for(lambda: lab.sample("rog").gpus[1].state == "ok")

    assert states == [["ok", "ok"], ["ok", "lost"]]


def test_a_pull_arrives_and_is_in_the_inventory(lab: Lab) -> None:
    lab.pull(speed=400_000_000)

    end = lab.end()
    said = lab.said()
    done = [report.done_bytes for report in said if report.done_bytes is not None]
    assert (end.phase, end.reason) == ("installed", None)
    assert end.total_bytes
    assert end.done_bytes == end.total_bytes > GIB
    assert done == sorted(done)
    assert {"downloading", "installed"} <= {report.phase for report in said}
    assert any(report.bytes_per_s and report.remaining_s for report in said)

    def names() -> set[str]:
        inventory = lab.inventory("rog")
        return {model.name for model in inventory.models} if inventory else set()

    wait_for(lambda: MODEL in names())


def test_a_pull_is_cancelled_and_resumes_where_it_was(lab: Lab) -> None:
    job_id = lab.pull(speed=200_000_000)
    wait_for(lambda: any((report.done_bytes or 0) > GIB / 2 for report in lab.said()))
    lab.server.client.set(cancel_key("rog", job_id), 1)
    cancelled = lab.end()
    # Of what arrives at once, Ollama tells nothing.
    lab.pull(speed=200_000_000)

    assert cancelled.phase == "cancelled"
    assert lab.end().phase == "installed"
    assert max(report.found_bytes or 0 for report in lab.said()) > GIB / 3


def test_a_pull_that_does_not_fit_is_refused_with_numbers(lab: Lab) -> None:
    lab.control("/machines/rog/disk", free_bytes=GIB)
    lab.pull("gemma3:4b", speed=50_000_000)
    end = lab.end()

    assert (end.phase, end.retry) == ("failed", False)
    assert end.reason
    assert end.reason.startswith("It needs ")
    assert "GiB more on " in end.reason


@pytest.mark.parametrize(
    ("fault", "reason", "retry"),
    [
        ("manifest-404", "The registry has no model llama3.2:1b.", False),
        ("manifest-500", "The registry has an error of its own", True),
        ("manifest-412", "llama3.2:1b needs a newer Ollama than 0.32.15", False),
        ("blob-404", "The registry lists llama3.2:1b but lacks one of its files.", True),
        ("corrupt", "A file of llama3.2:1b arrived damaged", True),
        ("never-success", "without saying that it succeeded", True),
    ],
)
def test_a_fault_of_the_registry_is_told_in_plain_words(
    lab: Lab, fault: str, reason: str, retry: bool
) -> None:
    lab.control("/registry/faults", model=MODEL, fault=fault)
    lab.pull()
    end = lab.end()

    assert (end.phase, end.retry) == ("failed", retry)
    assert reason in (end.reason or "")


def test_a_server_that_stops_and_starts_in_a_pull_is_pulled_on(lab: Lab) -> None:
    # Not the others' model: it may be left behind in a state that no pull mends.
    lab.pull("qwen3:4b", speed=200_000_000)
    wait_for(lambda: any(report.phase == "downloading" for report in lab.said()))
    lab.control("/machines/rog/ollama/0/stop")
    wait_for(lambda: any("went away" in (report.reason or "") for report in lab.said()))
    lab.control("/machines/rog/ollama/0/start")

    assert lab.end().phase in {"installed", "failed"}
    # A server that is stopped in a download may leave a part that no later pull can use.
    reason = lab.said()[-1].reason
    assert reason is None or "broke off when Ollama was stopped" in reason


def test_every_machine_of_the_lab_is_served(lab: Lab) -> None:
    slugs = [machine["slug"] for machine in lab.simlab.described["machines"]]
    for slug in slugs:
        if slug != "rog":
            lab.start_node(slug)

    cards = {slug: len(lab.sample(slug).gpus) for slug in slugs}
    assert len(cards) == 5
    assert (cards["rog"], cards["tower"], cards["minibox"]) == (2, 1, 0)
    assert lab.sample("studio").gpus[0].unified is True
    assert lab.sample("oldie").instances[0].version == "0.24.0"


def test_a_neighbour_gives_its_model_and_closes_its_port(lab: Lab) -> None:
    """After the test above: all machines are served. Minibox has the model from its beginning."""
    given = _given(lab)
    origin = _share(lab, "5ec" + "0" * 29)
    end = _pull_from(lab, origin)
    url = lab.simlab.ollama_url("rog")
    tags = httpx.get(f"{url}/api/tags", trust_env=False).json()["models"]
    assert (end.phase, end.reason) == ("installed", None)
    assert _given(lab) == given
    assert {tag["name"]: tag["digest"] for tag in tags}[MODEL] == origin.digest
    assert not [tag for tag in tags if origin.secret in tag["name"]]

    _share(lab, origin.secret, lease_s=0)
    wait_for(lambda: f"port {origin.port} is closed" in lab.log("minibox"))
    end = _pull_from(lab, origin)
    assert (end.phase, end.cause, end.retry) == ("failed", "unreachable", True)
    assert (end.reason or "").startswith(f"minibox is not reached at port {origin.port} (127.0.0.1")


def test_a_copy_whose_bytes_are_wrong_is_thrown_away(lab: Lab) -> None:
    lab.control("/machines/minibox/ollama/0/rot", model=MODEL)
    end = _pull_from(lab, _share(lab, "5ec" + "1" * 29))
    assert (end.phase, end.cause, end.retry) == ("failed", "damaged", True)
    url = lab.simlab.ollama_url("rog")
    assert MODEL not in httpx.get(f"{url}/api/tags", trust_env=False).text
    _share(lab, "5ec" + "1" * 29, lease_s=0)


def _share(lab: Lab, secret: str, *, lease_s: float = 90) -> Origin:
    """Let minibox give the model, and return what it says of that."""
    wait_for(lambda: lab.inventory("minibox"))
    inventory = lab.inventory("minibox")
    assert inventory
    order = ShareOrder(
        node="minibox",
        job_id=900,
        instance_url=lab.simlab.ollama_url("minibox"),
        model=MODEL,
        digest=next(each.digest for each in inventory.models if each.name == MODEL),
        secret=secret,
        lease_s=lease_s,
    )
    lab.hub.order("minibox", "workers.share", order.model_dump())
    wait_for(lambda: secret in [each.secret for each in _shared(lab)])
    told = _shared(lab)[-1]
    assert (told.phase, told.hosts, told.reason) == ("open", ("127.0.0.1",), None)
    return Origin(
        giver="minibox",
        hosts=told.hosts,
        port=told.port or 0,
        secret=secret,
        digest=order.digest,
    )


def _pull_from(lab: Lab, origin: Origin) -> PullProgress:
    lab.job_id += 1
    url = lab.simlab.ollama_url("rog")
    lab.hub.pull(url, job_id=lab.job_id, model=MODEL, origin=origin.model_dump())
    return lab.end()


def _given(lab: Lab) -> int:
    url = f"{lab.simlab.control_url}/registry"
    return int(httpx.get(url, trust_env=False).json()["given_bytes"])


def _shared(lab: Lab) -> list[ShareProgress]:
    return [r for r in lab.server.reports("minibox") if isinstance(r, ShareProgress)]
