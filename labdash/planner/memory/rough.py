"""Compute buffers by formula, for models whose graph is not known.

The block is taken to hold its input, what it adds and the residual, beside three tensors as wide
as its widest matrix: gate, up and their product. For a dense LLaMA that is what ggml allocates.
"""

from collections.abc import Iterator, Sequence

from labdash.planner.ggml import F16_BYTES, F32_BYTES, PLAIN_TYPES
from labdash.planner.memory.caches import Cells
from labdash.planner.memory.run import Run, Step
from labdash.planner.memory.scheduler import OFFLOAD_FROM_ROWS
from labdash.planner.memory.weights import Block, parts_of
from labdash.planner.model import Model
from labdash.planner.settings import HOST
from labdash.planner.shape import Layer

HELD_ROWS, HELD_WIDE_ROWS = 3, 3
MATRIX_DIMENSIONS = 2


def rough_bytes(model: Model, run: Run, cells: Cells) -> tuple[int, ...]:
    """Return the bytes of each GPU's compute buffer, the host's last."""
    return tuple(_device_bytes(model, run, cells, device) for device in _devices(run))


def _devices(run: Run) -> Sequence[int]:
    return [*range(run.rules.gpu_count), HOST]


def _device_bytes(model: Model, run: Run, cells: Cells, device: int) -> int:
    row = F32_BYTES * run.batch.tokens * model.shape.embd
    mask = _mask_bytes(run, cells)
    bodies = [_body_bytes(model, run, cells, step.block) for step in _steps(run, device)]
    output = run.batch.outputs * F32_BYTES * (model.shape.vocab + model.shape.embd)
    largest = max([*bodies, output if device == run.output else 0])
    if device == HOST:
        inputs = row * (2 if run.traits.mixed_batches else 1)
        return run.rules.copies * (mask + row) + inputs + largest
    if not largest:
        return 0
    copies = run.rules.copies
    inputs = copies * (mask + row * (2 if device else 1)) if copies > 1 else mask
    return inputs + largest + _offloaded_bytes(model, run, device)


def _steps(run: Run, device: int) -> list[Step]:
    """Tell the layers that a device computes: those of the host run on the first GPU as well."""
    helped = bool(run.rules.gpu_count) and run.rules.op_offload and _is_large(run)
    computed = {HOST: [] if helped else [HOST], 0: [0, HOST] if helped else [0]}
    return [step for step in run.steps if step.device in computed.get(device, [device])]


def _is_large(run: Run) -> bool:
    return run.batch.tokens >= OFFLOAD_FROM_ROWS


def _mask_bytes(run: Run, cells: Cells) -> int:
    each = F16_BYTES if run.batch.flash_attn else F32_BYTES
    return each * run.batch.tokens * cells.full


def _body_bytes(model: Model, run: Run, cells: Cells, index: int) -> int:
    layer, tokens = model.shape.layers[index], run.batch.tokens
    block = parts_of(model, run.moves).blocks[index]
    widest = max(_widths(model, block), default=0)
    held = HELD_ROWS * model.shape.embd + HELD_WIDE_ROWS * widest
    return F32_BYTES * tokens * held + _attention_bytes(run, cells, layer)


def _widths(model: Model, block: Block) -> Iterator[int]:
    """Tell how many elements each matrix makes of a token: experts, of those that are used."""
    experts = model.shape.experts
    for name, tensor in block.tensors.items():
        if "_exps" in name and experts is not None:
            # Either what each says twice, or gate, up and their product, and the other once.
            embd, ff = model.shape.embd, experts.ff
            yield max(2 * embd + ff, embd + 3 * ff) * experts.used // HELD_WIDE_ROWS
        elif name.endswith(".weight") and len(tensor.shape) >= MATRIX_DIMENSIONS:
            yield tensor.shape[1]


def _attention_bytes(run: Run, cells: Cells, layer: Layer) -> int:
    """Tell the scores of all heads, or the copies of quantised caches that a GPU makes."""
    if not layer.attention:
        return 0
    count = cells.window if layer.window else cells.full
    if not run.batch.flash_attn:
        return F32_BYTES * run.batch.tokens * count * layer.heads
    widths = ((run.batch.type_k, layer.key_width), (run.batch.type_v, layer.value_width))
    copied = sum(width for kind, width in widths if kind not in PLAIN_TYPES)
    return F16_BYTES * count * cells.streams * copied if run.traits.scratch else 0


def _offloaded_bytes(model: Model, run: Run, device: int) -> int:
    """Tell the largest weight that the first GPU takes from the host for a large batch."""
    if device or not run.rules.op_offload or not _is_large(run):
        return 0
    blocks = parts_of(model, run.moves).blocks
    hosted = [blocks[step.block] for step in run.steps if step.device == HOST]
    return max((t.bytes for block in hosted for t in block.tensors.values()), default=0)
