"""Projectors, draft models and adapters are counted where they lie."""

from dataclasses import replace

from labdash.planner.facts import Value
from labdash.planner.ggml import tensor_bytes
from labdash.planner.memory.companions import Companions, image_bytes
from labdash.planner.memory.estimate import estimate, measure
from labdash.planner.model import Model, Tensor
from labdash.planner.settings import Gpu, Settings
from tests.oracle import model

TWO = Settings(build=10488, ctx=8192, gpus=(Gpu(), Gpu()))
CLIP: dict[str, Value] = {
    "general.architecture": "clip",
    "clip.vision.image_size": 896,
    "clip.vision.patch_size": 14,
    "clip.vision.embedding_length": 1152,
    "clip.vision.feed_forward_length": 4304,
    "clip.vision.attention.head_count": 16,
}


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, "f16", tensor_bytes("f16", shape))


def test_projector_lies_on_the_first_gpu() -> None:
    projector = Model("mmproj", None, CLIP, (tensor("v.blk.0.attn_q.weight", 1152, 1152),), "file")
    plain = estimate(model("gemma-3-4b", "Q4_K_M"), TWO)
    seeing = estimate(model("gemma-3-4b", "Q4_K_M"), TWO, companions=Companions(projector))
    assert seeing.devices[1] == plain.devices[1]
    assert seeing.devices[0].weights_bytes - plain.devices[0].weights_bytes == 1152 * 1152 * 2
    assert seeing.devices[0].compute_bytes > plain.devices[0].compute_bytes


def test_image_without_flash_attention_needs_its_scores() -> None:
    patches = (896 // 14) ** 2
    more = image_bytes(CLIP, flash_attn=False) - image_bytes(CLIP, flash_attn=True)
    assert more == 4 * patches * patches * 16


def test_draft_model_is_a_second_model_with_the_same_context() -> None:
    big, small = model("qwen3-8b", "Q4_K_M"), model("qwen3-0.6b", "Q4_K_M")
    settings = replace(TWO, gpu_layers=10)
    both = estimate(big, settings, companions=Companions(draft=small))
    alone, draft = estimate(big, settings), measure(small, TWO)
    for index in range(2):
        more = both.devices[index].kv_bytes - alone.devices[index].kv_bytes
        assert more == draft.kv[index] > 0


def test_adapter_lies_beside_what_it_changes() -> None:
    last = tensor("blk.31.attn_q.weight.lora_a", 4096, 16)
    first = tensor("blk.0.attn_q.weight.lora_a", 4096, 16)
    base = model("llama-3.1-8b", "Q4_K_M")
    adapter = Model("lora", None, {}, (first, last), "file")
    settings = replace(TWO, gpu_layers=20)
    plain, adapted = (
        estimate(base, settings),
        estimate(base, settings, companions=Companions(adapters=(adapter,))),
    )
    before, after = (
        [*(device.weights_bytes for device in each.devices), each.host.weights_bytes]
        for each in (plain, adapted)
    )
    more = [now - then for now, then in zip(after, before, strict=True)]
    assert more == [0, last.bytes, first.bytes]
