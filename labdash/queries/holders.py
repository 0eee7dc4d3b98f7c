"""What holds the memory of each GPU of a sample, in bytes: as the bars show it, for history."""

from collections import Counter
from collections.abc import Mapping

from labdash.models import Node
from labdash.queries.bars import GpuView, loaded_models, view_gpus
from labdash.queries.lab import NodeView
from labdash.queries.library import Library
from labdash.queries.measured import MODEL, Held, fold
from workers import wire

# Quants and colours are no part of history.
_NO_LIBRARY = Library(families={}, quants={})


def held_by_gpu(sample: wire.Sample) -> Mapping[str, Held | None]:
    """Return what lies in each GPU's memory, by its uuid; ``None`` where nobody knows."""
    node = Node(slug=sample.node)
    view = NodeView(node=node, liveness="live", age_s=0.0, sample=sample)
    gpus = view_gpus(view, loaded_models(view, _NO_LIBRARY))
    return {gpu.reading.uuid: _held(gpu) for gpu in gpus}


def _held(gpu: GpuView) -> Held | None:
    if gpu.basis == "unknown":
        return None
    found: Counter[str] = Counter()
    for segment in gpu.bar.segments:
        if segment.kind != "free":
            key = f"{MODEL}{segment.label}" if segment.kind == "model" else segment.kind
            found[key] += segment.size_bytes
    return fold(found)
