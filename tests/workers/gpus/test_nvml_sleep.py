"""Cards that sleep are left alone, with the library of ``test_nvml`` and a tree of the bus."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.gpus.test_nvml import Reader, library, reader

__all__ = ["library", "reader"]  # the fixtures
PLACES = ("0000:01:00.0", "0000:02:00.0")


@pytest.fixture(autouse=True)
def bus(reader: Reader) -> None:
    """Put both cards on the bus, allowed to sleep."""
    for index in range(2):
        put(reader, index)


def put(reader: Reader, index: int, *, driver: str = "nvidia", control: str = "auto") -> None:
    device = reader.devices / PLACES[index]
    (device / "power").mkdir(parents=True)
    (device / "power/control").write_text(f"{control}\n")
    (reader.devices.parent / "drivers" / driver).mkdir(parents=True, exist_ok=True)
    (device / "driver").symlink_to(reader.devices.parent / "drivers" / driver)
    be(reader, index, "active")


def be(reader: Reader, index: int, status: str) -> None:
    """Let a card have this status; the library notes whether something wakes it."""
    (reader.devices / PLACES[index] / "power/runtime_status").write_text(f"{status}\n")
    reader.set(**{f"gpu{index}": {"asleep": 0 if status == "active" else 1}})


def woken(reader: Reader) -> list[str]:
    file = Path(f"{reader.devices.parent}/state.woken")
    return file.read_text().splitlines() if file.exists() else []


def states(answer: dict[str, Any]) -> dict[str, tuple[str, bool, int | None]]:
    return {
        gpu["uuid"]: (gpu["state"], gpu["asleep"], gpu["temperature_celsius"])
        for gpu in answer["gpus"]
    }


@pytest.mark.parametrize("status", ["suspended", "suspending"])
def test_a_sleeping_card_keeps_its_identity_and_is_not_woken(reader: Reader, status: str) -> None:
    before = reader.read()["gpus"]
    be(reader, 0, status)
    reader.tell("rested")

    first, second = reader.read()["gpus"]

    assert (first["uuid"], first["name"], first["index"]) == ("GPU-0", before[0]["name"], 0)
    assert (first["state"], first["asleep"], first["reason"]) == ("ok", True, None)
    assert first["memory_total_bytes"] == before[0]["memory_total_bytes"]
    figures = ("memory_used_bytes", "memory_free_bytes", "temperature_celsius", "processes")
    assert [first[name] for name in figures] == [None, None, None, None]
    assert second == before[1]
    assert woken(reader) == []


def test_the_library_notes_what_wakes_a_card(reader: Reader) -> None:
    reader.set(gpu0={"asleep": 1})
    reader.read()

    assert woken(reader)


def test_cards_that_all_sleep_leave_the_library_closed(reader: Reader) -> None:
    reader.read()
    for index in range(2):
        be(reader, index, "suspended")
    reader.set(system={"init.error": 999, "count.error": 999})

    answer = reader.read()

    assert (answer["driver"]["state"], answer["driver"]["version"]) == ("ok", "580.95.05")
    assert states(answer) == {"GPU-0": ("ok", True, None), "GPU-1": ("ok", True, None)}
    assert woken(reader) == []


def test_cards_that_slept_from_the_start_are_counted(reader: Reader) -> None:
    be(reader, 0, "suspended")
    one = reader.read()
    reader.tell("rested")
    be(reader, 1, "suspended")
    both = reader.read()

    assert (states(one), one["driver"]["cards_asleep"]) == ({"GPU-1": ("ok", False, 71)}, 1)
    assert one["gpus"][0]["index"] == 1
    assert (states(both), both["driver"]["cards_asleep"]) == ({"GPU-1": ("ok", True, None)}, 1)
    assert woken(reader) == []


def test_a_card_that_wakes_is_measured_again(reader: Reader) -> None:
    before = reader.read()
    for index in range(2):
        be(reader, index, "suspended")
    reader.read()
    for index in range(2):
        be(reader, index, "active")

    assert reader.read() == before


def make_idle(reader: Reader) -> None:
    for index in range(2):
        reader.set(**{f"gpu{index}": {"util": 0}})


def test_idle_cards_are_left_alone_for_a_while_and_read_again(reader: Reader) -> None:
    make_idle(reader)
    before = reader.read()
    reader.set(gpu0={"temp": 50}, system={"count.error": 999})
    resting = reader.read()
    reader.set(system={"count.error": None})
    reader.tell("rested")

    assert resting == before
    assert reader.read()["gpus"][0]["temperature_celsius"] == 50


def test_a_model_that_is_loaded_meanwhile_ends_the_rest_of_its_card(reader: Reader) -> None:
    make_idle(reader)
    reader.read()
    reader.set(gpu0={"temp": 50})
    reader.tell("loaded qwen3:8b")

    assert reader.read()["gpus"][0]["temperature_celsius"] == 50


def test_cards_at_work_are_read_without_a_rest(reader: Reader) -> None:
    make_idle(reader)
    reader.set(gpu1={"util": 5})
    reader.read()
    reader.set(gpu0={"temp": 50})

    assert reader.read()["gpus"][0]["temperature_celsius"] == 50


@pytest.mark.parametrize(("driver", "control"), [("nvidia", "on"), ("vfio-pci", "auto")])
def test_cards_that_cannot_sleep_are_read_without_a_rest(
    reader: Reader, driver: str, control: str
) -> None:
    for index in range(2):
        (reader.devices / PLACES[index]).rename(reader.devices.parent / f"gone-{index}")
        put(reader, index, driver=driver, control=control)
    make_idle(reader)
    reader.read()
    reader.set(gpu0={"temp": 50})

    assert reader.read()["gpus"][0]["temperature_celsius"] == 50


def test_a_card_that_waits_for_a_virtual_machine_is_not_told_asleep(reader: Reader) -> None:
    (reader.devices / PLACES[0] / "driver").unlink()
    (reader.devices / PLACES[0] / "driver").symlink_to(reader.devices.parent / "drivers/vfio-pci")
    (reader.devices / PLACES[0] / "power/runtime_status").write_text("suspended\n")

    answer = reader.read()

    assert answer["driver"]["cards_asleep"] is None
    assert not any(gpu["asleep"] for gpu in answer["gpus"])
