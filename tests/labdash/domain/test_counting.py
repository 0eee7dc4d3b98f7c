"""What is done, and what was lost between two beginnings."""

from dataclasses import replace

from labdash.domain.counting import Counted, Told, count

HALF = Counted(done=500, total=1000, arrived=500)
ASKS = Told(arrived=0)


def test_what_arrives_is_done_and_never_falls() -> None:
    known = count(Counted(), Told(done=100, total=1000, arrived=100, found=0))
    assert known == Counted(done=100, total=1000, arrived=100)
    known = count(known, Told(done=60, total=1000, arrived=160, found=0))
    assert (known.done, known.lost) == (100, 0)


def test_a_worker_that_begins_again_and_finds_all_lost_nothing() -> None:
    known = count(HALF, ASKS)
    assert (known.done, known.kept, known.lost) == (500, 500, 0)
    known = count(known, Told(done=500, total=1000, arrived=0, found=500))
    assert (known.done, known.kept, known.lost) == (500, None, 0)


def test_what_ollama_deleted_meanwhile_is_counted_once_and_comes_again() -> None:
    known = count(HALF, ASKS)
    for arrived in (20, 40):
        known = count(known, Told(done=arrived, total=1000, arrived=arrived, found=0))
    assert (known.done, known.lost, known.kept) == (40, 500, None)


def test_nothing_is_judged_before_all_layers_are_known_again() -> None:
    known = count(replace(HALF, total=2000), ASKS)
    known = count(known, Told(done=100, total=1000, arrived=50, found=50))
    assert (known.done, known.lost, known.kept) == (500, 0, 500)
    known = count(known, Told(done=350, total=2000, arrived=50, found=300))
    assert (known.done, known.lost, known.kept) == (350, 200, None)


def test_a_second_beginning_judges_by_what_was_there_before_the_first() -> None:
    known = count(count(HALF, ASKS), Told(done=None, arrived=10))
    known = count(count(known, ASKS), Told(done=0, total=1000, arrived=0, found=0))
    assert (known.lost, known.done) == (500, 0)


def test_an_installed_model_is_whole_whatever_was_told() -> None:
    known = count(count(HALF, ASKS), Told(done=990, total=990, arrived=990, found=0, is_whole=True))
    assert (known.done, known.total, known.lost) == (990, 990, 500)
    assert count(HALF, Told(is_whole=True)).done == 1000


def test_an_older_worker_that_does_not_tell_what_it_found_loses_nothing() -> None:
    assert count(HALF, Told(done=10, total=1000)) == HALF
