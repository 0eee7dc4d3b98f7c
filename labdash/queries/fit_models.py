"""The model that a page asks for by name: of the catalog, or installed in the lab."""

from collections.abc import Iterable
from dataclasses import dataclass

from labdash.catalog.models import RUNS_ELSEWHERE, CatalogModel, Found, find_model, models
from labdash.catalog.own import kept
from labdash.models import InstalledModel, Variant
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, find_file_type
from labdash.planner.model import Model
from labdash.planner.placing.inventory import is_cloud
from labdash.queries.library import plain_name
from labdash.queries.opening import DEFAULT_QUANT, requantized
from labdash.queries.snapshot import read_shelf
from labdash.queries.variants import (
    has_own_making,
    is_converted,
    model_of,
    projector_of,
    variants_of,
)

# What people choose among, the smallest first.
QUANTS = ("Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
LONGEST_NAME = 350
ELSEWHERE = "Press Ask to look for it where it is published, or choose its GGUF file"
READS_NO_IMAGES = "As it is installed in the lab it reads no images: nothing is counted for that."


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model with how it is known. ``own_quant`` is that of its file or its name, if any.

    ``notices`` say what was assumed. ``facts`` are what a page keeps of a model that neither the
    catalog nor the lab has. ``projector_bytes`` are those of the part that reads images, as
    published or reckoned from its parameters.
    """

    model: Model
    basis: str
    own_quant: str | None
    notices: tuple[str, ...] = ()
    facts: str = ""
    projector_bytes: int = 0
    is_projector_reckoned: bool = False

    def at(self, quant: str) -> Model:
        """Return it at another quant. Raises ``PlannerError`` where there is none such."""
        if quant == self.model.quant:
            return self.model
        return requantized(self.model, quant, imatrix=False)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A name that can be chosen, and what is known of it."""

    name: str
    note: str


def suggestions() -> tuple[Suggestion, ...]:
    """Return what is installed in the lab, then the catalog."""
    rows = InstalledModel.objects.in_use().filter(is_cloud=False).order_by("name")
    names = rows.values_list("name", "instance__node__slug")
    found: dict[str, list[str]] = {}
    for name, slug in names:
        found.setdefault(plain_name(name), []).append(slug)
    installed = [
        Suggestion(name=name, note=f"on {', '.join(dict.fromkeys(slugs))}")
        for name, slugs in found.items()
    ]
    known = [name for name in _catalog_names() if name not in found]
    return (*installed, *(Suggestion(name=name, note="") for name in known))


def _catalog_names() -> Iterable[str]:
    return (model.ollama or model.name for model in models() if model.metadata)


def choose(name: str, quant: str) -> Chosen:
    """Find a model. ``quant`` may be empty. Raises ``PlannerError`` with one line.

    A name is never a path: nothing of the hub's own disk is read.
    """
    written = " ".join(name.split())[:LONGEST_NAME]
    if not written:
        raise PlannerError("Write a model name, such as qwen3:8b, or choose a file.")
    if is_cloud(written):
        raise PlannerError(f"{RUNS_ELSEWHERE.format(written)}.")
    row = _installed(written)
    variant = row.variant if row else None
    try:
        found = find_model(written)
    except PlannerError as error:
        if row is None or variant is None:
            raise PlannerError(f"{error}. {ELSEWHERE}") from None
        found = _relative(row, variant)
    own = (variant.quant if variant else None) or found.quant
    wanted = quant or own or found.model.default_quant or DEFAULT_QUANT
    notices = [found.notice] if found.notice else []
    converted = has_own_making(found.model) and is_converted(written, found.model, read_shelf())
    model = choose_stock(found.model.name, _known(wanted, written), converted=converted)
    projector, is_reckoned = _projector(written, found.model, model)
    if not projector and projector_of(found.model, model)[0]:
        notices.append(READS_NO_IMAGES)
    return Chosen(
        model=model,
        basis=_basis(found.model, row),
        own_quant=own,
        notices=tuple(notices),
        projector_bytes=projector,
        is_projector_reckoned=is_reckoned,
    )


def _projector(name: str, known: CatalogModel, model: Model) -> tuple[int, bool]:
    """Size what reads images, as the planner does: nothing where the lab's files read none."""
    if "vision" not in known.capabilities:
        return 0, False
    try:
        (variant, *_) = variants_of(name, model.quant or "", model.quant or "", shelf=read_shelf())
    except PlannerError:
        return projector_of(known, model)
    return variant.projector_bytes, bool(variant.assumed)


def _installed(name: str) -> InstalledModel | None:
    wanted = plain_name(name).lower()
    rows = InstalledModel.objects.in_use().filter(is_cloud=False, name__istartswith=wanted)
    found = rows.select_related("variant__family", "instance__node").order_by("pk")
    return next((row for row in found if plain_name(row.name).lower() == wanted), None)


def _relative(row: InstalledModel, variant: Variant) -> Found:
    """Find an installed model by the family that its weights are of."""
    try:
        return find_model(variant.family.name)
    except PlannerError:
        raise PlannerError(
            f"{plain_name(row.name)} is installed, but the catalog does not know its shape: "
            "choose its GGUF file below"
        ) from None


def _known(quant: str, name: str) -> str:
    """Check a quant. Raises ``PlannerError``."""
    try:
        return find_file_type(quant).name
    except PlannerError:
        raise PlannerError(
            f"{name} is quantized as {quant[:20]}, of which LabDash cannot tell the tensors: "
            "choose its GGUF file below"
        ) from None


@kept(256)
def choose_stock(name: str, quant: str, *, converted: bool = False) -> Model:
    """Make a model of the catalog, one object for each. Raises ``PlannerError``.

    ``converted``: the file that llama-quantize makes, else the one that the library has.
    """
    known = next(model for model in models() if model.name == name)
    if not known.metadata:
        raise PlannerError(f"the shape of {name} is not known: choose its GGUF file below")
    return model_of(name, quant, converted=converted)


def _basis(known: CatalogModel, row: InstalledModel | None) -> str:
    text = f"by the catalog's shape of {known.name} and the rules of llama-quantize"
    if row is None:
        return text
    where = f"installed on {row.instance.node.slug}"
    return f"{where}, whose node does not tell its tensors: {text}"


def quants_of(chosen: Chosen) -> tuple[str, ...]:
    """Return the quants to compare, the smallest first, with the model's own among them."""
    own = chosen.model.quant
    names = QUANTS if own is None or own in QUANTS else (*QUANTS, own)
    smallest_first = list(reversed(FILE_TYPES))
    return tuple(sorted(names, key=lambda name: _rank(name, smallest_first)))


def _rank(name: str, order: list[str]) -> int:
    return order.index(name) if name in order else len(order)
