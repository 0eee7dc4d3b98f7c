"""Known faults of Ollama, each seen and not seen."""

from typing import Any

import pytest

from labdash.planner.faults import Code, Facts, Gpu, Load, Orphan, find_faults

GIB = 1 << 30


def load(name: str = "qwen3:8b", **changes: Any) -> Load:
    values: dict[str, Any] = {
        "size_bytes": 6 * GIB,
        "size_vram_bytes": 6 * GIB,
        "gpu_bytes": {0: 6 * GIB, 1: 0},
        "ctx": 8192,
    }
    return Load(name=name, **values | changes)


def gpu(index: int = 0, **changes: Any) -> Gpu:
    values: dict[str, Any] = {"total_bytes": 24 * GIB, "free_bytes": 15 * GIB}
    return Gpu(index=index, **values | changes)


def facts(*loads: Load, **changes: Any) -> Facts:
    values: dict[str, Any] = {"version": (0, 32, 15), "gpus": (gpu(0), gpu(1))}
    return Facts(node="rog", instance="rog:11434", loads=loads, **values | changes)


def on(index: int, **changes: Any) -> Load:
    return load(**{"gpu_bytes": {index: 6 * GIB}} | changes)


PILED = (on(1, name="a"), on(1, name="b"))
FULL = (gpu(0), gpu(1, free_bytes=2 * GIB))
SPREAD = load(gpu_bytes={0: 3 * GIB, 1: 3 * GIB})
GONE = load(gpu_bytes={})
FALLEN = load(size_vram_bytes=0, gpu_bytes={})

SEEN: list[tuple[Code, int | None, Facts]] = [
    ("driver-lost", 5464, facts(driver_works=False)),
    ("driver-lost", 5464, facts(gpus=(gpu(0), gpu(1, is_lost=True)))),
    ("cpu-fallback", 10053, facts(FALLEN)),
    ("says-gpu-runs-on-cpu", 7323, facts(GONE)),
    ("runner-gone", None, facts(load(gpu_bytes={}, was_on_gpu=True))),
    ("orphan", None, facts(orphans=(Orphan(pid=7, model="a", gpu=0, bytes=GIB),))),
    ("deleted-stays", 4443, facts(load(is_deleted=True))),
    ("piled-on-one-gpu", 18349, facts(*PILED, gpus=FULL)),
    ("spread-over-gpus", 16599, facts(SPREAD)),
    ("options-of-others", 8903, facts(load(planned_ctx=4096))),
    ("reload-loop", 17408, facts(load(reloads=3))),
]


@pytest.mark.parametrize(("code", "issue", "shown"), SEEN, ids=[case[0] for case in SEEN])
def test_fault_is_recognised_by_what_is_seen(code: Code, issue: int | None, shown: Facts) -> None:
    (fault,) = find_faults(shown)
    assert (fault.code, fault.issue) == (code, issue)
    assert fault.text.endswith(".")
    assert fault.remedy.endswith(".")


NOT_SEEN = {
    "nothing": facts(),
    "a load as any other": facts(load(planned_ctx=8192)),
    "planned for the CPU": facts(load(size_vram_bytes=0, gpu_bytes={}, planned_gpus=frozenset())),
    "no GPU": facts(FALLEN, gpus=()),
    "processes are not told": facts(load(gpu_bytes=None)),
    "several on the first GPU": facts(on(0, name="a"), on(0, name="b")),
    "one on the second GPU": facts(PILED[0], gpus=FULL),
    "planned there": facts(
        *(on(1, name=name, planned_gpus=frozenset({1})) for name in "ab"), gpus=FULL
    ),
    "no other has more room": facts(*PILED, gpus=(gpu(0, free_bytes=GIB), gpu(1))),
    "room is not known": facts(*PILED, gpus=(gpu(0, free_bytes=None), gpu(1))),
    "piled by an old version": facts(*PILED, gpus=FULL, version=(0, 24, 0)),
    "spread as planned": facts(
        load(gpu_bytes={0: 3 * GIB, 1: 3 * GIB}, planned_gpus=frozenset({0, 1}))
    ),
    "too large for one": facts(SPREAD, gpus=(gpu(0, free_bytes=GIB), gpu(1, free_bytes=GIB))),
    "spread by an old version": facts(SPREAD, version=(0, 24, 0)),
    "loaded anew twice": facts(load(reloads=2)),
}


@pytest.mark.parametrize("shown", NOT_SEEN.values(), ids=list(NOT_SEEN))
def test_what_only_looks_like_a_fault_is_none(shown: Facts) -> None:
    assert find_faults(shown) == ()


def test_lost_driver_explains_what_lies_on_the_cpu() -> None:
    found = find_faults(facts(FALLEN, driver_works=False))
    assert [fault.code for fault in found] == ["driver-lost"]


def test_fault_names_the_models_that_it_is_about() -> None:
    (fault,) = find_faults(facts(*PILED, gpus=FULL))
    assert fault.models == ("a", "b")
    assert fault.text == (
        "a and b are all on GPU 1 of rog, which has 2.0 GiB free, while GPU 0 has 15.0 GiB: Ollama"
        " takes GPUs after the first for empty."
    )


def test_version_that_nobody_knows_is_taken_for_the_newest() -> None:
    (fault,) = find_faults(facts(SPREAD, version=()))
    assert fault.code == "spread-over-gpus"
