"""What Ollama decides by itself where neither request nor model says it.

Read in Ollama's ``server/sched.go``, ``llm/llama_server.go`` and ``server/routes.go`` of 0.32.15;
the tiers of the default context in the logs of servers of 12 to 102 GiB.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from labdash.planner.errors import PlannerError

GIB = 1 << 30
MIB = 1 << 20

type Version = tuple[int, int, int]
VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+][\w.+-]*)?")
# From here on each model runs in a llama-server and llama.cpp places its layers.
LLAMA_SERVER_SINCE: Version = (0, 30, 0)
TIERS_SINCE: Version = (0, 15, 5)

# GPU memory of the whole server from which a default context holds. The thresholds are a GiB
# below 24 and 48 because drivers keep a part.
CONTEXT_TIERS = ((47 * GIB, 262_144), (23 * GIB, 32_768), (0, 4096))
LEAST_CONTEXT = 4
LEAST_VISION_CONTEXT = 2048

# Batch, context above which it is wanted, share of the available memory that the prediction may
# take for it, and what it is taken to cost. All of it has to stay below MOST_SHARE.
MOST_SHARE = 80
BATCHES = ((2048, 32_768, 60, 2 * GIB), (1024, 4096, 75, 768 * MIB))
DEFAULT_BATCH = 512
CONSTRAINED_BATCH = 256
CONSTRAINED_GPU_BYTES = 8 * GIB
MOST_EMBEDDING_BATCH = 2048

# Architectures that Ollama gives one slot whatever OLLAMA_NUM_PARALLEL says.
ONE_SLOT = re.compile(r"mllama|qwen3vl|qwen35|qwen3next|lfm2|nemotron_h")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What Ollama takes a model for: no estimate, for it knows nothing of cache types or windows.

    ``heads_kv`` is the smallest and ``heads`` the largest of all layers.
    """

    file_bytes: int
    block_count: int
    heads_kv: int
    heads: int
    embd: int

    def bytes(self, ctx: int) -> int:
        """Predict for a context over all slots."""
        row = self.embd // self.heads * self.heads_kv
        return self.file_bytes + 2 * self.block_count * row * ctx * 2


def parse_version(text: str) -> Version:
    """Read ``0.32.15`` or ``0.33.0-rc2``. Raises ``PlannerError``."""
    match = VERSION.fullmatch(text.strip())
    if match is None:
        raise PlannerError(f"no version of Ollama: {text[:40]!r}")
    return int(match[1]), int(match[2]), int(match[3])


def default_ctx(gpu_bytes: int, version: Version) -> int:
    """Tell the context of a slot by the total memory of all GPUs, each less OLLAMA_GPU_OVERHEAD."""
    if version < TIERS_SINCE:
        return CONTEXT_TIERS[-1][1]
    return next(ctx for least, ctx in CONTEXT_TIERS if gpu_bytes >= least)


def slot_ctx(num_ctx: int, *, trained: int | None, vision: bool = False) -> int:
    """Clamp a context to what a model was trained with and to the least that Ollama starts."""
    least = LEAST_VISION_CONTEXT if vision else LEAST_CONTEXT
    ctx = max(num_ctx, least)
    return ctx if trained is None else min(ctx, trained)


def slots(arch: str, wanted: int, *, embedding: bool = False) -> int:
    """Tell how many requests a model serves at once where the server allows ``wanted``."""
    return 1 if embedding or ONE_SLOT.match(arch) else wanted


def automatic_batch(
    ctx: int,
    *,
    predicted_bytes: int,
    available_bytes: int,
    flash_attn: bool = True,
    cuda_gpu_bytes: Sequence[int] = (),
) -> int:
    """Choose ``num_batch`` of a model that completes text.

    ``ctx`` is the context over all slots, ``cuda_gpu_bytes`` the free memory of each CUDA GPU.
    """
    if not flash_attn and cuda_gpu_bytes:
        small = any(size <= CONSTRAINED_GPU_BYTES for size in cuda_gpu_bytes)
        return CONSTRAINED_BATCH if small and ctx > CONTEXT_TIERS[-1][1] else DEFAULT_BATCH
    most = available_bytes * MOST_SHARE // 100
    for batch, above, share, surcharge in BATCHES:
        fits = predicted_bytes <= available_bytes * share // 100
        if ctx > above and fits and predicted_bytes + surcharge <= most:
            return batch
    return DEFAULT_BATCH


def batch_surcharge(batch: int) -> int:
    """Tell the bytes that Ollama adds to its prediction for a batch."""
    return next((cost for least, _, _, cost in BATCHES if batch >= least), 0)


def embedding_batch(ctx: int) -> int:
    """Choose ``num_batch`` of a model that embeds text."""
    return min(MOST_EMBEDDING_BATCH, ctx)


def fits_one_gpu(predicted_bytes: int, free_bytes: int) -> bool:
    """Whether Ollama puts a model on one GPU rather than on all of them."""
    return predicted_bytes <= free_bytes * MOST_SHARE // 100
