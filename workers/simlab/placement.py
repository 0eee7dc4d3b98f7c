"""Where an Ollama version puts a model: the rules from 0.30 on, and those up to 0.24.

Sizes come from ``memory.py``. The rules are written down here a second time on purpose: what the
planner believes of an Ollama version is checked against this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.simlab.catalog import models
from workers.simlab.fit import split_by_engine
from workers.simlab.loads import LoadRefused, LoadRequest
from workers.simlab.memory import MIB, caches, compute, output_bytes, weights
from workers.simlab.old_planner import split_by_server
from workers.simlab.splits import Room, Split, needed_bytes

# A model is put on one GPU, or loaded beside others, where it is predicted to take this much.
PREDICTED_SHARE = 0.8
# What larger batches are expected to add.
BATCH_SURCHARGE = {1024: 768 * MIB, 2048: 2048 * MIB}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What goes where, in bytes, the CUDA contexts left out.

    ``size_bytes`` and ``size_vram_bytes`` are what the server itself believes.
    """

    by_gpu: dict[int, int]
    host_bytes: int
    gpu_layers: int
    layers: int
    size_bytes: int
    size_vram_bytes: int


def is_old(version: str) -> bool:
    """Whether the version still has its own planner."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) < (0, 30)


def predicted_bytes(request: LoadRequest) -> int:
    """Tell what Ollama itself expects, by a formula that is no estimate of the truth."""
    model = models()[request.model]
    prefix = f"{model.architecture}.attention"
    heads = int(model.metadata[f"{prefix}.head_count"])
    width = model.embedding_length // heads * int(model.metadata[f"{prefix}.head_count_kv"])
    context = min(request.context_length, model.context_length) * request.parallel
    return model.variants[request.quant].file_bytes + 4 * model.block_count * width * context


def must_evict(request: LoadRequest, rooms: Sequence[Room]) -> bool:
    """Apply the 80 % rule by which models from 0.30 on are evicted before a load."""
    model = models()[request.model]
    if not rooms or 0 <= request.num_gpu <= model.block_count:
        return False
    wanted = predicted_bytes(request) + BATCH_SURCHARGE.get(request.batch, 0)
    free = sum(room.free_bytes for room in visible(request, rooms))
    return wanted > PREDICTED_SHARE * free


def visible(request: LoadRequest, rooms: Sequence[Room]) -> list[Room]:
    """Choose the GPUs that the process may see, in the machine's order."""
    if request.main_gpu is not None:
        if request.main_gpu not in range(len(rooms)):
            raise LoadRefused(500, "llama-server process has terminated: exit status 1")
        return [rooms[request.main_gpu]]
    wanted = predicted_bytes(request)
    roomy = [room for room in rooms if wanted <= PREDICTED_SHARE * room.free_bytes]
    return [max(roomy, key=lambda room: room.free_bytes)] if roomy else list(rooms)


def place(
    request: LoadRequest, rooms: Sequence[Room], version: str, *, fit: bool = True
) -> Placement:
    """Place a model, or raise ``LoadRefused``. Without ``rooms`` it goes to the CPU.

    Without ``fit`` (``LLAMA_ARG_FIT=off``) nothing is left on the host that was not asked for.
    """
    if not rooms or request.num_gpu == 0:
        return _settle(request, {}, old=is_old(version))
    if is_old(version):
        return _settle(request, split_by_server(request, rooms), old=True)
    return _settle(request, split_by_engine(request, visible(request, rooms), fit=fit), old=False)


def _settle(request: LoadRequest, split: Split, *, old: bool) -> Placement:
    """Sum up a split, and tell what the server believes of it."""
    units = models()[request.model].block_count + 1
    gpu_layers = sum(len(part) for part in split.values())
    by_gpu = needed_bytes(request, split) if gpu_layers else {}
    host = _host_bytes(request, units - gpu_layers, devices=len(by_gpu))
    vram, size = sum(by_gpu.values()), sum(by_gpu.values()) + host
    if old:
        vram = size if gpu_layers == units else vram
    else:
        hidden = [cache.size_bytes * cache.hidden for cache in caches(request)]
        vram -= sum(hidden[units - gpu_layers :])
        size = vram if gpu_layers == units else size - sum(hidden)
    return Placement(
        by_gpu=by_gpu,
        host_bytes=host,
        gpu_layers=gpu_layers,
        layers=units,
        size_bytes=size,
        size_vram_bytes=vram,
    )


def _host_bytes(request: LoadRequest, host_units: int, *, devices: int) -> int:
    """Bytes in RAM: the token embedding, the units left behind, and the host's buffers.

    A process without a GPU builds the same graph as one with a single GPU, all in RAM.
    """
    parts = weights(request.model, request.quant)
    sizes = [cache.size_bytes for cache in caches(request)]
    layers = len(parts.host) - host_units
    buffers = compute(request, devices=devices or 1, layers=layers or len(parts.host))
    kept = parts.host_input + sum(parts.host[:host_units]) + sum(sizes[:host_units])
    return kept + (buffers[-1] if devices else sum(buffers)) + output_bytes(request)
