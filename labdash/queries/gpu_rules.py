"""What may be wrong with a node's driver and GPUs."""

from collections.abc import Iterator

from labdash.models import NodeKind
from labdash.queries.lab import NodeView
from labdash.queries.problem_view import ProblemView, about
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
    if sample.driver.state in _DRIVER:
        yield _driver(view, sample.driver)
    elif sample.driver.state == "missing" and sample.driver.cards_seen:
        yield _card_without_driver(view, sample.driver.cards_seen)
    elif not sample.gpus and sample.driver.cards_seen != 0:
        yield _no_gpu(view, sample.driver)
    for gpu in sample.gpus:
        if gpu.state != "ok":
            yield _broken(view, gpu)


def _driver(view: NodeView, driver: wire.DriverReading) -> ProblemView:
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
    return about(
        view,
        "driver_missing",
        f"{slug} has {cards} and no driver, so its models run on the CPU.",
        "Install the driver (Debian: apt install nvidia-driver; Ubuntu: sudo ubuntu-drivers"
        " install) and restart.",
        severity="bad",
    )


def _no_gpu(view: NodeView, driver: wire.DriverReading) -> ProblemView:
    slug = view.node.slug
    if view.node.agentless:
        text = f"No GPU is declared for {slug}: what fits there is not known."
        return about(
            view, "no_gpu", text, f"Declare its GPUs in Admin, under {slug}.", severity="info"
        )
    if driver.state == "missing" and view.node.kind != NodeKind.MAC:
        text = f"{slug} has no GPU driver, so its models run on the CPU."
        step = (
            f"If {slug} has an NVIDIA card, install its driver (on Debian: nvidia-driver; on"
            " Ubuntu: sudo ubuntu-drivers install) and restart. Without a card all is well."
        )
        return about(view, "driver_missing", text, step, severity="info")
    text = f"No GPU was found on {slug}, so its models run on the CPU."
    step = f"If {slug} has one, check that it is seated and powered: lspci | grep -i -E 'vga|3d'"
    return about(view, "no_gpu", text, step, severity="info")


def _broken(view: NodeView, gpu: wire.GpuReading) -> ProblemView:
    slug, name = view.node.slug, f"GPU {gpu.index} ({gpu.name or 'unknown'})"
    why = f": {gpu.reason}" if gpu.reason else ""
    if gpu.state == "lost":
        text = f"{name} of {slug} is lost{why}. What it held is gone."
        step = f"Restart {slug}. If it comes again: check its power cables, riser and heat."
        return about(view, "gpu_lost", text, step, severity="bad", subject=gpu.uuid)
    text = f"{name} of {slug} cannot be read{why}."
    step = f"Run nvidia-smi on {slug}; if it reports the same, restart the machine."
    return about(view, "gpu_error", text, step, subject=gpu.uuid)
