"""What is tried again by itself, how often and when."""

import pytest

from labdash.domain.retrying import wait_s


def test_each_wait_is_twice_the_one_before_up_to_an_hour() -> None:
    waits = [wait_s("unreachable", failures=each, tries=20) for each in range(1, 9)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


@pytest.mark.parametrize(
    "cause", ["no-space", "no-such-model", "needs-newer-ollama", "not-public", "spoiled"]
)
def test_what_only_a_person_can_mend_is_not_tried_again(cause: str) -> None:
    assert wait_s(cause, failures=1, tries=5) is None  # type: ignore[arg-type]  # it is one


@pytest.mark.parametrize(
    ("cause", "failures", "wait"),
    [
        ("stalled", 4, 480),
        ("stalled", 5, None),
        ("damaged", 2, 120),
        ("damaged", 3, None),
        ("busy", 1, 600),
        (None, 1, 60),
    ],
)
def test_tries_are_bounded(cause: str | None, failures: int, wait: float | None) -> None:
    assert wait_s(cause, failures=failures, tries=5) == wait  # type: ignore[arg-type]  # it is one
