"""What a pause may cost: Ollama deletes what lies unfinished for an hour when it starts."""

from labdash.models import Instance, PullJob, PullSource
from labdash.queries.lab import NodeView
from workers import wire

KEEPS = "OLLAMA_NOPRUNE"
# As Ollama reads a switch of its environment.
_OFF = {"", "0", "f", "false"}


def keeps_unfinished(instance: Instance, reading: wire.InstanceReading | None) -> bool | None:
    """Tell whether a server keeps unfinished downloads over a restart, None where unknown.

    By its process's settings, else by those that its owner declared.
    """
    if reading is not None and reading.settings is not None:
        named = (each.value for each in reading.settings if each.name == KEEPS)
        return next(named, "").strip().lower() not in _OFF
    if KEEPS in instance.declared_settings:
        return str(instance.declared_settings[KEEPS]).strip().lower() not in _OFF
    return None


def bytes_at_risk(job: PullJob, view: NodeView | None) -> int:
    """Return what a pause of more than an hour could cost, 0 for nothing.

    What comes from the hub's cache lies there still.
    """
    sample = view.sample if view else None
    reading = next(
        (each for each in (sample.instances if sample else ()) if each.url == job.instance.url),
        None,
    )
    if job.source == PullSource.CACHE or keeps_unfinished(job.instance, reading):
        return 0
    return job.done_bytes or 0
