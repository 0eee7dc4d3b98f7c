"""What an engine is started with: the settings that decide over memory."""

from dataclasses import dataclass

from labdash.planner.memory.overhead import Vendor

# llama.cpp, common/arg.cpp: the cache types that a server admits.
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
ALL_LAYERS = -1
HOST = -1
# Patterns of tensors, and the GPU or the host that each goes to.
type Moves = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Gpu:
    """``free_bytes`` is None where no size was given. The rest tells what a process takes of it."""

    free_bytes: int | None = None
    vendor: Vendor | None = None
    sm_count: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """llama.cpp's own words, with the values that Ollama starts it with today as defaults.

    ``ctx`` is the total over all slots (``-c``), 0 for the context that the model was trained
    with. ``gpu_layers`` counts the output layer first; ``ALL_LAYERS`` is every layer.
    ``outputs`` is how many tokens of a batch get logits, None for one a slot and 0 for all.
    ``cpu_override`` is a regular expression of tensors that stay in the host's memory.
    ``moves`` is what ``--fit`` chose of that kind, also to other GPUs. ``pipeline`` says whether
    the GPUs can copy asynchronously. ``build`` is llama.cpp's number. ``dry_run`` asks what
    llama.cpp reports without allocating, as for ``--fit``: a load takes less of later GPUs.
    ``images_bytes`` is what reads images, with room for the largest (``seeing_bytes``): it lies on
    the first GPU, in the host's memory where there is none or it is kept off it.
    """

    build: int
    ctx: int = 4096
    parallel: int = 1
    unified_kv: bool = False
    flash_attn: bool = True
    type_k: str = "f16"
    type_v: str = "f16"
    batch: int = 512
    ubatch: int = 512
    gpu_layers: int = ALL_LAYERS
    gpus: tuple[Gpu, ...] = (Gpu(),)
    tensor_split: tuple[float, ...] | None = None
    outputs: int | None = None
    kv_offload: bool = True
    op_offload: bool = True
    swa_full: bool = False
    pipeline: bool = True
    cpu_override: str | None = None
    moves: Moves = ()
    dry_run: bool = True
    images_bytes: int = 0
    images_on_gpu: bool = True

    @property
    def all_moves(self) -> Moves:
        """Tensors that do not lie with their block, by pattern; the first that matches counts."""
        return ((self.cpu_override, HOST),) if self.cpu_override else self.moves
