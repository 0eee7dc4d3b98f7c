"""What Ollama's sizes leave out, beside the simulation's own sum."""

import pytest

from labdash.planner.placement import choices
from labdash.planner.placing.unseen import left_out_bytes
from labdash.planner.plan import Choice
from tests.labdash.planner.small_labs import deployment, lab, node
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


def test_cache_stays_on_the_gpu_where_only_experts_are_left_to_the_host() -> None:
    mixture = variant("gpt-oss:20b")
    wanted = deployment(mixture, ctx_wish=8192, offload_allowed=True)
    found = choices(lab(node("rog", 8.0)), wanted)
    left = next(each for each in found if each.form == "partial" and each.num_gpu is None)
    assert left.cpu_experts == left.cpu_layers > 0
    hidden = [cache.size_bytes * cache.hidden for cache in caches(request(NAMES[mixture.name]))]
    assert left_out_bytes(left) == sum(hidden) > 0


def test_nothing_is_left_out_of_a_model_without_a_window() -> None:
    assert left_out_bytes(choice("llama3.1:8b")) == 0
