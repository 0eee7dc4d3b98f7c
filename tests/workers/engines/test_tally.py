import pytest

from workers.engines.stream import Line
from workers.engines.tally import MOST_LAYERS, Tally

MANIFEST = Line(status="pulling manifest")
VERIFYING = Line(status="verifying sha256 digest")


def layer(digest: str, total: int | None, completed: int | None = None) -> Line:
    return Line(status=f"pulling {digest}", digest=digest, total=total, completed=completed)


def feed(tally: Tally, *lines: Line, start: float = 0.0, step_s: float = 1.0) -> float:
    now = start
    for line in lines:
        tally.add(line, now=now)
        now += step_s
    return now - step_s


def test_bytes_add_up_over_layers_whose_last_line_is_below_their_total() -> None:
    tally = Tally(now=0)

    feed(tally, MANIFEST, layer("a", 1000), layer("a", 1000, 940), layer("b", 50, 20))

    assert (tally.done_bytes, tally.total_bytes, tally.missing_bytes) == (1020, 1050, 30)


def test_nothing_is_known_before_the_first_layer() -> None:
    tally = Tally(now=0)

    feed(tally, MANIFEST)

    assert (tally.phase, tally.done_bytes, tally.total_bytes) == ("starting", None, None)


def test_what_is_done_never_falls_when_ollama_drops_a_part() -> None:
    tally = Tally(now=0)
    done = []
    for completed in (100, 500, 200, None, 600):
        feed(tally, layer("a", 1000, completed))
        done.append(tally.done_bytes)

    assert done == [100, 500, 500, 500, 600]


def test_a_layer_that_is_there_already_counts_and_gives_no_speed() -> None:
    tally = Tally(now=0)

    now = feed(tally, layer("a", 1000, 1000), layer("b", 1000), layer("b", 1000, 100))

    assert tally.done_bytes == 1100
    assert tally.bytes_per_s(now=now) == 50.0
    assert tally.remaining_s(now=now) == 900 / 50


def test_what_came_and_what_was_found_are_told_apart() -> None:
    tally = Tally(now=0)
    assert (tally.arrived_bytes, tally.found_bytes) == (0, None)

    feed(tally, layer("a", 1000, 1000), layer("b", 1000, 100), layer("b", 1000, 400))
    tally.begin_again(now=5)
    feed(tally, layer("a", 1000, 1000), layer("b", 1000, 400), layer("b", 1000, 450), start=5)

    assert (tally.arrived_bytes, tally.found_bytes) == (350, 1100)


def test_what_was_there_before_a_reconnect_gives_no_speed() -> None:
    tally = Tally(now=0)
    now = feed(tally, layer("a", 1000, 300), layer("a", 1000, 400))
    tally.begin_again(now=now)

    now = feed(tally, MANIFEST, layer("a", 1000, 390), layer("a", 1000, 430), start=100)

    assert tally.done_bytes == 430
    assert tally.bytes_per_s(now=now) == 40.0


def test_speed_is_that_of_the_last_ten_seconds() -> None:
    tally = Tally(now=0)
    fast = [layer("a", 100_000, 1000 * second) for second in range(30)]
    slow = [layer("a", 100_000, 29_000 + 10 * second) for second in range(30)]

    now = feed(tally, *fast, *slow)

    assert tally.bytes_per_s(now=now) == pytest.approx(10.0)


def test_speed_falls_to_nothing_when_nothing_comes() -> None:
    tally = Tally(now=0)
    now = feed(tally, layer("a", 1000, 100), layer("a", 1000, 200))
    speeds = [tally.bytes_per_s(now=now + wait_s) for wait_s in (0, 3, 15)]

    assert speeds == [100.0, 25.0, 0.0]
    assert tally.remaining_s(now=now + 15) is None


def test_speed_is_unknown_at_first() -> None:
    tally = Tally(now=0)
    feed(tally, layer("a", 1000, 100), layer("a", 1000, 900), step_s=0.06)

    assert tally.bytes_per_s(now=0.1) is None


def test_verifying_means_that_all_layers_have_come() -> None:
    tally = Tally(now=0)

    now = feed(tally, layer("a", 1000, 900), VERIFYING)

    assert (tally.phase, tally.done_bytes, tally.missing_bytes) == ("verifying", 1000, 0)
    assert (tally.bytes_per_s(now=now), tally.remaining_s(now=now)) == (None, None)


@pytest.mark.parametrize("status", ["writing manifest", "removing unused layers"])
def test_the_rest_is_finishing(status: str) -> None:
    tally = Tally(now=0)

    feed(tally, layer("a", 1000, 900), VERIFYING, Line(status=status))

    assert tally.phase == "finishing"


def test_a_model_without_any_layer_line_still_gets_through_its_phases() -> None:
    tally = Tally(now=0)

    feed(tally, MANIFEST, VERIFYING)

    assert (tally.phase, tally.done_bytes, tally.total_bytes) == ("verifying", None, None)


def test_lines_without_a_size_are_a_download_of_unknown_size() -> None:
    tally = Tally(now=0)

    feed(tally, layer("a", None))

    assert (tally.phase, tally.done_bytes, tally.total_bytes) == ("downloading", None, None)


def test_bytes_and_records_are_told_apart() -> None:
    tally = Tally(now=0)
    lines = [layer("a", 1000, completed) for completed in (500, 600, 400, 500)]

    feed(tally, *lines, start=10)

    assert (tally.gained_at, tally.advanced_at) == (13, 11)


def test_the_same_line_again_is_no_gain() -> None:
    tally = Tally(now=0)

    feed(tally, *[layer("a", 1000, 500)] * 5, start=10)

    assert (tally.gained_at, tally.advanced_at) == (10, 10)


def test_an_unknown_status_changes_nothing() -> None:
    tally = Tally(now=0)

    feed(tally, layer("a", 1000, 500), Line(status="something new"))

    assert (tally.phase, tally.done_bytes) == ("downloading", 500)


def test_more_layers_than_a_model_can_have_are_not_kept() -> None:
    tally = Tally(now=0)
    for number in range(2 * MOST_LAYERS):
        tally.add(layer(f"{number}", 10), now=1)
    assert len(tally.layers) == MOST_LAYERS
