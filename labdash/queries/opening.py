"""A model by what a user writes: a file, a saved /api/show, a catalog or a published name."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from labdash.catalog.models import Found, find_model
from labdash.catalog.own import kept
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.planner.model import Model
from labdash.planner.quants import types_of
from labdash.planner.stock import stock_model
from labdash.sources.files import open_file
from labdash.sources.registry import PREFIXES, open_remote

DEFAULT_QUANT = "Q4_K_M"
ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Source:
    """A model with what was assumed; ``header_bytes`` is None where no file is at hand."""

    model: Model
    notices: tuple[str, ...]
    header_bytes: int | None = None
    alignment: int = ALIGNMENT


def open_model(source: str, quant: str | None, *, imatrix: bool = False) -> Source:
    """Open a model. Raises ``PlannerError`` where there is none.

    ``quant`` of a file that has another one gives the file that llama-quantize would make of it.
    """
    path = Path(source)
    if is_remote(source):
        opened = _from_afar(source)
    elif not is_file(source):
        return _from_catalog(source, quant, imatrix=imatrix)
    else:
        opened = _from_file(source, _changed_at(path))
    if quant is None or quant.upper() == (opened.model.quant or "").upper():
        return opened
    return replace(opened, model=requantized(opened.model, quant, imatrix=imatrix))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def open_plain(source: str) -> Source:
    """Open a model to quantize: of the catalog the 16-bit one."""
    return open_model(source, None if is_file(source) else "F16")


def is_file(source: str) -> bool:
    """Tell a path from a name of the catalog."""
    path = Path(source)
    if path.suffix in (".gguf", ".json"):
        return True
    try:
        return path.exists()
    except OSError:
        # Longer than a path can be.
        return False


def is_remote(source: str) -> bool:
    """Tell a name that says where its model is published."""
    return source.lower().startswith(tuple(PREFIXES))


@lru_cache(maxsize=128)
def requantized(model: Model, quant: str, *, imatrix: bool) -> Model:
    """Give a model the types that llama-quantize would give it."""
    file_type = find_file_type(quant)
    tensors = types_of(model.tensors, model.metadata, file_type, imatrix=imatrix)
    return Model(model.name, file_type.name, model.metadata, tuple(tensors), "rules")


@lru_cache(maxsize=128)
def _from_file(path: str, _changed_at: float) -> Source:
    opened = open_file(Path(path))
    return Source(opened.model, opened.warnings, opened.header_bytes, opened.alignment)


@lru_cache(maxsize=32)
def _from_afar(name: str) -> Source:
    found = open_remote(name)
    return Source(found.model, found.warnings)


@kept(128)
def _from_catalog(name: str, quant: str | None, *, imatrix: bool) -> Source:
    found = find_model(name)
    notices = [found.notice] if found.notice else []
    wanted = quant or found.quant or found.model.default_quant
    if wanted is None:
        wanted = DEFAULT_QUANT
        notices.append(f"no quantization was given: {DEFAULT_QUANT} is taken")
    return Source(_stock(found, wanted, imatrix=imatrix), tuple(notices))


def _stock(found: Found, quant: str, *, imatrix: bool) -> Model:
    if not found.model.metadata:
        raise PlannerError(f"the shape of {found.model.name} is not known: give its GGUF file")
    return stock_model(
        found.model.name,
        found.model.metadata,
        quant,
        tied=bool(found.model.tied),
        imatrix=imatrix,
    )
