"""The next seven nights."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from labdash.queries.nights import Timed, nights
from tests.labdash.queries.test_due import At

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Timed(key=1, name="nightly", when=At())
GAMING = Timed(key=2, name="play", when=At(cron="0 20 * * 5", until=time(1)), is_gaming=True)


def test_a_night_is_from_noon_to_noon_with_its_windows_in_order() -> None:
    found = nights([NIGHTLY, GAMING], now=datetime(2026, 11, 26, 15, tzinfo=UTC), zone=BERLIN)
    assert [night.label for night in found][:3] == ["Tonight", "Fri 27 Nov", "Sat 28 Nov"]
    assert len(found) == 7
    friday = found[1]
    assert [(slot.words, slot.name, slot.lane) for slot in friday.slots] == [
        ("20:00 to 01:00", "play", 1),
        ("02:00 to 06:00", "nightly", 0),
    ]
    nightly = friday.slots[1]
    assert (nightly.x, nightly.x + nightly.width) == (round(14 / 24 * 1000), 750)


def test_in_the_morning_the_night_is_the_same_until_nothing_more_is_due() -> None:
    morning = datetime(2026, 11, 26, 4, tzinfo=UTC)
    found = nights([NIGHTLY], now=morning, zone=BERLIN)
    assert [night.label for night in found][:3] == ["This night", "Tonight", "Fri 27 Nov"]
    assert [slot.words for slot in found[0].slots] == ["02:00 to 06:00"]
    later = nights([NIGHTLY], now=morning.replace(hour=6), zone=BERLIN)
    assert [night.label for night in later][:2] == ["Tonight", "Fri 27 Nov"]


def test_the_night_in_which_the_clock_jumps_has_23_hours() -> None:
    found = nights([NIGHTLY], now=datetime(2026, 3, 28, 15, tzinfo=UTC), zone=BERLIN)
    [slot] = found[0].slots
    assert (slot.words, slot.x) == ("03:00 to 06:00", round(14 / 23 * 1000))


def test_what_has_no_end_is_seen_and_what_cannot_be_read_is_left_out() -> None:
    endless = Timed(key=3, name="x", when=At(cron="59 11 * * *", until=None))
    lost = Timed(key=4, name="y", when=At(zone="Atlantis"))
    found = nights([endless, lost], now=datetime(2026, 11, 26, 15, tzinfo=UTC), zone=BERLIN)
    [slot] = found[0].slots
    assert (slot.words, slot.x, slot.width) == ("11:59", 992, 8)
