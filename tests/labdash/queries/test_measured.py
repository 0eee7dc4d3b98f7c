"""Times are put together by weight, and what is not known stays so."""

from typing import Any

import pytest

from labdash.queries.measured import MOST_MODELS, Measured, by_period, by_slot, fold, merge


def measured(average: float | None = None, **fields: Any) -> Measured:
    """Return a time of which the memory is known, and nothing else."""
    values = {
        "samples": 1,
        "averages": (average, None, None, None),
        "peaks": (average, None, None, None),
        "held": None,
        **fields,
    }
    return Measured(**values)


def test_averages_are_weighted_and_peaks_kept() -> None:
    found = merge([measured(10, samples=1), measured(40, samples=2)])
    assert (found.samples, found.averages[0], found.peaks[0]) == (3, 30, 40)


def test_what_is_not_known_weighs_nothing() -> None:
    found = merge([measured(10), measured(None, samples=99), measured(0)])
    assert (found.averages[0], found.peaks[0]) == (5, 10)
    assert found.averages[1:] == (None, None, None)


def test_a_model_that_is_gone_holds_nothing_where_it_is_known_what_does() -> None:
    parts = [measured(held={"model:a": 6}), measured(held={"other": 3}), measured(held=None)]
    assert merge(parts).held == {"model:a": 3, "other": 1.5}


def test_periods_begin_at_whole_multiples_and_are_in_order() -> None:
    found = by_period([(125, measured(1)), (59, measured(2)), (60, measured(3))], 60)
    assert list(found.items()) == [(0, measured(2)), (60, measured(3)), (120, measured(1))]


def test_a_slot_weighs_one_however_many_samples_it_has() -> None:
    moments = [(second, measured(second)) for second in (0, 1, 2, 3, 4, 5)]
    assert by_slot(moments) == [
        (0, measured(2, peaks=(4, None, None, None))),
        (5, measured(5)),
    ]


@pytest.mark.parametrize("count", [0, MOST_MODELS, MOST_MODELS + 3])
def test_the_smallest_of_many_models_are_other(count: int) -> None:
    held = {"reserve": 1, "other": 5, **{f"model:{size}": size for size in range(10, 10 + count)}}
    found = fold(held)
    models = {key for key in found if key.startswith("model:")}
    assert models == {f"model:{size}" for size in range(10, 10 + count)[-MOST_MODELS:]}
    assert (sum(found.values()), found["reserve"]) == (sum(held.values()), 1)


def test_made_up_models_do_not_pile_up_when_times_are_put_together() -> None:
    parts = [measured(held={f"model:{number}": 9}) for number in range(500)]
    found = merge(parts).held
    assert found is not None
    assert len(found) == MOST_MODELS + 1
    assert sum(found.values()) == pytest.approx(9)
