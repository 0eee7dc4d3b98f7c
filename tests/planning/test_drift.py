"""Each way in which a lab can drift from its plan, made to happen and recognised."""

from collections.abc import Iterator

import pytest

from labdash.planner.faults import Code, Facts, Gpu, Load, Orphan, find_faults
from labdash.planner.plan import Placement
from labdash.planner.solve import solve
from labdash.planner.verify import Checked
from tests.planning.applied import apply, expected_of, judged, lab_of, seen_of
from tests.planning.stage import Stage, running, settled
from tests.planning.ten_labs import machine
from tests.planning.variants import wanted
from tests.processes import eventually
from workers.wire import Sample

GIB = 2**30
MODEL, ALIAS, LISTED = "llama3.1:8b", "labdash/chat", "labdash/chat:latest"
INSTALLED = (MODEL, "qwen3:8b")


class Drift:
    """A plan that was applied: one model, on the second of two cards."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        wish = wanted(MODEL, name="chat", pin="rog/1")
        self.lab = lab_of(stage, [wish])
        self.plan = solve(self.lab)
        self.apply()

    @property
    def placement(self) -> Placement:
        (placement,) = self.plan.placements
        return placement

    def apply(self) -> None:
        (end,) = apply(self.stage, self.plan).values()
        assert end.phase == "loaded", end

    def checked(self, verdict: str) -> Checked:
        found = judged(self.stage, self.lab, self.plan, was_loaded=True, verdicts={verdict})
        (checked,) = found.values()
        return checked

    def faults(self, *, reloads: int = 0) -> set[Code]:
        facts = facts_of(self.stage.sample("rog"), self, reloads=reloads)
        return {fault.code for fault in find_faults(facts)}

    def settled_faults(self, expected: set[Code]) -> set[Code]:
        return settled(self.faults, lambda found: found == expected)

    def generate(self, model: str = MODEL, **body: object) -> None:
        asked = {"model": model, "stream": False, **body}
        self.ask("POST", "/api/generate", **asked)

    def ask(self, method: str, path: str, **body: object) -> None:
        url = self.stage.members["rog"].url("ollama")
        self.stage.client.request(method, url + path, json=body).raise_for_status()

    def control(self, path: str, **body: object) -> None:
        url = f"{self.stage.control_url}/machines/rog/{path}"
        self.stage.client.post(url, json=body).raise_for_status()


def facts_of(sample: Sample, drift: Drift, *, reloads: int = 0) -> Facts:
    """Gather what a sample shows, as far as faults are told by it."""
    seen = seen_of(drift.stage, drift.placement, was_loaded=True)
    processes = [(gpu.index, each) for gpu in sample.gpus for each in gpu.processes or ()]
    load = Load(
        name=ALIAS,
        size_bytes=seen.size_bytes,
        size_vram_bytes=seen.size_vram_bytes,
        gpu_bytes={int(name.rpartition("/")[2]): n for name, n in (seen.gpu_bytes or {}).items()},
        ctx=seen.ctx,
        planned_gpus=frozenset({1}),
        planned_ctx=expected_of(drift.lab, drift.placement).ctx,
        was_on_gpu=True,
        is_deleted=any(each.is_deleted for each in sample.instances[0].loaded or ()),
        reloads=reloads,
    )
    return Facts(
        node="rog",
        instance="rog/ollama",
        version=(0, 32, 15),
        gpus=tuple(
            Gpu(
                index=gpu.index,
                total_bytes=gpu.memory_total_bytes or 0,
                free_bytes=gpu.memory_free_bytes,
                is_lost=gpu.state == "lost",
            )
            for gpu in sample.gpus
        ),
        loads=(load,) if seen.listed else (),
        orphans=tuple(
            Orphan(pid=each.pid, model=each.model or "", gpu=index, bytes=each.used_bytes or 0)
            for index, each in processes
            if each.is_orphan
        ),
    )


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    plan = machine(
        "rog",
        "rtx-3090",
        "rtx-3090",
        installed=INSTALLED,
        environment={"OLLAMA_MAX_LOADED_MODELS": "1"},
    )
    with running((plan,)) as stage:
        yield stage


@pytest.fixture
def drift(stage: Stage) -> Iterator[Drift]:
    found = Drift(stage)
    assert found.checked("as-planned").verdict == "as-planned"
    assert found.settled_faults(set()) == set()
    yield found
    stage.do(lambda: _restore(stage))


def _restore(stage: Stage) -> None:
    """Leave the machine as it was."""
    place = stage.members["rog"].place
    place.servers[0].server.scheduler.stop()
    place.machine.end_orphans()
    for gpu in place.machine.gpus:
        gpu.lost = False
        gpu.play(0)


def test_another_load_that_takes_its_place_is_an_eviction(drift: Drift) -> None:
    drift.generate("qwen3:8b", options={"num_ctx": 8192, "num_batch": 512})
    assert drift.checked("evicted").verdict == "evicted"
    drift.apply()
    assert drift.checked("as-planned").verdict == "as-planned"


def test_options_of_another_program_are_told_from_the_plans(drift: Drift) -> None:
    drift.generate(options={"num_ctx": 4096, "num_batch": 512, "main_gpu": 1})
    checked = drift.checked("evicted")
    assert checked.verdict == "evicted"
    assert checked.text.startswith("It runs with a context of 4k instead of 8k")
    assert drift.settled_faults({"options-of-others"}) == {"options-of-others"}


def test_base_that_is_asked_for_with_the_same_options_is_the_same_load(drift: Drift) -> None:
    drift.generate(options={"num_ctx": 8192, "num_batch": 512, "main_gpu": 1})
    assert drift.checked("as-planned").verdict == "as-planned"


def test_load_by_the_name_of_the_base_is_found_all_the_same(drift: Drift) -> None:
    drift.generate(keep_alive=0)
    drift.generate(options={"num_ctx": 8192, "num_batch": 512, "main_gpu": 1})
    assert drift.checked("as-planned").verdict == "as-planned"


def test_card_other_than_the_planned_one_is_named(drift: Drift) -> None:
    drift.generate(options={"num_ctx": 8192, "num_batch": 512, "main_gpu": 0})
    checked = drift.checked("wrong-gpu")
    assert (checked.verdict, checked.text) == (
        "wrong-gpu",
        "It lies on rog/0, and was planned for rog/1.",
    )


def test_greater_batch_takes_more_than_planned(drift: Drift) -> None:
    drift.generate(options={"num_ctx": 8192, "num_batch": 2048, "main_gpu": 1})
    assert drift.checked("more").verdict == "more"


def test_game_that_leaves_no_room_spills_the_next_load(drift: Drift) -> None:
    drift.generate(keep_alive=0)
    drift.control("gpus/1/game", bytes=18 * GIB)
    drift.apply()
    checked = drift.checked("spilled")
    assert checked.verdict == "spilled"
    assert checked.text.endswith("of it are on the CPU, and none was planned there: it is slow.")
    names = {each.name for each in drift.stage.sample("rog").gpus[1].processes or ()}
    assert "Cyberpunk2077.exe" in names


def test_runner_that_was_killed_stays_listed_and_is_recognised(drift: Drift) -> None:
    drift.control("ollama/0/kill-runner", model=LISTED)
    assert drift.checked("not-loaded").verdict == "not-loaded"
    assert drift.settled_faults({"runner-gone"}) == {"runner-gone"}
    drift.apply()
    assert drift.checked("as-planned").verdict == "as-planned"


def test_lost_card_ends_the_load_and_the_next_one_runs_on_the_cpu(drift: Drift) -> None:
    drift.control("gpus/1/lose")
    assert drift.checked("not-loaded").verdict == "not-loaded"
    assert eventually(lambda: "driver-lost" in drift.faults())
    drift.apply()
    checked = drift.checked("spilled")
    assert checked.verdict == "spilled"
    assert checked.text.startswith("All of it is on the CPU")
    # One card is lost, and Ollama finds none at all any more.
    assert drift.settled_faults({"driver-lost", "cpu-fallback"}) == {"driver-lost", "cpu-fallback"}


def test_deleted_name_stays_in_memory_and_is_recognised(drift: Drift) -> None:
    drift.ask("DELETE", "/api/delete", model=ALIAS)
    drift.stage.members["rog"].watch.refresh()
    assert eventually(lambda: "deleted-stays" in drift.faults())


def test_server_that_is_killed_leaves_an_orphan(drift: Drift) -> None:
    drift.control("ollama/0/kill")
    drift.control("ollama/0/start")
    assert eventually(lambda: "orphan" in drift.faults())
    assert drift.checked("evicted").verdict == "evicted"


def test_model_that_is_loaded_again_and_again_is_in_a_loop(drift: Drift) -> None:
    assert drift.faults(reloads=3) == {"reload-loop"}
