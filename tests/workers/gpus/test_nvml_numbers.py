"""The numbers of cards when NVML counts fewer of them, with the library of ``test_nvml``."""

import pytest

from tests.workers.gpus.test_nvml import CARD, Reader, library, reader

__all__ = ["library", "reader"]  # the fixtures


def numbers(answer: dict[str, list[dict[str, object]]]) -> dict[object, tuple[object, object]]:
    return {gpu["uuid"]: (gpu["index"], gpu["state"]) for gpu in answer["gpus"]}


def count_only(reader: Reader, *uuids: str) -> None:
    """Let NVML count these cards, numbered from 0."""
    reader.set(system={"count": len(uuids)})
    for index, uuid in enumerate(uuids):
        reader.set(**{f"gpu{index}": {**CARD, "uuid": uuid}})


def test_a_lost_card_leaves_its_number_to_the_card_that_takes_it(reader: Reader) -> None:
    reader.read()
    count_only(reader, "GPU-1")

    readings = [numbers(reader.read()) for _ in range(2)]

    assert readings == [{"GPU-1": (0, "ok"), "GPU-0": (1, "lost")}] * 2


def test_no_two_cards_share_a_number_however_many_go_and_return(reader: Reader) -> None:
    orders = (("A", "B", "C"), ("B", "C"), ("C",), ("A", "C"), ("D", "B"), ("A", "B", "C", "D"))
    for order in orders:
        count_only(reader, *order)
        shown = numbers(reader.read())
        assert len({index for index, _ in shown.values()}) == len(shown)
        assert {uuid: shown[uuid] for uuid in order} == {
            uuid: (index, "ok") for index, uuid in enumerate(order)
        }


@pytest.mark.parametrize("metric", ["memory_v2", "handle"])
def test_a_card_that_moved_and_fails_then_shares_no_number(reader: Reader, metric: str) -> None:
    count_only(reader, "A", "B", "C")
    reader.read()
    count_only(reader, "B", "C")
    reader.set(gpu0={f"error.{metric}": 15})

    shown = numbers(reader.read())

    assert {index for index, _ in shown.values()} == {0, 1, 2}
    assert shown["C"] == (1, "ok")
    assert shown["B"][1] == "lost"
