"""Which models are where: families down, nodes across."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from labdash.models import InstalledModel, Instance
from labdash.queries.bars import loaded_models
from labdash.queries.lab import LabView, read_lab
from labdash.queries.library import Library, plain_name, read_library
from labdash.queries.problems import ProblemView, find_problems
from labdash.queries.pulls import JobView, active_jobs


@dataclass(frozen=True, kw_only=True)
class Present:
    """A name of a family on an instance. ``own_name`` is set where it says more than its quant."""

    pk: int
    name: str
    own_name: str
    quant: str
    size_bytes: int
    is_loaded: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A family on an instance: what is there, or what is on its way."""

    instance: Instance
    present: tuple[Present, ...]
    job: JobView | None


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """A family on all instances. ``pull_name`` is the name to pull where it is absent."""

    name: str
    colour: int
    details: str
    pull_name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class ModelsView:
    """The matrix. ``cloud`` are names that run elsewhere and hold no weights here."""

    lab: LabView
    problems: tuple[ProblemView, ...]
    instances: tuple[Instance, ...]
    rows: tuple[FamilyRow, ...]
    cloud: tuple[str, ...]
    total: int


def read_models(*, now: datetime, search: str = "") -> ModelsView:
    """Read the matrix, of the families whose name holds ``search`` alone."""
    lab = read_lab(now=now)
    instances = tuple(instance for view in lab.nodes for instance in view.node.instances.all())
    installed = list(InstalledModel.objects.in_use().select_related("variant__family"))
    rows = _rows(lab, instances, [model for model in installed if not model.is_cloud])
    wanted = search.strip().lower()
    return ModelsView(
        lab=lab,
        problems=find_problems(lab),
        instances=instances,
        rows=tuple(row for row in rows if wanted in row.name.lower()),
        cloud=tuple(sorted({model.name for model in installed if model.is_cloud})),
        total=len(rows),
    )


def family_name(model: InstalledModel) -> str:
    """Name the family of an installed model; where it is not known, the name stands for it."""
    return model.variant.family.name if model.variant else plain_name(model.name)


def _rows(
    lab: LabView, instances: tuple[Instance, ...], installed: Iterable[InstalledModel]
) -> list[FamilyRow]:
    library = read_library()
    loaded = _loaded(lab, library)
    jobs = _oldest(active_jobs(lab))
    families: defaultdict[str, list[InstalledModel]] = defaultdict(list)
    for model in installed:
        families[family_name(model)].append(model)
    return [
        FamilyRow(
            name=plain_name(name),
            colour=library.colour(models[0].name),
            details=_details(models[0]),
            pull_name=_pull_name(models),
            cells=tuple(_cell(instance, models, loaded, jobs) for instance in instances),
        )
        for name, models in sorted(families.items())
    ]


def _loaded(lab: LabView, library: Library) -> set[tuple[str, str, str]]:
    return {
        (view.node.slug, each.instance, each.name)
        for view in lab.nodes
        for each in loaded_models(view, library)
        if view.liveness != "silent"
    }


def _cell(
    instance: Instance,
    models: list[InstalledModel],
    loaded: set[tuple[str, str, str]],
    jobs: Mapping[tuple[int, str], JobView],
) -> Cell:
    keys = {(instance.pk, plain_name(model.name)) for model in models}
    where = (instance.node.slug, instance.name)
    return Cell(
        instance=instance,
        present=tuple(
            Present(
                pk=model.pk,
                name=(name := plain_name(model.name)),
                own_name="" if name.startswith(plain_name(family_name(model))) else name,
                quant=model.variant.quant if model.variant else "",
                size_bytes=model.size_bytes,
                is_loaded=(*where, name) in loaded,
            )
            for model in models
            if model.instance_id == instance.pk
        ),
        job=min(
            (jobs[key] for key in keys if key in jobs),
            key=lambda view: (view.job.created_at, view.job.pk),
            default=None,
        ),
    )


def _oldest(jobs: Iterable[JobView]) -> dict[tuple[int, str], JobView]:
    """Return the oldest job of each name on each server: a schedule may ask for thousands."""
    found: dict[tuple[int, str], JobView] = {}
    for view in jobs:
        found.setdefault((view.job.instance_id, plain_name(view.job.model)), view)
    return found


def _details(model: InstalledModel) -> str:
    family = model.variant.family if model.variant else None
    if family is None:
        return ""
    billions = f"{family.parameter_count / 1e9:.1f} B" if family.parameter_count else ""
    return " · ".join(part for part in (family.architecture, billions) if part)


def _pull_name(models: list[InstalledModel]) -> str:
    """Return the name under which most instances have it; a derived name cannot be pulled."""
    original = [model.name for model in models if not model.parent_model]
    return Counter(original).most_common(1)[0][0] if original else ""
