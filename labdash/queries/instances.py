"""The Ollama servers of a node and what is installed on them."""

from collections import defaultdict
from dataclasses import dataclass

from labdash.models import InstalledModel, Instance
from labdash.queries.bars import loaded_models
from labdash.queries.lab import NodeView
from labdash.queries.library import Library, plain_name
from labdash.queries.visible import Seen, seen_by
from workers import wire


@dataclass(frozen=True, kw_only=True)
class InstalledRow:
    """A name on an instance. ``shares_with`` is another name of the same weights, if any."""

    installed: InstalledModel
    name: str
    colour: int
    is_loaded: bool
    shares_with: str


@dataclass(frozen=True, kw_only=True)
class InstanceView:
    """An Ollama server. ``weights_bytes`` counts weights that names share once.

    ``seen`` is which GPUs it sees, where that is known.
    """

    instance: Instance
    reading: wire.InstanceReading | None
    rows: tuple[InstalledRow, ...]
    cloud: tuple[InstalledModel, ...]
    weights_bytes: int
    seen: Seen | None


def view_instances(view: NodeView, library: Library) -> tuple[InstanceView, ...]:
    """Return the instances of a node with their models."""
    readings = {each.name: each for each in view.sample.instances} if view.sample else {}
    loaded = {(each.instance, each.name) for each in loaded_models(view, library)}
    installed = InstalledModel.objects.filter(instance__node=view.node).select_related("variant")
    models: defaultdict[int, list[InstalledModel]] = defaultdict(list)
    for model in sorted(installed, key=lambda each: (bool(each.parent_model), each.name)):
        models[model.instance_id].append(model)
    return tuple(
        _instance(
            instance,
            readings.get(instance.name),
            _rows(instance, models[instance.pk], loaded, library),
            view.sample.gpus if view.sample else (),
        )
        for instance in view.node.instances.all()
    )


def _instance(
    instance: Instance,
    reading: wire.InstanceReading | None,
    rows: list[InstalledRow],
    gpus: tuple[wire.GpuReading, ...],
) -> InstanceView:
    local = tuple(row for row in rows if not row.installed.is_cloud)
    return InstanceView(
        instance=instance,
        reading=reading,
        rows=local,
        cloud=tuple(row.installed for row in rows if row.installed.is_cloud),
        weights_bytes=sum(row.installed.size_bytes for row in local if not row.shares_with),
        seen=seen_by(reading, gpus) if reading else None,
    )


def _rows(
    instance: Instance,
    models: list[InstalledModel],
    loaded: set[tuple[str, str]],
    library: Library,
) -> list[InstalledRow]:
    first: dict[str, InstalledModel] = {}
    return [
        InstalledRow(
            installed=model,
            name=(name := plain_name(model.name)),
            colour=library.colour(name),
            is_loaded=(instance.name, name) in loaded,
            shares_with=_other(first.setdefault(weights_of(model), model), model),
        )
        for model in models
    ]


def _other(owner: InstalledModel, model: InstalledModel) -> str:
    return "" if owner is model else plain_name(owner.name)


def weights_of(model: InstalledModel) -> str:
    """Return what tells the weights of a name: those of its file, else the name's own manifest."""
    if model.variant and model.variant.blob_digest:
        return model.variant.blob_digest
    return model.digest
