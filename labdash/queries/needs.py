"""What stands against deleting a name: plans, wishes, schedules, and what is under way."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labdash.models import (
    Deployment,
    InstalledModel,
    LoadJob,
    Move,
    NameJob,
    PullJob,
    PullSchedule,
    ScheduleWhat,
    Update,
    UpdateState,
)
from labdash.planner.placing.inventory import plain
from labdash.queries.lab import LabView
from labdash.queries.memory_now import models_on
from labdash.queries.schedule_targets import is_meant
from labdash.queries.shelf import find

type Key = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Need:
    """Why a name is not deleted by itself. ``binds``: nor by hand, before that is ended."""

    text: str
    binds: bool = False


type Claims = Iterator[tuple[Key, Need]]

IN_MEMORY = Need(text="it is in memory")
MOVED = Need(text="it is being moved", binds=True)


def read_needs(rows: Sequence[InstalledModel], lab: LabView) -> Mapping[int, tuple[Need, ...]]:
    """Return what needs each name, by its key; read with as many queries for many as for one."""
    claimed: defaultdict[Key, dict[Need, None]] = defaultdict(dict)
    standing = (*_memory(lab), *_plan(lab), *_under_way())
    for key, need in (*standing, *_made_of(rows), *_deployments(rows), *_schedules(rows)):
        claimed[key][need] = None
    return {row.pk: tuple(claimed.get(_key(row.instance_id, row.name), ())) for row in rows}


def _key(instance_id: int, name: str) -> Key:
    return (instance_id, plain(name))


def _memory(lab: LabView) -> Claims:
    for view in lab.nodes:
        for instance in view.node.instances.all():
            for model in models_on(view, instance.name) or ():
                yield _key(instance.pk, model.name), IN_MEMORY


def _plan(lab: LabView) -> Claims:
    for item in lab.served:
        for name in (item.model, item.served_name):
            served = f"the plan serves {item.deployment_name or name}"
            yield _key(item.instance_id, name), Need(text=served, binds=True)


def _under_way() -> Claims:
    """Yield what orders and jobs are about that have not ended."""
    pairs = (
        (PullJob.objects.active(), "it is being pulled"),
        (LoadJob.objects.active(), "it is being loaded or unloaded"),
        (NameJob.objects.active(), "another order about it is under way"),
    )
    for jobs, words in pairs:
        for key, name in jobs.values_list("instance_id", "model"):
            yield _key(key, name), Need(text=words, binds=True)
    for one, other, name in Move.objects.active().values_list("instance_id", "target_id", "model"):
        yield _key(one, name), MOVED
        yield _key(other, name), MOVED
    updated = Need(text="it is being updated", binds=True)
    unloaded = Need(text="its update was not loaded yet: settle that under Updates", binds=True)
    spare = Need(text="an update keeps it until the new version has loaded", binds=True)
    rows = Update.objects.active().values_list("instance_id", "model", "kept_name", "state")
    for key, name, kept, state in rows:
        yield _key(key, name), unloaded if state == UpdateState.TRYING else updated
        if kept:
            yield _key(key, kept), spare


def _made_of(rows: Iterable[InstalledModel]) -> Claims:
    for row in rows:
        if row.parent_model:
            made = Need(text=f"{plain(row.name)} was made of it")
            yield _key(row.instance_id, row.parent_model), made


def _deployments(rows: Iterable[InstalledModel]) -> Claims:
    """Yield the files that could serve what is wanted, whatever their quant."""
    wanted = list(Deployment.objects.values_list("name", "model"))
    models = {name: _model_of(model) for name, model in wanted}
    for row in rows:
        own = _model_of(row.name)
        for name, model in wanted:
            is_same = plain(model) == plain(row.name)
            if is_same or (own is not None and own == models[name]):
                wish = Need(text=f"{name} is wanted on Planner")
                yield _key(row.instance_id, row.name), wish


def _model_of(name: str) -> str | None:
    found = find(name)
    return found.model.name if found else None


def _schedules(rows: Iterable[InstalledModel]) -> Claims:
    """Yield the names that a schedule would pull again."""
    schedules = [
        (each, {plain(str(name)) for name in each.model_names})
        for each in PullSchedule.objects.filter(what=ScheduleWhat.MODELS)
    ]
    for row in rows:
        for schedule, names in schedules:
            if plain(row.name) in names and is_meant(row.instance.node, schedule.nodes):
                wish = Need(text=f"the schedule {schedule.name} pulls it")
                yield _key(row.instance_id, row.name), wish
