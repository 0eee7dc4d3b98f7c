"""What may be wrong with a node's driver and GPUs."""

from collections.abc import Iterator

from labdash.models import NodeKind
from labdash.queries.lab import NodeView
from labdash.queries.problem_view import ProblemView, about
from labdash.wording import size
from workers import wire

# State of the driver → code, sentence, next step.
_DRIVER = {
    "not_loaded": (
        "driver_not_loaded",
        "The NVIDIA driver of {node} is installed but not loaded.",
        "Restart {node}, or run: sudo modprobe nvidia",
    ),
    "mismatch": (
        "driver_mismatch",
        "The NVIDIA driver of {node} was updated and the old one still runs.",
        "Restart {node}; until then its GPUs cannot be read.",
    ),
    "error": (
        "driver_error",
        "The GPU driver of {node} does not answer{why}.",
        "Run nvidia-smi on {node}; if it fails too, restart the machine.",
    ),
}


def find(view: NodeView, sample: wire.Sample) -> Iterator[ProblemView]:
    """Yield what is wrong with the GPUs of a node that reports."""
    driver = _driver(view, sample.driver)
    if driver:
        yield driver
    elif not sample.gpus and sample.driver.cards_seen != 0:
        yield _no_gpu(view, sample.driver)
    if (too_little := _declared_too_little(view, sample)) is not None:
        yield too_little
    for gpu in readings_of(sample):
        if gpu.state != "ok" and not (driver and _is_unread(gpu, sample.driver)):
            yield _broken(view, gpu)
        for process in gpu.processes or ():
            if process.is_orphan:
                yield _orphan(view, gpu, process)


def without_gpu(view: NodeView) -> ProblemView | None:
    """Say of a node that reports no GPU why that is and what to do.

    That a machine has no card is said where the machine is shown; it is no problem to be listed.
    """
    sample = view.sample
    if sample is None or sample.gpus:
        return None
    return _driver(view, sample.driver) or _no_gpu(view, sample.driver)


def readings_of(sample: wire.Sample) -> tuple[wire.GpuReading, ...]:
    """Return the GPUs of a sample. Of a card whose driver fails nobody knows that it is lost."""
    return tuple(
        gpu.model_copy(update={"state": "error", "reason": sample.driver.reason or gpu.reason})
        if gpu.state == "lost" and _is_unread(gpu, sample.driver)
        else gpu
        for gpu in sample.gpus
    )


def _is_unread(gpu: wire.GpuReading, driver: wire.DriverReading) -> bool:
    # The driver that a sample tells of is NVIDIA's wherever both makes are.
    return driver.state not in {"ok", "none"} and gpu.source != "amdgpu"


def _driver(view: NodeView, driver: wire.DriverReading) -> ProblemView | None:
    """Say what keeps the cards of a node from being read."""
    if driver.state == "missing" and driver.cards_seen:
        return _card_without_driver(view, driver.cards_seen)
    if driver.state not in _DRIVER:
        return None
    code, text, next_step = _DRIVER[driver.state]
    slug = view.node.slug
    why = f" ({driver.reason})" if driver.reason else ""
    return about(
        view,
        code,
        text.format(node=slug, why=why),
        next_step.format(node=slug),
        severity="bad",
    )


def _card_without_driver(view: NodeView, count: int) -> ProblemView:
    slug = view.node.slug
    cards = "an NVIDIA card" if count == 1 else f"{count} NVIDIA cards"
    others = view.sample is not None and any(gpu.state == "ok" for gpu in view.sample.gpus)
    unused = f"its models cannot use {'it' if count == 1 else 'them'}"
    result = unused if others else "its models run on the CPU"
    return about(
        view,
        "driver_missing",
        f"{slug} has {cards} and no driver, so {result}.",
        "Install the driver (Debian: apt install nvidia-driver; Ubuntu: sudo ubuntu-drivers"
        " install) and restart.",
        severity="bad",
    )


def _no_gpu(view: NodeView, driver: wire.DriverReading) -> ProblemView:
    slug = view.node.slug
    if driver.cards_asleep:
        text = f"The GPU of {slug} has slept since its worker started, and is not woken to be read."
        step = "What it is will be shown once a model or another program uses it."
        return about(view, "gpu_asleep", text, step, severity="info")
    if view.node.agentless:
        text = f"No GPU is declared for {slug}: what fits there is not known."
        return about(
            view, "no_gpu", text, f"Declare its GPUs in Admin, under {slug}.", severity="info"
        )
    if driver.state == "missing" and driver.cards_seen is None and view.node.kind != NodeKind.MAC:
        text = f"{slug} has no GPU driver, so its models run on the CPU."
        step = (
            f"If {slug} has an NVIDIA card, install its driver (on Debian: nvidia-driver; on"
            " Ubuntu: sudo ubuntu-drivers install) and restart. Without a card all is well."
        )
        return about(view, "driver_missing", text, step, severity="info")
    text = f"No GPU was found on {slug}, so its models run on the CPU."
    look = ": lspci | grep -i -E 'vga|3d'" if view.node.kind == NodeKind.LINUX else "."
    step = (
        "Small models suit it, such as qwen3:4b. If it has a card, check that it is seated and"
        f" powered{look}"
    )
    return about(view, "no_gpu", text, step, severity="info")


def _declared_too_little(view: NodeView, sample: wire.Sample) -> ProblemView | None:
    """Say when Ollama tells of more on the GPUs than their declared memory."""
    declared = sum(gpu.memory_total_bytes or 0 for gpu in sample.gpus if gpu.source == "declared")
    loaded = [model for reading in sample.instances for model in reading.loaded or ()]
    held = sum(model.size_vram_bytes or 0 for model in loaded)
    if not declared or held <= declared:
        return None
    slug = view.node.slug
    text = f"{slug} holds {size(held)} on its GPUs: more than the {size(declared)} declared for it."
    step = f"Declare all its GPUs in Admin, under {slug}."
    return about(view, "declared_too_little", text, step, severity="info")


def _orphan(view: NodeView, gpu: wire.GpuReading, process: wire.GpuProcess) -> ProblemView:
    """Say of a runner that outlived its server what frees the memory: no server ends it."""
    slug = view.node.slug
    held = "memory" if process.used_bytes is None else size(process.used_bytes)
    text = (
        f"{process.name or 'A runner'} on {slug} has lost its Ollama and holds {held} of GPU"
        f" {gpu.index} with {process.model}."
    )
    step = f"End it on {slug}: kill {process.pid}"
    return about(view, "orphan", text, step, subject=f"{gpu.uuid} {process.pid}")


def _broken(view: NodeView, gpu: wire.GpuReading) -> ProblemView:
    slug, name = view.node.slug, f"GPU {gpu.index} ({gpu.name or 'unknown'})"
    why = f": {gpu.reason}" if gpu.reason else ""
    if gpu.state == "lost":
        # Numbers change when a card is gone; its place on the bus tells twins apart.
        place = f" at {gpu.pci_id}" if gpu.pci_id else ""
        text = f"{name}{place} of {slug} is lost{why}. Ollama may still list what it held."
        step = f"Restart {slug}. If it comes again: check its power cables, riser and heat."
        return about(view, "gpu_lost", text, step, severity="bad", subject=gpu.uuid)
    text = f"{name} of {slug} cannot be read{why}."
    step = f"Run nvidia-smi on {slug}; if it reports the same, restart the machine."
    return about(view, "gpu_error", text, step, subject=gpu.uuid)
