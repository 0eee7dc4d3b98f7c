"""What a plan says of a load beside what memory shows."""

from dataclasses import replace
from typing import Any

import pytest

from labdash.planner.ollama import GIB, MIB
from labdash.planner.verify import Checked, Expected, Seen, tolerance, verify
from tests.planning.checks import agrees

ROG0, ROG1, CPU = "rog/0", "rog/1", "rog/cpu"


def expected(**changes: Any) -> Expected:
    values: dict[str, Any] = {
        "bytes": {ROG0: 10 * GIB, CPU: GIB},
        "layers": {ROG0: 33},
        "ctx": 8192,
        "visible_gpus": 2,
        "overheads": {ROG0: 300 * MIB},
    }
    return Expected(**values | changes)


def seen(**changes: Any) -> Seen:
    size = 10 * GIB - 300 * MIB
    values: dict[str, Any] = {
        "listed": True,
        "ctx": 8192,
        "size_bytes": size,
        "size_vram_bytes": size,
        "gpu_bytes": {ROG0: 10 * GIB, ROG1: 0},
    }
    return Seen(**values | changes)


def judged(plan: dict[str, Any] | None = None, **changes: Any) -> Checked:
    return verify(expected(**plan or {}), seen(**changes))


PARTIAL = {"bytes": {ROG0: 6 * GIB, CPU: 5 * GIB}, "layers": {ROG0: 20, CPU: 13}}
ON_CPU = {"bytes": {CPU: 11 * GIB}, "layers": {CPU: 33}, "overheads": {}}
BOTH = {"bytes": {ROG0: 6 * GIB, ROG1: 5 * GIB}, "layers": {ROG0: 17, ROG1: 16}}


def test_load_that_takes_what_was_predicted_is_as_planned() -> None:
    told = judged()
    assert (told.verdict, agrees(told)) == ("as-planned", True)
    assert told.text == "It takes 10.0 GiB on rog/0; 10.0 GiB were planned."
    assert [(each.device, each.seen_bytes) for each in told.devices] == [(ROG0, 10 * GIB)]


def test_tolerance_is_64_mib_and_one_part_in_a_hundred() -> None:
    allowed = tolerance(10 * GIB)
    assert allowed == 64 * MIB + round(0.1 * GIB)
    assert judged(gpu_bytes={ROG0: 10 * GIB + allowed}).verdict == "as-planned"
    told = judged(gpu_bytes={ROG0: 10 * GIB + allowed + 1})
    assert (told.verdict, told.text) == ("more", "It takes 0.2 GiB more on rog/0 than planned.")


def test_doubt_about_a_card_widens_the_tolerance() -> None:
    more = {ROG0: 10 * GIB + 300 * MIB}
    assert judged(gpu_bytes=more).verdict == "more"
    assert judged({"doubt_bytes": 250 * MIB}, gpu_bytes=more).verdict == "as-planned"


def test_load_that_takes_less_is_where_it_was_planned_and_was_not_predicted() -> None:
    told = judged(gpu_bytes={ROG0: 8 * GIB})
    assert (told.verdict, agrees(told)) == ("as-planned", False)
    assert told.text == "It is where it was planned, and takes 2.0 GiB less on rog/0 than planned."


def test_spill_by_fit_is_seen_in_ollamas_sizes() -> None:
    told = judged(size_vram_bytes=7 * GIB, gpu_bytes={ROG0: 7 * GIB})
    assert told.verdict == "spilled"
    assert told.text == "28% of it are on the CPU, and none was planned there: it is slow."
    assert judged(size_bytes=10 * GIB, size_vram_bytes=10 * GIB - 40 * MIB).verdict == "as-planned"


def test_fallback_to_the_cpu_is_a_spill() -> None:
    told = judged(size_vram_bytes=0, gpu_bytes={})
    assert told.verdict == "spilled"
    assert told.text == "All of it is on the CPU, and 10.0 GiB were planned for rog/0."


def test_process_that_nobody_sees_on_a_gpu_is_not_loaded() -> None:
    told = judged(gpu_bytes={ROG0: 0})
    assert told.verdict == "not-loaded"
    assert "no process of it is on a GPU" in told.text


@pytest.mark.parametrize(
    ("plan", "found", "text"),
    [
        ({}, {ROG1: 10 * GIB}, "It lies on rog/1, and was planned for rog/0."),
        ({}, {ROG0: 5 * GIB, ROG1: 5 * GIB}, "It lies on rog/0 and rog/1, and was planned for"),
        (BOTH, {ROG0: 11 * GIB}, "It lies on rog/0, and was planned for rog/0 and rog/1."),
        (ON_CPU, {ROG0: 10 * GIB}, "It lies on rog/0, and was planned for the CPU."),
    ],
    ids=["other", "spread", "on one of two", "not on the CPU"],
)
def test_other_gpus_than_planned_are_named(
    plan: dict[str, Any], found: dict[str, int], text: str
) -> None:
    told = judged(plan, gpu_bytes=found)
    assert told.verdict == "wrong-gpu"
    assert told.text.startswith(text)


