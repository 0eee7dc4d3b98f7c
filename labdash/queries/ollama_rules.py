"""What may be wrong with the Ollama servers of a node, and with what they run."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from labdash.models import NodeKind
from labdash.planner.placing.inventory import plain
from labdash.queries.bars import NOTABLE_SHARE, cpu_share
from labdash.queries.lab import NodeView
from labdash.queries.problem_view import ProblemView, Severity, about
from labdash.wording import GIB, size
from workers import wire

# A 14b model at 4 bits is about 9 GiB: below this the next pull of a common size fails.
DISK_LOW_BYTES = 10 * GIB
# Below this the system itself is in danger.
DISK_FULL_BYTES = 2 * GIB

_START = {
    NodeKind.LINUX: "sudo systemctl start ollama",
    NodeKind.MAC: "open -a Ollama",
    NodeKind.WINDOWS: "start Ollama from the Start menu",
}
_INSTALL = {
    NodeKind.LINUX: "curl -fsSL https://ollama.com/install.sh | sh",
    NodeKind.MAC: "install the app from https://ollama.com/download",
    NodeKind.WINDOWS: "install the app from https://ollama.com/download",
}


def find(
    view: NodeView, sample: wire.Sample, *, on_cpu: Collection[tuple[str, str]] = ()
) -> Iterator[ProblemView]:
    """Yield what is wrong with the Ollama servers of a node that reports.

    ``on_cpu`` are models of which a plan minds that, by instance and name in small letters.
    """
    for reading in sample.instances:
        if reading.state == "ok":
            yield from _container(view, sample, reading)
            yield from _spilled(view, sample, reading, on_cpu)
            yield from _runner_gone(view, sample, reading)
            yield from _deleted(view, reading)
        else:
            yield _no_answer(view, reading)
    yield from _disks(view, sample)


def _runner_gone(
    view: NodeView, sample: wire.Sample, reading: wire.InstanceReading
) -> Iterator[ProblemView]:
    """Say when Ollama lists what is on no GPU: it notices a dead runner at the next request."""
    lists = [gpu.processes for gpu in sample.gpus]
    listed = [model for model in reading.loaded or () if model.size_vram_bytes]
    is_seen = reading.home == "process" and lists and all(each is not None for each in lists)
    if not listed or not is_seen or sample.driver.state != "ok":
        return
    processes = [process for each in lists for process in each or ()]
    # None at all: a worker in a container may be shown none. One of no name may be the runner.
    if not processes or any(process.name is None for process in processes):
        return
    held = {process.model for process in processes if process.model and not process.is_orphan}
    known = {model.name for each in sample.instances for model in each.loaded or ()}
    names = ", ".join(model.name for model in listed if model.name not in held)
    # A runner that is not listed is being loaded, or is one of these by another name.
    if not names or held - known:
        return
    text = f"{reading.name} on {view.node.slug} lists {names}, but no process of it is on a GPU."
    step = "If it lasts: its runner has died, and the next request loads it anew."
    yield about(view, "runner_gone", text, step, severity="info", subject=reading.name)


def _deleted(view: NodeView, reading: wire.InstanceReading) -> Iterator[ProblemView]:
    """Say of a model that outlived its name what frees the memory: it cannot be unloaded by it."""
    for model in reading.loaded or ():
        if model.is_deleted:
            text = f"{model.name} was deleted on {view.node.slug} and is still in memory."
            step = (
                "It leaves when its time ends. To free the memory now, pull it again and unload it,"
                " or restart Ollama."
            )
            subject = f"{reading.name} {model.name}"
            yield about(view, "model_deleted", text, step, severity="info", subject=subject)


def _no_answer(view: NodeView, reading: wire.InstanceReading) -> ProblemView:
    if reading.state == "refused":
        if _is_elsewhere(view, reading):
            return _not_listening(view, reading)
        return _not_running(view, reading)
    if reading.state in {"unreachable", "timeout"}:
        return _unreachable(view, reading)
    why = f": {reading.reason}" if reading.reason else "."
    text = f"What answers at {reading.url} is no healthy Ollama{why}"
    step = f"Open {reading.url}/api/version: it should show a version. Check the address."
    return about(view, "ollama_error", text, step, subject=reading.name)


def _is_elsewhere(view: NodeView, reading: wire.InstanceReading) -> bool:
    """Tell whether the server is asked over the network."""
    return view.node.agentless or reading.home == "remote"


def _machine(view: NodeView, reading: wire.InstanceReading) -> str:
    """Name the machine of a server: a worker may also ask one that is not its own."""
    return view.node.slug if view.node.agentless else urlsplit(reading.url).hostname or reading.url


def _not_listening(view: NodeView, reading: wire.InstanceReading) -> ProblemView:
    slug = _machine(view, reading)
    text = (
        f"{slug} is awake but refuses connections at {reading.url}: Ollama is not running there,"
        " or listens only on 127.0.0.1."
    )
    step = (
        f"On {slug}, set OLLAMA_HOST=0.0.0.0 for Ollama and restart it. That opens it to your"
        " whole network without a password: anybody there can use, load and delete models."
    )
    return about(view, "ollama_refused", text, step, severity="bad", subject=reading.name)


def _not_running(view: NodeView, reading: wire.InstanceReading) -> ProblemView:
    slug, kind = view.node.slug, NodeKind(view.node.kind)
    if reading.installed is False:
        text = f"Ollama is not installed on {slug}: nothing listens at {reading.url}."
        step = f"On {slug}: {_INSTALL[kind]}"
        return about(view, "ollama_missing", text, step, severity="bad", subject=reading.name)
    text = f"Ollama is not running on {slug}: nothing listens at {reading.url}."
    step = f"On {slug}: {_START[kind]}"
    return about(view, "ollama_stopped", text, step, severity="bad", subject=reading.name)


def _unreachable(view: NodeView, reading: wire.InstanceReading) -> ProblemView:
    if _is_elsewhere(view, reading):
        slug = _machine(view, reading)
        text = (
            f"{slug} does not answer at {reading.url}: it is asleep, off, or has another address."
        )
        step = f"Wake {slug}, or correct its address in Admin. A firewall may also drop the port."
    else:
        text = f"Ollama on {view.node.slug} does not answer at {reading.url} in time."
        step = "It may be loading a large model. If this stays: restart Ollama."
    return about(view, "ollama_unreachable", text, step, severity="bad", subject=reading.name)


def _container(
    view: NodeView, sample: wire.Sample, reading: wire.InstanceReading
) -> Iterator[ProblemView]:
    if reading.home != "container":
        return
    hidden = []
    if reading.disk is None:
        hidden.append("its files are not visible, so its disk is not measured")
    if _is_unnamed(sample, reading):
        hidden.append("its processes are not visible, so GPU memory cannot be told apart by model")
    if hidden:
        text = (
            f"Ollama at {reading.url} on {view.node.slug} runs in a container: {'; '.join(hidden)}."
        )
        step = "It works like this. To see all, install Ollama on the machine itself."
        yield about(view, "ollama_container", text, step, severity="info", subject=reading.name)


def _is_unnamed(sample: wire.Sample, reading: wire.InstanceReading) -> bool:
    """Tell whether GPUs tell of processes, and none could be named after a model that it runs."""
    models = {model.name for model in reading.loaded or () if model.size_vram_bytes}
    processes = [process for gpu in sample.gpus for process in gpu.processes or ()]
    return bool(models and processes) and not any(each.model in models for each in processes)


def _spilled(
    view: NodeView,
    sample: wire.Sample,
    reading: wire.InstanceReading,
    on_cpu: Collection[tuple[str, str]],
) -> Iterator[ProblemView]:
    """Find models that use the CPU though the node has GPUs and nobody planned it so."""
    if not sample.gpus:
        return
    for model in reading.loaded or ():
        if (reading.name, plain(model.name)) in on_cpu:
            continue
        share = cpu_share(model)
        if model.size_vram_bytes is None or share is None or share < NOTABLE_SHARE:
            continue
        on_cpu_bytes = model.size_bytes - model.size_vram_bytes
        subject = f"{reading.name} {model.name}"
        if model.size_vram_bytes <= 0:
            text = f"{model.name} runs on the CPU of {view.node.slug}, though there is a GPU."
            step = (
                "Unload it and load it again. If that does not help, restart Ollama: after a sleep"
                " or a driver update it may have lost the GPU."
            )
            yield about(view, "model_on_cpu", text, step, subject=subject)
        else:
            text = (
                f"{model.name} runs partly on the CPU of {view.node.slug}:"
                f" {size(on_cpu_bytes)} of its {size(model.size_bytes)} are in RAM,"
                " which slows every token."
            )
            step = "Unload something else, choose a smaller quant, or a shorter context (num_ctx)."
            yield about(view, "model_partly_on_cpu", text, step, subject=subject)


def _disks(view: NodeView, sample: wire.Sample) -> Iterator[ProblemView]:
    disks = {each.disk.path: each.disk for each in sample.instances if each.disk}
    for disk in disks.values():
        if disk.free_bytes < DISK_LOW_BYTES:
            text = (
                f"{size(disk.free_bytes)} of {size(disk.total_bytes)} are free"
                f" for models on {view.node.slug} ({disk.path})."
            )
            step = "On Pulls, under Storage: see what could go. Or move the store (OLLAMA_MODELS)."
            severity: Severity = "bad" if disk.free_bytes < DISK_FULL_BYTES else "attention"
            found = about(view, "disk_low", text, step, severity=severity, subject=disk.path)
            yield replace(found, page="pull_storage")
