import threading
import time

import pytest

from workers.probe import Probe


def test_a_reading_that_hangs_leaves_the_newest_one() -> None:
    blocked = threading.Event()
    answers = iter(["first", "second"])

    def read() -> str:
        answer = next(answers)
        if answer == "second":
            blocked.wait(10)
        return answer

    probe = Probe("test", read)
    probe.ask()
    first = probe.newest(wait_s=5)
    probe.ask()
    during = probe.newest(wait_s=0.1)
    blocked.set()
    after = probe.newest(wait_s=5)
    probe.stop()

    assert [taken.value if taken else None for taken in (first, during, after)] == [
        "first",
        "first",
        "second",
    ]


def test_nothing_was_read_before_somebody_asked() -> None:
    probe = Probe("test", lambda: 1)

    assert probe.newest(wait_s=0.05) is None
    probe.stop()


def test_a_fault_in_one_reading_is_logged_and_the_next_one_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[object] = [ValueError("a fault"), "fine"]

    def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    probe = Probe("test", read)
    probe.ask()
    while len(answers) == 2:
        time.sleep(0.01)
    probe.newest(wait_s=0.1)
    probe.ask()
    taken = probe.newest(wait_s=5)
    probe.stop()

    assert taken
    assert taken.value == "fine"
    assert "reading failed probe=test" in caplog.text


def test_a_readings_age_counts_from_its_end() -> None:
    probe = Probe("test", lambda: 1)
    probe.ask()
    taken = probe.newest(wait_s=5)
    probe.stop()

    assert taken
    assert 0 <= taken.age_s < 5
