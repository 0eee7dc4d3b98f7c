"""What a speed limit lets through, by a clock that the test moves."""

from workers.mirror.limiting import MOST_PIECE_BYTES, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_limit_never_waits() -> None:
    bucket = TokenBucket(None)
    assert bucket.book(10**12) == 0
    assert bucket.piece_bytes == MOST_PIECE_BYTES


def test_many_who_ask_share_what_there_is() -> None:
    """Each waits for those before it, so the sum keeps to the limit."""
    clock = Clock()
    bucket = TokenBucket(1000.0, clock=clock)
    waits = [bucket.book(500) for _ in range(5)]
    assert [round(wait, 3) for wait in waits] == [-0.1, 0.4, 0.9, 1.4, 1.9]


def test_a_long_run_keeps_the_rate_although_each_sleep_is_late() -> None:
    clock = Clock()
    bucket = TokenBucket(50e6, clock=clock)
    sent = 0
    while clock.now < 110:
        clock.now += max(0.0, bucket.book(bucket.piece_bytes)) + 0.003
        sent += bucket.piece_bytes
    assert abs(sent / 10 - 50e6) < 0.05 * 50e6


def test_a_pause_is_not_made_up_for() -> None:
    clock = Clock()
    bucket = TokenBucket(1000.0, clock=clock)
    bucket.book(100)
    clock.now += 60
    assert bucket.book(1000) <= 0
    assert 0.8 < bucket.book(1000) < 1


def test_a_new_limit_holds_at_once() -> None:
    clock = Clock()
    bucket = TokenBucket(1000.0, clock=clock)
    bucket.book(200)
    bucket.bytes_per_s = 100_000.0
    assert bucket.book(1000) < 0.11
    assert bucket.book(1000) < 0.12


def test_pieces_are_small_where_the_limit_is() -> None:
    assert TokenBucket(1000.0).piece_bytes == 4096
    assert TokenBucket(1e6).piece_bytes == 50_000