def test_each_gpu_of_several_is_compared() -> None:
    assert judged(BOTH, gpu_bytes={ROG0: 6 * GIB, ROG1: 5 * GIB}).verdict == "as-planned"
    told = judged(BOTH, gpu_bytes={ROG0: 5 * GIB, ROG1: 6 * GIB})
    assert (told.verdict, told.text) == ("more", "It takes 1.0 GiB more on rog/1 than planned.")
    assert [each.agrees for each in told.devices] == [False, False]


def test_partial_load_is_judged_by_what_its_gpu_holds() -> None:
    sizes = {"size_bytes": 11 * GIB, "size_vram_bytes": 6 * GIB}
    assert judged(PARTIAL, **sizes, gpu_bytes={ROG0: 6 * GIB}).verdict == "as-planned"
    told = judged(PARTIAL, **sizes, gpu_bytes={ROG0: 4 * GIB})
    assert told.verdict == "spilled"
    assert told.text.startswith("Fewer layers are on the GPU than planned")
    assert judged(PARTIAL, **sizes, gpu_bytes={ROG0: 7 * GIB}).verdict == "more"


def test_load_on_the_cpu_is_as_planned_where_no_gpu_holds_any_of_it() -> None:
    told = judged(ON_CPU, size_vram_bytes=0, gpu_bytes={})
    assert (told.verdict, told.text) == ("as-planned", "It is on the CPU, as planned.")


def test_what_is_not_listed_was_evicted_or_never_loaded() -> None:
    gone = judged(listed=False, was_loaded=True)
    assert (gone.verdict, "another load took its place" in gone.text) == ("evicted", True)
    assert judged(listed=False).verdict == "not-loaded"
    assert judged(listed=None).verdict == "cannot-check"


def test_other_context_is_another_load() -> None:
    told = judged(ctx=4096, was_loaded=True)
    assert told.verdict == "evicted"
    assert told.text.startswith("It runs with a context of 4k instead of 8k: another program")
    assert judged(ctx=4096).verdict == "not-loaded"
    assert judged(ctx=None).verdict == "as-planned"


ONE = {"visible_gpus": 1}


class TestWithoutADriver:
    """Only Ollama's sizes are known, which count no overhead."""

    def test_only_gpu_is_judged_by_the_sum(self) -> None:
        told = judged(ONE, gpu_bytes=None)
        assert (told.verdict, agrees(told)) == ("as-planned", True)
        assert told.devices[0].seen_bytes == 10 * GIB
        size = 10 * GIB
        assert judged(ONE, gpu_bytes=None, size_bytes=size, size_vram_bytes=size).verdict == "more"

    def test_which_of_several_gpus_cannot_be_told(self) -> None:
        told = judged(gpu_bytes=None)
        assert told.verdict == "cannot-check"
        assert told.text.endswith("On which GPUs, nothing tells.")

    def test_spill_is_seen_all_the_same(self) -> None:
        assert judged(gpu_bytes=None, size_vram_bytes=0).verdict == "spilled"
        assert judged(gpu_bytes=None, size_vram_bytes=7 * GIB).verdict == "spilled"
        sizes = {"size_bytes": 11 * GIB, "size_vram_bytes": 4 * GIB, "gpu_bytes": None}
        assert judged(PARTIAL, **sizes).verdict == "spilled"

    def test_cpu_is_judged_by_what_is_on_gpus(self) -> None:
        assert judged(ON_CPU, gpu_bytes=None, size_vram_bytes=0).verdict == "as-planned"
        assert judged(ON_CPU, gpu_bytes=None).verdict == "wrong-gpu"

    def test_what_ollama_leaves_out_is_added(self) -> None:
        size = 8 * GIB - 300 * MIB
        lacking = {"size_bytes": size, "size_vram_bytes": size, "gpu_bytes": None}
        known = {**ONE, "left_out_bytes": 2 * GIB}
        assert judged(known, **lacking, leaves_out_context=True).verdict == "as-planned"
        assert judged(ONE, **lacking, leaves_out_context=True).verdict == "cannot-check"
        # Of a server that leaves nothing out, nothing is added.
        assert judged(known, gpu_bytes=None).verdict == "as-planned"
        assert judged(known, gpu_bytes=None, leaves_out_context=True).verdict == "more"

    def test_nothing_to_go_by_cannot_be_checked(self) -> None:
        assert judged(gpu_bytes=None, size_vram_bytes=None).verdict == "cannot-check"


def test_text_is_short_enough_for_its_column() -> None:
    names = [f"{'n' * 40}/{index}" for index in range(8)]
    plan = expected(bytes=dict.fromkeys(names, GIB), layers=dict.fromkeys(names, 1))
    told = verify(plan, replace(seen(), gpu_bytes={names[0]: 8 * GIB}))
    assert len(told.text) <= 500
