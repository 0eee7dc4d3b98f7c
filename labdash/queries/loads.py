"""What was loaded, kept and unloaded by hand, and one model of a node with what can be done."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from labdash.models import InstalledModel, Instance, LoadJob, LoadState, LoadWish
from labdash.models.load import LoadJobQuerySet
from labdash.queries.bars import LoadedView, loaded_models
from labdash.queries.lab import LabView, NodeView, read_lab
from labdash.queries.library import plain_name, read_library
from labdash.queries.problems import ProblemView, find_problems
from labdash.wording import GIB, MINUTE_S, lasted
from workers import wire
from workers.wire.loads import FOREVER_S

RECENT = 6
# The first version that pins a whole model to one GPU.
PINS_FROM = (0, 30)
# What Ollama takes where nobody sets a context: by the memory of all GPUs together, 5 % of GiB off.
_TIERS = ((47 * GIB, 262_144), (23 * GIB, 32_768), (0, 4096))
CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
# A model that Ollama keeps for ever leaves in some 290 years.
_FOR_EVER = timedelta(days=365 * 50)


@dataclass(frozen=True, kw_only=True)
class LoadView:
    """A job in words. ``where`` is set after a load; ``level`` is how it is coloured."""

    job: LoadJob
    node: str
    title: str
    words: str
    where: str
    level: str


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """One name on one server: what it is, whether it is in memory, and what was done to it.

    ``installed`` is ``None`` for a model that was deleted while it is in memory. ``pins`` says why
    it cannot be pinned where ``gpus`` is empty.
    """

    lab: LabView
    problems: tuple[ProblemView, ...]
    view: NodeView
    instance: Instance
    name: str
    installed: InstalledModel | None
    loaded: LoadedView | None
    leaves: str
    jobs: tuple[LoadView, ...]
    active: LoadView | None
    gpus: tuple[wire.GpuReading, ...]
    pins: str
    context_help: str
    most_context: int | None


def read_model(slug: str, name: str, server: str | None, *, now: datetime) -> ModelPage | None:
    """Read one model of a node, or ``None`` if neither disk nor memory of a server has it.

    Where no server is named, one that has it in memory is taken before others.
    """
    lab = read_lab(now=now)
    view = next((each for each in lab.nodes if each.node.slug == slug), None)
    if view is None:
        return None
    found = [
        (instance, loaded, installed)
        for instance in view.node.instances.all()
        if server in {None, "", instance.name}
        for loaded, installed in [_find(view, instance, name)]
        if loaded or installed
    ]
    found.sort(key=lambda each: each[1] is None)
    return _model_page(lab, view, *found[0]) if found else None


def _find(
    view: NodeView, instance: Instance, name: str
) -> tuple[LoadedView | None, InstalledModel | None]:
    """Find a name in a server's memory and on its disk."""
    wanted = plain_name(name).lower()
    loaded = next(
        (
            each
            for each in loaded_models(view, read_library())
            if each.instance == instance.name and each.name.lower() == wanted
        ),
        None,
    )
    rows = InstalledModel.objects.filter(instance=instance, is_cloud=False)
    installed = [
        row
        for row in rows.select_related("variant__family")
        if plain_name(row.name).lower() == wanted
    ]
    return loaded, installed[0] if installed else None


def _model_page(
    lab: LabView,
    view: NodeView,
    instance: Instance,
    loaded: LoadedView | None,
    installed: InstalledModel | None,
) -> ModelPage:
    full = installed.name if installed else loaded.model.name if loaded else ""
    jobs = _jobs().filter(instance=instance, model__iexact=full)[:RECENT]
    views = view_loads(jobs, now=lab.now)
    gpus, pins = _pins(view, instance)
    most = _most_context(installed)
    return ModelPage(
        lab=lab,
        problems=find_problems(lab),
        view=view,
        instance=instance,
        name=full,
        installed=installed,
        loaded=loaded,
        leaves=_leaves(loaded, _clock_of(view, lab.now)),
        jobs=tuple(each for each in views if not each.job.is_active),
        active=next((each for each in views if each.job.is_active), None),
        gpus=gpus,
        pins=pins,
        context_help=_default_context(view, instance, most)
        + (f" Its most is {most:,}." if most else ""),
        most_context=most,
    )


def loads_of_node(node_id: int, *, now: datetime, limit: int = RECENT) -> tuple[LoadView, ...]:
    """Return the newest jobs of a node."""
    return view_loads(_jobs().filter(instance__node_id=node_id)[:limit], now=now)


def active_loads(*, now: datetime) -> tuple[LoadView, ...]:
    """Return the jobs under way, on all nodes."""
    return view_loads(_jobs().active(), now=now)


def last_load(instance: Instance, model: str) -> LoadJob | None:
    """Return the load whose options a model in memory has, if LabDash loaded it last."""
    done = (LoadState.LOADED, LoadState.UNLOADED)
    jobs = LoadJob.objects.filter(instance=instance, model__iexact=model, state__in=done)
    last = jobs.exclude(wish=LoadWish.KEEP).first()
    return last if last and last.wish == LoadWish.LOAD else None


