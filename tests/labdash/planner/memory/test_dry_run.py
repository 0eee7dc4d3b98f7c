"""A load puts norms on their layers' GPUs; llama.cpp's dry run, which --fit goes by, forgets it.

Figures are those of llama.cpp b11434 with a stand-in for CUDA, the pins forgotten and kept.
"""

from dataclasses import replace

import pytest

from labdash.planner.memory.estimate import measure
from labdash.planner.memory.fit import fit
from labdash.planner.settings import Gpu, Settings
from tests.oracle import MIB, model

TWO = Settings(
    build=11434, ctx=8192, outputs=1, gpus=(Gpu(81920 * MIB), Gpu(81920 * MIB)), gpu_layers=999
)


@pytest.mark.parametrize(
    ("settings", "dry_mib", "loaded_mib"),
    [
        (TWO, 204.04, 172.04),
        (replace(TWO, kv_offload=False), 108.0, 112.0),
        (replace(TWO, batch=16, ubatch=16), 6.38, 5.38),
        (replace(TWO, batch=16, ubatch=16, gpu_layers=20), 3.38, 3.63),
        (replace(TWO, batch=1024, ubatch=1024, type_k="q8_0", type_v="q8_0"), 408.39, 344.39),
    ],
    ids=["pipeline", "cache in RAM", "small batch", "small batch, some layers", "quantised cache"],
)
def test_second_gpu_of_a_load_and_of_a_dry_run(
    settings: Settings, dry_mib: float, loaded_mib: float
) -> None:
    opened = model("llama-3.1-8b", "Q4_K_M")
    dry, loaded = measure(opened, settings), measure(opened, replace(settings, dry_run=False))
    assert dry.compute[1] / MIB == pytest.approx(dry_mib, abs=0.01)
    assert loaded.compute[1] / MIB == pytest.approx(loaded_mib, abs=0.01)
    assert (dry.compute[0], dry.weights, dry.kv) == (loaded.compute[0], loaded.weights, loaded.kv)


def test_fit_goes_by_the_dry_run_and_leaves_the_question_as_it_was() -> None:
    opened = model("llama-3.1-8b", "Q4_K_M")
    tight = replace(TWO, gpus=(Gpu(3000 * MIB), Gpu(3000 * MIB)), gpu_layers=-1, dry_run=False)
    chosen = fit(opened, tight, margin_bytes=0, ctx_is_free=False)
    same = fit(opened, replace(tight, dry_run=True), margin_bytes=0, ctx_is_free=False)
    assert replace(chosen.settings, dry_run=True) == same.settings
    assert not chosen.settings.dry_run
