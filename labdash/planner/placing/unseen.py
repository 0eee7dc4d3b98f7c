"""What Ollama's own sizes of a loaded model leave out.

Ollama adds up the lines of the engine's log, and of two caches of a GPU, as models with a sliding
window have them, the later line takes the place of the earlier one: that of the whole context.
"""

from labdash.planner.memory.caches import count_cells, layer_bytes
from labdash.planner.plan import Choice
from labdash.planner.settings import Settings


def left_out_bytes(choice: Choice) -> int:
    """Sum the caches on GPUs that ``/api/ps`` does not count, from Ollama 0.30 on."""
    shape = choice.variant.model.shape
    if not shape.window:
        return 0
    # Caches are the same in all builds.
    settings = Settings(
        build=0,
        ctx=choice.ctx * choice.parallel,
        parallel=choice.parallel,
        flash_attn=choice.flash_attn,
        type_k=choice.kv_type,
        type_v=choice.kv_type,
        batch=choice.num_batch,
        ubatch=choice.num_batch,
    )
    cells = count_cells(shape, settings)
    on_host = choice.cpu_layers - choice.cpu_experts
    return sum(
        layer_bytes(shape, layer, settings, cells, on_gpu=True)
        for layer in shape.layers[on_host:]
        if not layer.window
    )
