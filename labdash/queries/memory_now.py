"""What lies in the memory of a node now, by device: models of its servers, and other programs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labdash.queries.bars import cpu_share
from labdash.queries.gpu_rules import readings_of
from labdash.queries.holders import held_by_gpu
from labdash.queries.lab import NodeView
from labdash.queries.library import plain_name
from labdash.queries.measured import OTHER
from workers import wire

# Runners of servers that LabDash does not know; their models are no other programs.
RUNNERS = frozenset({"llama-server", "ollama", "ollama_llama_server"})
# A model that Ollama keeps for ever leaves in some 290 years; nobody asks for so long.
STAYS_S = 365 * 86400.0
NAMELESS = "a program of unknown name"


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """A model that a server lists. ``held`` is measured, by device, None where nothing measures.

    ``cpu_share`` is None where the server does not tell. ``stays``: it does not go by itself.
    """

    name: str
    instance: str
    ctx: int | None
    held: Mapping[str, int] | None
    cpu_share: float | None
    size_bytes: int
    size_vram_bytes: int | None
    leaves_out_context: bool
    stays: bool

    @property
    def devices(self) -> frozenset[str] | None:
        """GPUs on which it was seen."""
        return None if self.held is None else frozenset(self.held)


def models_on(view: NodeView, instance: str) -> tuple[InMemory, ...] | None:
    """Return what a server has in memory; None where it does not answer."""
    reading = view.reading_of(instance)
    if view.sample is None or reading is None or reading.state != "ok" or reading.loaded is None:
        return None
    return tuple(_model(view.sample, view.node.slug, instance, each) for each in reading.loaded)


def others_on(view: NodeView) -> Mapping[str, Mapping[str, int]]:
    """Return the bytes of other programs by device and name, where the driver tells them."""
    if view.sample is None:
        return {}
    found = {}
    for gpu in readings_of(view.sample):
        sizes: Counter[str] = Counter()
        for process in gpu.processes or ():
            if not _is_runner(process) and process.used_bytes:
                sizes[process.name or NAMELESS] += process.used_bytes
        found[f"{view.node.slug}/{gpu.index}"] = dict(sizes)
    return found


def taken_by_others(view: NodeView) -> Mapping[int, int]:
    """Return the bytes of other programs by the number of the GPU, where that can be told.

    Where the driver tells no process's memory, it is what Ollama's models do not explain.
    """
    if view.sample is None:
        return {}
    held = held_by_gpu(view.sample)
    told = others_on(view)
    found = {}
    for gpu in readings_of(view.sample):
        sums, rest = told[f"{view.node.slug}/{gpu.index}"], held.get(gpu.uuid)
        is_told = gpu.processes is not None and all(
            process.used_bytes is not None for process in gpu.processes
        )
        if gpu.state != "ok" or gpu.source == "declared":
            continue
        if is_told:
            found[gpu.index] = sum(sums.values())
        elif rest is not None:
            found[gpu.index] = round(rest.get(OTHER, 0))
    return found


def free_bytes(view: NodeView) -> Mapping[str, int | None]:
    """Return what is free on each GPU that can be read."""
    if view.sample is None:
        return {}
    return {
        f"{view.node.slug}/{gpu.index}": None if gpu.state != "ok" else gpu.memory_free_bytes
        for gpu in readings_of(view.sample)
    }


def devices_of(sizes: Iterable[str]) -> frozenset[str]:
    """Leave the GPUs of a list of devices."""
    return frozenset(device for device in sizes if not device.endswith("/cpu"))


def why_down(view: NodeView, instance: str) -> str:
    """Say why a server of a node that reports cannot be asked, nothing where it answers."""
    reading = view.reading_of(instance)
    if reading is None:
        return f"Waits: {view.node.slug} has not told of {instance} yet."
    if reading.state != "ok":
        return f"Waits: Ollama ({instance}) on {view.node.slug} does not answer."
    return ""


def _is_runner(process: wire.GpuProcess) -> bool:
    name = (process.name or "").lower().removesuffix(".exe")
    return process.model is not None or name in RUNNERS


def _model(sample: wire.Sample, slug: str, instance: str, model: wire.LoadedModel) -> InMemory:
    until = model.expires_at
    return InMemory(
        name=model.name,
        instance=instance,
        ctx=model.context_length,
        held=_held(sample, slug, instance, model.name),
        cpu_share=cpu_share(model),
        size_bytes=model.size_bytes,
        size_vram_bytes=model.size_vram_bytes,
        leaves_out_context=model.leaves_out_context,
        stays=until is not None and (until - sample.sent_at).total_seconds() > STAYS_S,
    )


def _held(sample: wire.Sample, slug: str, instance: str, name: str) -> Mapping[str, int] | None:
    """Sum up what the driver shows of a model's runner; None where it shows none at all."""
    gpus = [gpu for gpu in readings_of(sample) if gpu.state == "ok" and gpu.processes is not None]
    sizes: Counter[str] = Counter()
    for gpu in gpus:
        for process in gpu.processes or ():
            if _is_of(process, instance, name):
                sizes[f"{slug}/{gpu.index}"] += process.used_bytes or 0
    return dict(sizes) if +sizes else None


def _is_of(process: wire.GpuProcess, instance: str, name: str) -> bool:
    if process.is_orphan or process.instance not in {None, instance}:
        return False
    return plain_name(process.model or "").lower() == plain_name(name).lower()
