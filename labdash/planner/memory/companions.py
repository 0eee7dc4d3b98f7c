"""What is loaded beside a model: a projector for images, a draft model, adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from labdash.planner.facts import Value, count_or
from labdash.planner.ggml import F32_BYTES
from labdash.planner.memory.split import Split
from labdash.planner.memory.weights import gpu_bytes, host_bytes
from labdash.planner.model import Model, place_of
from labdash.planner.settings import ALL_LAYERS, HOST, Settings

# Where a projector takes images of any size: llama.cpp, clip.cpp, its usual limit of tokens, each
# of which stands for a square of four patches.
MOST_IMAGE_TOKENS, PATCHES_A_TOKEN = 4096, 4
DYNAMIC_PROJECTORS = ("qwen2vl", "qwen2.5vl", "qwen3vl", "pixtral", "lfm2", "kimivl", "glm4v")


@dataclass(frozen=True, slots=True)
class Companions:
    """``projector`` is an mmproj file, ``adapters`` are LoRA files, all as models of their own."""

    projector: Model | None = None
    draft: Model | None = None
    adapters: tuple[Model, ...] = ()


@dataclass(slots=True)
class Added:
    """Bytes beside the model's own: an entry a GPU, the host's last."""

    weights: list[int]
    kv: list[int]
    compute: list[int]


def nothing(settings: Settings) -> Added:
    """Begin with zeros."""
    empty = [0] * (len(settings.gpus) + 1)
    return Added(list(empty), list(empty), list(empty))


def add_projector(added: Added, projector: Model, settings: Settings) -> None:
    """Count a projector: all of it lies on the first GPU, with the graph of the largest image."""
    home = 0 if settings.gpus else HOST
    each = gpu_bytes if settings.gpus else host_bytes
    added.weights[home] += sum(map(each, projector.tensors))
    added.compute[home] += image_bytes(projector.metadata, flash_attn=settings.flash_attn)


# A projector of which no shape is known, for its largest image: half a GiB to one is usual
# (llama.cpp, clip.cpp, by the figures of Gemma 3 and Qwen-VL). The margin covers the rest.
USUAL_IMAGE_BYTES = 512 * 2**20


def seeing_bytes(
    projector_bytes: int, metadata: Mapping[str, Value], *, flash_attn: bool = True
) -> int:
    """Count a projector whose size is told and the graph of its largest image, 0 without one.

    ``metadata`` may be the model's own: it hardly ever tells the projector's shape.
    """
    if not projector_bytes:
        return 0
    return projector_bytes + (image_bytes(metadata, flash_attn=flash_attn) or USUAL_IMAGE_BYTES)


# Larger than any image or width of a projector.
MOST_PIXELS = 2**20


def image_bytes(metadata: Mapping[str, Value], *, flash_attn: bool) -> int:
    """Model the compute buffer of the largest image: activations of a block, and its scores."""

    def number(key: str) -> int:
        return count_or(metadata.get(f"clip.vision.{key}"), 0, most=MOST_PIXELS)

    patch = number("patch_size") or 1
    patches = (number("image_size") // patch) ** 2
    if str(metadata.get("clip.projector_type", "")).startswith(DYNAMIC_PROJECTORS):
        patches = max(patches, MOST_IMAGE_TOKENS * PATCHES_A_TOKEN)
    wide = 3 * number("feed_forward_length") + 4 * number("embedding_length")
    scores = 0 if flash_attn else patches * number("attention.head_count")
    return F32_BYTES * patches * (wide + scores)


def draft_settings(settings: Settings) -> Settings:
    """Load a draft model as llama.cpp does: all on the GPUs, the same context, its cache f16."""
    return replace(
        settings,
        gpu_layers=ALL_LAYERS,
        cpu_override=None,
        moves=(),
        tensor_split=None,
        type_k="f16",
        type_v="f16",
    )


def add_adapters(added: Added, adapters: Sequence[Model], split: Split) -> None:
    """Count adapters: each of their matrices lies beside the one that it changes."""
    for tensor in (tensor for adapter in adapters for tensor in adapter.tensors):
        index, _ = place_of(tensor.name)
        homes = (*split.layers, split.output)
        home = homes[-1 if index is None else min(index, len(homes) - 1)]
        added.weights[home] += host_bytes(tensor) if home == HOST else gpu_bytes(tensor)
