"""Bars where processes do not tell of models, and the sum of every bar."""

from itertools import product

import pytest

from tests.labdash.queries.test_bars import bars, gpus, told
from tests.labdash.views.sample_lab import GIB, gpu, loaded, process, reading, sample
from workers import wire

MODEL = loaded("qwen3:8b", 7, 7)
XORG = process(1, "Xorg", 0.5)
RUNNER = process(2, "llama-server", 7, "qwen3:8b")
# A process of the host, of which a container sees no more than what it holds.
FOREIGN = wire.GpuProcess(pid=3, used_bytes=int(7.25 * GIB))


def card(*processes: wire.GpuProcess, uuid: str = "a", index: int = 0) -> wire.GpuReading:
    return gpu(uuid, index, "RTX 3090", 24, processes=processes, memory_used_bytes=8 * GIB)


@pytest.mark.parametrize(
    ("processes", "why"),
    [
        ((), "their processes are not to be seen from here"),
        ((FOREIGN,), "their processes are not to be seen from here"),
        ((wire.GpuProcess(pid=4, name="llama-server.exe"),), "as on Windows"),
    ],
)
def test_models_whose_processes_do_not_tell_are_ollamas_word_and_say_why(
    processes: tuple[wire.GpuProcess, ...], why: str
) -> None:
    (seen,) = gpus(sample("rog", [card(*processes)], [reading(MODEL)]))
    assert told(seen.bar)[:2] == [("model", "qwen3:8b", 7.0), ("other", "other", 1.0)]
    assert (seen.basis, seen.is_word) == ("measured", True)
    assert why in seen.unseen


def test_programs_that_are_seen_keep_their_names_beside_ollamas_word() -> None:
    (bar,) = bars(sample("rog", [card(XORG)], [reading(MODEL)]))
    assert told(bar)[:3] == [
        ("model", "qwen3:8b", 7.0),
        ("other", "Xorg", 0.5),
        ("other", "other", 0.5),
    ]


def test_ollamas_word_that_has_no_room_leaves_what_the_driver_tells() -> None:
    (seen,) = gpus(sample("rog", [card(FOREIGN)], [reading(loaded("m", 9, 9))]))
    assert told(seen.bar)[0] == ("other", "process 3", 7.25)
    assert not seen.is_word


def test_several_gpus_say_why_models_are_not_told_apart() -> None:
    cards = [card(uuid=uuid, index=index) for index, uuid in enumerate("ab")]
    for seen in gpus(sample("rog", cards, [reading(MODEL)])):
        assert (seen.is_word, seen.unseen[:15]) == (False, "their processes")


@pytest.mark.parametrize(
    ("processes", "models"), [((RUNNER,), (MODEL,)), ((XORG,), ()), ((), ())], ids=str
)
def test_where_processes_tell_or_nothing_is_loaded_nothing_is_said(
    processes: tuple[wire.GpuProcess, ...], models: tuple[wire.LoadedModel, ...]
) -> None:
    (seen,) = gpus(sample("rog", [card(*processes)], [reading(*models)]))
    assert (seen.unseen, seen.is_word) == ("", False)


def test_a_sleeping_card_is_told_so_and_holds_what_nobody_knows() -> None:
    sleeping = gpu("a", 0, "P40", 24, asleep=True, memory_used_bytes=None)
    (seen,) = gpus(sample("rog", [sleeping], [reading(MODEL)]))
    assert (seen.basis, seen.bar.used_bytes, seen.bar.segments) == ("unknown", None, ())
    assert seen.untold.startswith("Asleep")


HELD = [(), (XORG,), (XORG, RUNNER), (RUNNER, FOREIGN), (RUNNER, RUNNER, RUNNER, RUNNER)]


@pytest.mark.parametrize("reserved", [None, 0, GIB, 30 * GIB])
@pytest.mark.parametrize("used_gib", [0, 0.01, 8, 23, 24, 30])
def test_each_byte_of_a_card_has_one_name(reserved: int | None, used_gib: float) -> None:
    for processes, models in product(HELD, ((), (MODEL,))):
        filled = gpu(
            "a",
            0,
            "P40",
            24,
            processes=processes,
            memory_used_bytes=int(used_gib * GIB),
            memory_reserved_bytes=reserved,
        )
        (bar,) = bars(sample("rog", [filled], [reading(*models)]))
        assert sum(part.size_bytes for part in bar.segments) == 24 * GIB
        assert all(part.size_bytes >= 0 for part in bar.segments)
