"""What Ollama's sizes leave out, beside the simulation's own sum."""

import pytest

from labdash.planner.placing.unseen import left_out_bytes
from labdash.planner.plan import Choice
from tests.planning.variants import variant
from tests.workers.simlab.loads import request
from workers.simlab.memory import caches

NAMES = {"gemma3:12b": "gemma-3-12b", "gpt-oss:20b": "gpt-oss-20b", "gemma2:9b": "gemma-2-9b"}


def choice(name: str, *, on_host: int = 0, ctx: int = 8192, slots: int = 1) -> Choice:
    found = variant(name)
    layers = found.model.shape.block_count + 1
    return Choice(
        variant=found,
        node="rog",
        instance="rog",
        form="partial" if on_host else "gpu",
        ctx=ctx,
        parallel=slots,
        kv_type="f16",
        flash_attn=True,
        num_batch=512,
        num_gpu=None,
        main_gpu=None,
        layers={"rog/0": layers - on_host, "rog/cpu": on_host},
        bytes={"rog/0": 1},
        host_bytes=0,
        predicted_bytes=0,
        margin_bytes=0,
        tokens_per_s=None,
        download_bytes=0,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("on_host", "slots"), [(0, 1), (0, 4), (10, 1)])
def test_cache_of_the_whole_context_is_what_is_left_out(
    name: str, on_host: int, slots: int
) -> None:
    asked = request(NAMES[name], quant=variant(name).quant, parallel=slots)
    hidden = [cache.size_bytes * cache.hidden for cache in caches(asked)]
    assert sum(hidden[on_host:]) > 0
    assert left_out_bytes(choice(name, on_host=on_host, slots=slots)) == sum(hidden[on_host:])


def test_nothing_is_left_out_of_a_model_without_a_window() -> None:
    assert left_out_bytes(choice("llama3.1:8b")) == 0
