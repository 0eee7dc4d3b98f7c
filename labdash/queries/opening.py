"""A model by what a user writes: a file, a saved answer of /api/show, or a name of the catalog."""

from functools import lru_cache
from pathlib import Path

from labdash.catalog.models import Found, find_model
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import find_file_type
from labdash.planner.model import Model
from labdash.planner.quants import types_of
from labdash.planner.stock import stock_model
from labdash.sources.files import open_file

DEFAULT_QUANT = "Q4_K_M"


def open_model(source: str, quant: str | None, *, imatrix: bool = False) -> tuple[Model, list[str]]:
    """Open a model, with what was assumed. Raises ``PlannerError`` where there is none.

    ``quant`` of a file that has another one gives the file that llama-quantize would make of it.
    """
    path = Path(source)
    if path.exists() or path.suffix in (".gguf", ".json"):
        return _from_file(source, _age(path), quant, imatrix=imatrix)
    return _from_catalog(source, quant, imatrix=imatrix)


def _age(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


@lru_cache(maxsize=128)
def _from_file(
    path: str, _changed_at: float, quant: str | None, *, imatrix: bool
) -> tuple[Model, list[str]]:
    opened = open_file(Path(path))
    model = opened.model
    if quant is None or quant.upper() == (model.quant or "").upper():
        return model, list(opened.warnings)
    return requantized(model, quant, imatrix=imatrix), list(opened.warnings)


def requantized(model: Model, quant: str, *, imatrix: bool) -> Model:
    """Give a model the types that llama-quantize would give it."""
    file_type = find_file_type(quant)
    tensors = types_of(model.tensors, model.metadata, file_type, imatrix=imatrix)
    return Model(model.name, file_type.name, model.metadata, tuple(tensors), "rules")


@lru_cache(maxsize=128)
def _from_catalog(name: str, quant: str | None, *, imatrix: bool) -> tuple[Model, list[str]]:
    found = find_model(name)
    notices = [found.notice] if found.notice else []
    wanted = quant or found.quant or found.model.default_quant
    if wanted is None:
        wanted = DEFAULT_QUANT
        notices.append(f"no quantization was given: {DEFAULT_QUANT} is taken")
    return _stock(found, wanted, imatrix=imatrix), notices


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
