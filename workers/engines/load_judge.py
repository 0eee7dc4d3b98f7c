"""What is to be said of a load that succeeded: spilled, elsewhere, or otherwise than asked."""

from dataclasses import dataclass

from workers.engines.where import Seen, gib, tell_room
from workers.wire import GpuReading, LoadOrder

# Half a percent is noise of host buffers.
NOTABLE_SHARE = 0.005


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``meaning`` is what the owner should know, if anything; ``has_spilled``: not all on GPUs."""

    meaning: str | None
    has_spilled: bool = False


def judge(order: LoadOrder, seen: Seen, before: tuple[GpuReading, ...]) -> Verdict:
    """Compare what was asked with what is."""
    if seen.entry is None:
        return Verdict(meaning="Ollama said that it is loaded, and does not list it any more.")
    spilled = _spill(seen, before) or _unseen(seen)
    # The room comes last: it is the longest, and a report's text is cut.
    room = tell_room(before) if spilled else ""
    notes = [spilled, _context(order, seen), _elsewhere(order, seen), room]
    told = " ".join(note for note in notes if note)
    return Verdict(meaning=told or None, has_spilled=bool(spilled))


def _spill(seen: Seen, before: tuple[GpuReading, ...]) -> str:
    entry = seen.entry
    if entry is None or entry.size_vram_bytes is None or not before:
        return ""
    if entry.size_bytes - entry.size_vram_bytes <= entry.size_bytes * NOTABLE_SHARE:
        return ""
    if not entry.size_vram_bytes:
        return f"All of its {gib(entry.size_bytes)} are on the CPU, though there is a GPU."
    return (
        f"{gib(entry.size_vram_bytes)} of {gib(entry.size_bytes)} are on the GPU, the rest on the"
        " CPU: expect it to be slow."
    )


def _unseen(seen: Seen) -> str:
    """Tell of a model that is on the GPU by Ollama's word alone.

    That no process of it is seen is no proof: whose a process is may not be told.
    """
    entry, used = seen.entry, seen.used_bytes
    if entry is None or not entry.size_vram_bytes or seen.place.gpus != () or used is None:
        return ""
    if used >= entry.size_vram_bytes:
        return ""
    return (
        f"Ollama reports {gib(entry.size_vram_bytes)} of it on the GPU, where by the driver no more"
        f" than {gib(used)} are in use: it runs on the CPU. Restart Ollama there."
    )


def _context(order: LoadOrder, seen: Seen) -> str:
    got = seen.entry.context_length if seen.entry else None
    if order.context is None or got is None or got == order.context:
        return ""
    return f"Its context is {got:,} tokens, not the {order.context:,} asked for."


def _elsewhere(order: LoadOrder, seen: Seen) -> str:
    """Tell of a model that is not where it was pinned to."""
    found = sorted({gpu.index for gpu in seen.place.gpus or ()})
    if order.main_gpu is None or not found or found == [order.main_gpu]:
        return ""
    where = ", ".join(str(index) for index in found)
    return (
        f"It was pinned to GPU {order.main_gpu} and lies on GPU {where}: Ollama may count the cards"
        " in another order. CUDA_DEVICE_ORDER=PCI_BUS_ID in its environment makes them agree."
    )
