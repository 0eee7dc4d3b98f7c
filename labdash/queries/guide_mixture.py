"""Mixtures of experts: all in memory, a few at work. The reader's own comes before an example."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from labdash.catalog.models import CatalogModel, find_model
from labdash.models import InstalledModel
from labdash.planner.errors import PlannerError
from labdash.queries.bars import GpuView, loaded_models, view_gpus
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import SIZES, Cell, cell_at
from labdash.queries.guide_places import usual_places
from labdash.queries.lab import LabView
from labdash.queries.library import Library, plain_name
from labdash.queries.opening import DEFAULT_QUANT
from labdash.queries.variants import own_quant

MIXTURE = "qwen3:30b"
PLACES = ("rtx-3090", "m4-max-64", "mini-pc")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a machine holds of a model now. ``is_measured``: by its driver, not by Ollama's word."""

    size_bytes: int
    is_measured: bool


@dataclass(frozen=True, kw_only=True)
class MixtureRow:
    """Both models on one machine. ``held`` is None where the mixture is not loaded there."""

    place: Place
    dense: Cell
    mixture: Cell
    held: Held | None = None


@dataclass(frozen=True, kw_only=True)
class Mixtures:
    """A mixture of experts beside the dense model that is nearest in size.

    Parameters are in billions. ``nodes`` are the reader's that have the mixture.
    """

    mixture: str
    total: float
    active: float
    dense: str
    dense_total: float
    nodes: tuple[str, ...]
    rows: tuple[MixtureRow, ...]


def read_mixtures(lab: LabView, library: Library, own: Sequence[Place], context: int) -> Mixtures:
    """Return the mixture that the reader's machines have, else a usual one, on several machines."""
    held = _held(lab, library)
    nodes_of = _installed()
    name = min(nodes_of, key=lambda each: _order(each, held), default=MIXTURE)
    known, dense = find_model(name).model, _nearest_dense(name)
    nodes = nodes_of.get(name, ())
    mine = [each for each in own if each.node in nodes]
    usual = [each for each in usual_places() if each.key in PLACES]
    return Mixtures(
        mixture=name,
        total=_billions(known.params_total),
        active=_billions(known.params_active),
        dense=dense,
        dense_total=_billions(find_model(dense).model.params_total),
        nodes=tuple(each.node for each in mine),
        rows=tuple(
            MixtureRow(
                place=place,
                dense=cell_at(dense, DEFAULT_QUANT, place, context),
                mixture=cell_at(name, own_quant(name), place, context),
                held=held.get((place.node, name)),
            )
            for place in (*mine, *usual)
        ),
    )


def _installed() -> Mapping[str, tuple[str, ...]]:
    """Return the mixtures that the lab has, each with its nodes."""
    rows = InstalledModel.objects.in_use().filter(is_cloud=False).order_by("name")
    nodes_of: dict[str, list[str]] = defaultdict(list)
    for name, slug in rows.values_list("name", "instance__node__slug"):
        nodes_of[plain_name(name)].append(slug)
    return {name: tuple(nodes) for name, nodes in nodes_of.items() if _is_mixture(name)}


def _is_mixture(name: str) -> bool:
    try:
        known = find_model(name).model
        own_quant(name)
    except PlannerError:
        return False
    return bool(known.metadata) and bool(known.params_total) and _is_sparse(known)


def _is_sparse(known: CatalogModel) -> bool:
    return bool(known.params_active) and (known.params_active or 0) < (known.params_total or 0)


def _order(name: str, held: Mapping[tuple[str, str], Held]) -> tuple[bool, bool, str]:
    """Put what is in memory now first, then the usual example."""
    return not any(each == name for _, each in held), name != MIXTURE, name


def _nearest_dense(name: str) -> str:
    total = find_model(name).model.params_total or 1
    dense = (find_model(each).model for each in SIZES)
    found = min(
        (each for each in dense if not _is_sparse(each)),
        key=lambda each: abs(log((each.params_total or 1) / total)),
    )
    return found.ollama or found.name


def _held(lab: LabView, library: Library) -> dict[tuple[str, str], Held]:
    """Tell what each node's GPUs hold of each model."""
    found = {}
    for view in lab.nodes:
        gpus = view_gpus(view, loaded_models(view, library))
        for name in {part.label for gpu in gpus for part in gpu.bar.segments}:
            if size := sum(_size(gpu, name) for gpu in gpus):
                holders = [gpu for gpu in gpus if _size(gpu, name)]
                found[view.node.slug, name] = Held(
                    size_bytes=size, is_measured=all(map(_is_measured, holders))
                )
    return found


def _is_measured(gpu: GpuView) -> bool:
    return gpu.basis == "measured" and not gpu.is_word


def _size(gpu: GpuView, name: str) -> int:
    parts: Iterable[int] = (
        part.size_bytes for part in gpu.bar.segments if part.kind == "model" and part.label == name
    )
    return sum(parts)


def _billions(params: int | None) -> float:
    return (params or 0) / 1e9
