import time

from workers.backoff import Backoff


def test_pauses_double_up_to_the_most() -> None:
    backoff = Backoff(first_s=1, most_s=3)
    pauses = []
    for _ in range(4):
        before = time.monotonic()
        backoff.put_off()
        pauses.append(round(backoff._due_at - before))

    assert pauses == [1, 2, 3, 3]


def test_an_attempt_is_due_at_first_and_after_a_reset() -> None:
    backoff = Backoff(first_s=60, most_s=60)
    states = [backoff.is_due]
    backoff.put_off()
    states.append(backoff.is_due)
    backoff.reset()
    states.append(backoff.is_due)

    assert states == [True, False, True]
