"""The catalog to browse: families with their sizes, what they can do and what the lab can serve."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import prod
from time import monotonic

from labdash.catalog.models import CatalogModel, PublishedFile, models
from labdash.planner.errors import PlannerError
from labdash.queries.catalog_fits import (
    CONTEXT,
    ORDER,
    Kind,
    LabFit,
    file_fit,
    lab_fit,
    lab_places,
    usual_quant,
)
from labdash.queries.catalog_making import idle_params
from labdash.queries.fit_models import choose_stock
from labdash.queries.fit_places import Place
from labdash.queries.lab import read_lab
from labdash.queries.library import read_library
from labdash.queries.quant_ladder import known_quant
from labdash.sources.registry import address_of

# What people look for; nearly all can chat.
SOUGHT = ("tools", "vision", "thinking", "code", "embedding")
# Billions of parameters, and what a page calls "more".
SIZES = (2, 4, 9, 15, 35, 75)
LARGER = "more"
UNTOLD = "unknown"
# From here on a decimal tells nothing.
MANY = 100


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is looked for. ``most`` is a number of billions, ``more``, or empty for any size."""

    words: str = ""
    fits: bool = False
    can: frozenset[str] = frozenset()
    most: str = ""
    licence: str = ""
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class File:
    """A published file in this lab. ``quant`` is as llama-quantize writes it.

    ``fit`` is None where the quant is not told. ``pull`` names it for Ollama, where it can.
    """

    known: PublishedFile
    quant: str | None
    fit: LabFit | None

    @property
    def pull(self) -> str:
        """Return the name by which it is pulled, nothing where the catalog has none."""
        return self.known.file if ":" in self.known.file and " " not in self.known.file else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model of the catalog in this lab. ``fit`` is None until it is worked out.

    ``files`` are told of where one family is looked at.
    """

    model: CatalogModel
    fit: LabFit | None
    files: tuple[File, ...] = ()

    @property
    def kind(self) -> Kind:
        """Tell what becomes of it, unknown as long as nobody has worked it out."""
        return self.fit.kind if self.fit else "unknown"

    @property
    def name(self) -> str:
        """Return the tag of the library, else a file on Hugging Face, else the catalog's name."""
        return self.model.ollama or self._published or self.model.name

    @property
    def is_published(self) -> bool:
        """Whether there is a name to pull it by: of what LabDash comes with, the usual one."""
        return not self.model.own or self.name != self.model.name or "/" in self.model.hf_repo

    @property
    def can_be_planned(self) -> bool:
        """Whether Ollama would take its name: an own entry's may have spaces."""
        try:
            address_of(self.name)
        except PlannerError:
            return False
        return True

    @property
    def can_more(self) -> bool:
        """Whether more than its capabilities is likely: only the library tells all of them."""
        return not self.model.own and not self.model.ollama

    @property
    def context(self) -> int | None:
        """Tell what it was trained with."""
        found = self.model.metadata.get(f"{self.model.arch}.context_length")
        return found if isinstance(found, int) else None

    @property
    def tried(self) -> int:
        """Return the context of the verdict: no more than it was trained with."""
        return min(CONTEXT, self.context or CONTEXT)

    @property
    def layers(self) -> int | None:
        """Count its blocks."""
        found = self.model.metadata.get(f"{self.model.arch}.block_count")
        return found if isinstance(found, int) else None

    @property
    def billions(self) -> str:
        """Write its parameters."""
        return _billions(self.model.params_total)

    @property
    def active(self) -> str:
        """Write how many of them a token uses, nothing where it uses all."""
        told = self.model.params_active or _active(self.model)
        return _billions(told) if told else ""

    @property
    def _published(self) -> str | None:
        return next((f.file for f in self.model.files if f.file.startswith("hf.co/")), None)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family with those of its models that are shown, the smallest first."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def sizes(self) -> str:
        """Write the parameters of its models."""
        return " · ".join(
            dict.fromkeys(each.billions.replace(" ", "\xa0") for each in self.entries)
        )

    @property
    def context(self) -> int | None:
        """Tell the longest context that one of them was trained with."""
        return max((each.context for each in self.entries if each.context), default=None)

    @property
    def can(self) -> tuple[str, ...]:
        """List what any of them can."""
        found = {word for each in self.entries for word in each.model.capabilities}
        return tuple(word for word in ("chat", *SOUGHT, "audio") if word in found)

    @property
    def licences(self) -> tuple[str, ...]:
        """List their licences."""
        return tuple(dict.fromkeys(each.model.license or "" for each in self.entries))

    @property
    def best(self) -> Entry:
        """Return the largest that fits whole, else what comes nearest to it."""
        return min(self.entries, key=_worth)


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What the filters leave. ``total`` counts all models, ``fitting`` those that fit whole.

    ``open`` counts those of which it is not worked out yet what becomes of them.
    """

    families: tuple[Family, ...]
    total: int
    shown: int
    fitting: int
    open: int
    has_lab: bool


def read_catalog(filters: Filters, *, now: datetime, patience_s: float) -> Catalog:
    """Read the families of which the filters leave a model.

    After a start of the hub it takes seconds to work out what fits: what is not done when the
    patience is over stays open, and is done when the same is asked again.
    """
    places = lab_places(read_lab(now=now), read_library())
    until = monotonic() + patience_s
    entries = [
        Entry(model=model, fit=lab_fit(model, places) if monotonic() < until else None)
        for model in _in_order(model for model in models() if _is_wanted(model, filters))
    ]
    shown = [each for each in entries if each.kind == "whole"] if filters.fits else entries
    return Catalog(
        families=_families(shown),
        total=len(models()),
        shown=len(shown),
        fitting=sum(each.kind == "whole" for each in shown),
        open=sum(each.fit is None for each in entries),
        has_lab=bool(places),
    )


def find_named(name: str) -> CatalogModel | None:
    """Find the model of exactly this name, in any case, None where there is none."""
    return next((each for each in models() if each.name.lower() == name.lower()), None)


def read_family(name: str, *, now: datetime, patience_s: float) -> Family | None:
    """Read one family with all its models, None where there is none of the name.

    What is not worked out when the patience is over stays open, as in the list.
    """
    members = [model for model in models() if model.family.lower() == name.lower()]
    if not members:
        return None
    places = lab_places(read_lab(now=now), read_library())
    until = monotonic() + patience_s
    entries = (
        Entry(model=model, fit=lab_fit(model, places), files=_files(model, places))
        if monotonic() < until
        else Entry(model=model, fit=None)
        for model in sorted(members, key=_size)
    )
    return Family(name=members[0].family, entries=tuple(entries))


def licences() -> tuple[str, ...]:
    """Return all licences of the catalog, the most frequent first."""
    found = [model.license for model in models() if model.license]
    return tuple(sorted(set(found), key=lambda each: (-found.count(each), each)))


def _files(model: CatalogModel, places: tuple[Place, ...]) -> tuple[File, ...]:
    found = [(file, known_quant(file.quant)) for file in model.files]
    return tuple(
        File(known=file, quant=quant, fit=file_fit(model, file, quant, places) if quant else None)
        for file, quant in found
    )


def _families(entries: Iterable[Entry]) -> tuple[Family, ...]:
    found: dict[str, list[Entry]] = {}
    for each in entries:
        found.setdefault(each.model.family, []).append(each)
    return tuple(Family(name=name, entries=tuple(each)) for name, each in found.items())


def _in_order(found: Iterable[CatalogModel]) -> list[CatalogModel]:
    """Put families in the order of the page, so that what is seen first is worked out first."""
    families: dict[str, list[CatalogModel]] = {}
    for model in found:
        families.setdefault(model.family, []).append(model)
    newest = sorted(families.values(), key=_newest, reverse=True)
    return [model for family in newest for model in sorted(family, key=_size)]


def _newest(family: list[CatalogModel]) -> tuple[bool, str]:
    """Put what somebody brought before all: few of these tell their day."""
    own = any(model.own for model in family)
    return own, max(model.released or "" for model in family)


def _is_wanted(model: CatalogModel, filters: Filters) -> bool:
    text = f"{model.name} {model.family} {model.ollama or ''} {model.hf_repo}".lower()
    return (
        all(word in text for word in filters.words.lower().split())
        and filters.can <= set(model.capabilities)
        and _is_sized(model.params_total, filters.most)
        and filters.licence in ("", model.license or UNTOLD)
        and (model.own or not filters.own)
    )


def _is_sized(parameters: int | None, most: str) -> bool:
    if not most:
        return True
    if parameters is None:
        return False
    if most == LARGER:
        return parameters > SIZES[-1] * 10**9
    return parameters <= int(most) * 10**9


def _size(model: CatalogModel) -> tuple[int, str]:
    return model.params_total or 0, model.name


def _worth(entry: Entry) -> tuple[int, int, str]:
    size, name = _size(entry.model)
    return ORDER.index(entry.kind), -size if entry.kind == "whole" else size, name


def _active(model: CatalogModel) -> int | None:
    """Count what a token uses of a mixture by its shape, None for others."""
    if f"{model.arch}.expert_count" not in model.metadata:
        return None
    try:
        found = choose_stock(model.name, usual_quant(model))
    except PlannerError:
        return None
    return sum(prod(tensor.shape) for tensor in found.tensors) - idle_params(found)


def _billions(parameters: int | None) -> str:
    if parameters is None:
        return "size unknown"
    if parameters < 10**6:
        return "under 1 M"
    billions = parameters / 10**9
    if billions < 0.95:  # noqa: PLR2004 - what would be written as 0.9 B
        return f"{1000 * billions:.0f} M"
    return f"{billions:.1f} B" if billions < MANY else f"{billions:,.0f} B"
