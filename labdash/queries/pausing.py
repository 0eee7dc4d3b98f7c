"""What a pause may cost: Ollama deletes what lies unfinished for an hour when it starts."""

from collections.abc import Iterable

from labdash.models import Instance, PullJob, PullSettings, PullSource
from labdash.queries.lab import LabView, NodeView
from labdash.queries.schedule_targets import instances_of
from labdash.queries.schedule_words import listed
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
    instance = job.instance
    if job.source == PullSource.CACHE or keeps_unfinished(instance, _reading(instance, view)):
        return 0
    return job.done_bytes or 0


def who_deletes(places: Iterable[str], lab: LabView) -> str:
    """List the nodes and tags' machines on which a restart may cost what a window leaves undone.

    Nothing where the hub's cache keeps a copy.
    """
    if PullSettings.read().cache:
        return ""
    views = {view.node.pk: view for view in lab.nodes}
    slugs = dict.fromkeys(
        each.node.slug
        for each in instances_of(places)
        if not keeps_unfinished(each, _reading(each, views.get(each.node_id)))
    )
    return listed([*slugs])


def _reading(instance: Instance, view: NodeView | None) -> wire.InstanceReading | None:
    sample = view.sample if view else None
    readings = sample.instances if sample else ()
    return next((each for each in readings if each.url == instance.url), None)
