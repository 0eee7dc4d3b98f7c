"""Whose driver speaks for a machine."""

import pytest

from workers.gpus.choose import without_nvidia
from workers.wire import DriverReading

MISSING = DriverReading(state="missing", reason="no NVIDIA driver is installed")
AMD = DriverReading(state="ok", version="6.12")


@pytest.mark.parametrize("cards", [0, None])
def test_amds_driver_speaks_where_no_nvidia_card_is_seen(cards: int | None) -> None:
    assert without_nvidia(MISSING, amd=AMD, cards=cards) == AMD


def test_an_nvidia_card_without_driver_is_told_beside_amds() -> None:
    told = without_nvidia(MISSING, amd=AMD, cards=1)

    assert (told.state, told.reason, told.cards_seen) == ("missing", MISSING.reason, 1)


def test_without_amds_driver_it_is_told_what_the_bus_holds() -> None:
    assert without_nvidia(MISSING, amd=None, cards=0).cards_seen == 0
