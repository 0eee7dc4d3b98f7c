"""How fast a load answers, from where its layers lie."""

from math import sqrt

import pytest

from labdash.planner.placing.pace import SLOW_RAM_GBS, expected_speed
from labdash.planner.reading import Device, bytes_read_per_layer
from labdash.planner.settings import Gpu, Settings
from labdash.planner.speed import RATES
from tests.labdash.planner.small_labs import BUILD, model_of

MODEL = model_of("llama3.1:8b")
FAST, SLOW = Device("", "nvidia", 936.0), Device("", "nvidia", 272.0)
NOTHING_CACHED = Settings(build=BUILD, ctx=1, gpus=(Gpu(),))


def test_the_middle_of_the_range_is_expected() -> None:
    found = expected_speed(MODEL, NOTHING_CACHED, [FAST], None)
    rates, read = RATES["nvidia"], sum(bytes_read_per_layer(MODEL))
    ends = [read / (rates.efficiency[end] * 936e9) + 33 * rates.layer_s[end] for end in range(2)]
    assert found == pytest.approx(1 / sqrt(ends[0] * ends[1]), rel=1e-3)


def test_ram_of_unknown_speed_has_the_lower_end_of_slow_modules() -> None:
    none = Settings(build=BUILD, ctx=1, gpus=())
    found = expected_speed(MODEL, none, [], None)
    rates, read = RATES["cpu"], sum(bytes_read_per_layer(MODEL))
    seconds = read / (rates.efficiency[0] * SLOW_RAM_GBS * 1e9) + 33 * rates.layer_s[0]
    assert found == pytest.approx(1 / seconds, rel=1e-3)


def test_a_slow_card_holds_up_a_fast_one() -> None:
    both = Settings(build=BUILD, gpus=(Gpu(20 << 30), Gpu(8 << 30)))
    alone = expected_speed(MODEL, NOTHING_CACHED, [FAST], None)
    joined = expected_speed(MODEL, both, [FAST, SLOW], None)
    assert alone is not None
    assert joined is not None
    # Two sevenths of the bytes at 272 GB/s, the rest at 936.
    assert joined / alone == pytest.approx(1 / (5 / 7 + 2 / 7 * 936 / 272), rel=0.1)


def test_the_fuller_the_cache_the_slower_up_to_what_is_usual() -> None:
    speeds = [
        expected_speed(MODEL, Settings(build=BUILD, ctx=ctx, gpus=(Gpu(),)), [FAST], None) or 0
        for ctx in (512, 4096, 32_768)
    ]
    assert speeds[0] > speeds[1] == speeds[2]


def test_a_card_of_unknown_speed_promises_nothing() -> None:
    assert expected_speed(MODEL, NOTHING_CACHED, [Device("", "nvidia", None)], 50.0) is None


def test_experts_on_the_host_are_read_from_ram() -> None:
    model = model_of("qwen3:30b")
    moved = Settings(build=BUILD, gpus=(Gpu(),), moves=((r"blk\.(\d|1\d)\.ffn_.*_exps", -1),))
    whole = expected_speed(model, Settings(build=BUILD, gpus=(Gpu(),)), [FAST], 50.0)
    part = expected_speed(model, moved, [FAST], 50.0)
    slower = expected_speed(model, moved, [FAST], 25.0)
    assert whole is not None
    assert part is not None
    assert slower is not None
    assert slower < part < whole
