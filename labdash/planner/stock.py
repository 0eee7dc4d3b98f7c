"""A model as llama-quantize would make it, without any file."""

from collections.abc import Mapping

from labdash.planner.facts import Value
from labdash.planner.file_types import find_file_type
from labdash.planner.model import Model
from labdash.planner.quants import types_of
from labdash.planner.tables import tensors_of


def stock_model(
    name: str, metadata: Mapping[str, Value], quant: str, *, tied: bool, imatrix: bool = False
) -> Model:
    """Make the tensors of a known shape. Raises ``PlannerError`` where that cannot be."""
    file_type = find_file_type(quant)
    plain = tensors_of(metadata, tied=tied)
    tensors = types_of(plain, metadata, file_type, imatrix=imatrix)
    return Model(name, file_type.name, metadata, tuple(tensors), "rules")