def view_loads(jobs: Iterable[LoadJob], *, now: datetime) -> tuple[LoadView, ...]:
    """Put into words how jobs stand."""
    return tuple(_view(job, now) for job in jobs)


def _jobs() -> LoadJobQuerySet:
    return LoadJob.objects.select_related("instance__node")


def _view(job: LoadJob, now: datetime) -> LoadView:
    return LoadView(
        job=job,
        node=job.instance.node.slug,
        title=_title(job),
        words=_words(job, now),
        where=_where(job),
        level=_level(job),
    )


def _title(job: LoadJob) -> str:
    verb = {LoadWish.LOAD: "Load", LoadWish.KEEP: "Keep", LoadWish.UNLOAD: "Unload"}
    return verb[LoadWish(job.wish)]


def _words(job: LoadJob, now: datetime) -> str:
    if job.is_active:
        if job.cancel_requested:
            return "cancelling"
        passed = lasted((now - job.created_at).total_seconds())
        doing = {LoadWish.LOAD: "loading", LoadWish.KEEP: "asking", LoadWish.UNLOAD: "unloading"}
        return f"{doing[LoadWish(job.wish)]} for {passed}"
    if job.state == LoadState.LOADED and job.wish == LoadWish.KEEP:
        return f"kept {kept_for(job.keep_s)}"
    return LoadState(job.state).label


def kept_for(keep_s: int) -> str:
    """Say how long a model stays after its last use."""
    return "for ever" if keep_s == FOREVER_S else f"for {_span(keep_s)} after its last use"


def _span(seconds: int) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds} s"
    minutes = seconds // MINUTE_S
    return f"{minutes} min" if minutes % 60 or minutes < 60 else f"{minutes // 60} h"  # noqa: PLR2004 - of an hour


def _level(job: LoadJob) -> str:
    if job.state == LoadState.FAILED:
        return "bad"
    if job.state == LoadState.LOADED and job.meaning:
        return "attention"
    return "good" if job.state in {LoadState.LOADED, LoadState.UNLOADED} else "quiet"


def _where(job: LoadJob) -> str:
    """Say where a loaded model lies: as measured, else as its server has it."""
    if job.size_bytes is None:
        return ""
    size, on_gpus = job.size_bytes / GIB, (job.size_vram_bytes or 0) / GIB
    context = f", context {job.context_length:,}" if job.context_length else ""
    measured = [
        f"{(used or 0) / GIB:.1f} GiB on GPU {index}" for index, _, used in job.gpus or () if used
    ]
    if measured:
        return f"{' and '.join(measured)} (measured){context}"
    if job.size_vram_bytes is None:
        return f"{size:.1f} GiB{context}"
    return f"{on_gpus:.1f} of {size:.1f} GiB on the GPU, as Ollama reports{context}"


def _clock_of(view: NodeView, now: datetime) -> datetime:
    """Return what the node's own clock shows, by which Ollama says when a model leaves."""
    return now + timedelta(seconds=view.node.clock_offset_s or 0)


def _leaves(loaded: LoadedView | None, now: datetime) -> str:
    """Say when a model in memory leaves it. ``now`` is of the clock of its node."""
    until = loaded.model.expires_at if loaded else None
    if until is None:
        return ""
    if until - now > _FOR_EVER:
        return "stays for ever"
    left_s = (until - now).total_seconds()
    return f"leaves in {lasted(left_s)} if it is not used" if left_s > 0 else "in use, or leaving"


def _version(view: NodeView, instance: Instance) -> tuple[int, ...] | None:
    readings = view.sample.instances if view.sample else ()
    told = next((each.version for each in readings if each.name == instance.name), None)
    parts = (told or instance.version or "").partition("-")[0].split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else None


def _pins(view: NodeView, instance: Instance) -> tuple[tuple[wire.GpuReading, ...], str]:
    """Return the GPUs that a load may be pinned to, or why there are none."""
    gpus = view.sample.gpus if view.sample else ()
    version = _version(view, instance)
    if version is None:
        return (), "Which Ollama this is was not told yet: from 0.30 on it can be pinned to a GPU."
    if version < PINS_FROM and version != (0, 0):
        return (), "Ollama pins a whole model to one GPU from 0.30 on; this server is older."
    if len(gpus) < 2:  # noqa: PLR2004 - with one there is nothing to choose
        return (), ""
    return tuple(gpus), ""


def _default_context(view: NodeView, instance: Instance, most: int | None) -> str:
    """Say what its server will choose where no context is given."""
    gpus = view.sample.gpus if view.sample else ()
    total = sum(gpu.memory_total_bytes or 0 for gpu in gpus)
    version = _version(view, instance)
    if version is None or version < PINS_FROM:
        return "Without one the model's or the server's own setting counts."
    tier = next(context for least, context in _TIERS if total >= least)
    return (
        "Without one, Ollama takes the model's or the server's own setting, else"
        f" {min(tier, most or tier):,} on this machine."
    )


def _most_context(installed: InstalledModel | None) -> int | None:
    return installed.variant.family.context_length if installed and installed.variant else None
