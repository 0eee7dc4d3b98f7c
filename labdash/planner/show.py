"""A model from the answer of Ollama's ``/api/show``, which lists metadata and tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value
from labdash.planner.ggml import TYPES
from labdash.planner.gguf_tensors import check_shape, sized_tensor
from labdash.planner.model import Model, Tensor

# Ollama writes types in capitals.
_TYPES = {name.upper(): name for name in TYPES}


def model_of_show(document: Mapping[str, Any], *, name: str) -> Model:
    """Make a model. Raises ``PlannerError`` where the answer is none, or lists no tensors."""
    info, tensors = document.get("model_info"), document.get("tensors")
    if isinstance(failure := document.get("error"), str):
        raise PlannerError(f"this is no model but an error of Ollama: {failure}")
    if not isinstance(info, Mapping) or not info.get("general.architecture"):
        raise PlannerError("this JSON is no answer of /api/show: it has no model_info")
    if not isinstance(tensors, Sequence) or isinstance(tensors, str) or not tensors:
        raise PlannerError("this answer of /api/show lists no tensors: ask a newer Ollama for it")
    _require_lists(info)
    metadata = {
        str(key): kept for key, value in info.items() if (kept := _value(value)) is not None
    }
    details = document.get("details")
    quant = details.get("quantization_level") if isinstance(details, Mapping) else None
    return Model(
        name=name,
        quant=str(quant) if quant else None,
        metadata=metadata,
        tensors=_tensors(tensors),
        tensor_source="show",
    )


def _require_lists(info: Mapping[str, Any]) -> None:
    """Refuse what lacks facts of its layers. Without "verbose" every list is null."""
    own = f"{info['general.architecture']}."
    for key, value in info.items():
        left_out = value is None or value == []
        if left_out and key.startswith(own) and not key.startswith(f"{own}rope."):
            raise PlannerError(
                f'this answer of /api/show leaves out {key[:60]}: ask for it with "verbose": true'
            )


def _tensors(entries: Sequence[Any]) -> tuple[Tensor, ...]:
    tensors = tuple(_tensor(each) for each in entries)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise PlannerError("this answer of /api/show is damaged: it lists a tensor twice")
    return tensors


def _value(value: object) -> Value | None:
    """Keep what metadata hold."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list) and all(
        isinstance(each, bool | int | float | str) for each in value
    ):
        return tuple(value)
    return None


def _is_shape(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(type(size) is int for size in value)


def _tensor(entry: object) -> Tensor:
    if not isinstance(entry, Mapping):
        raise PlannerError("this answer of /api/show is damaged: a tensor is no object")
    name, kind, shape = (entry.get(key) for key in ("name", "type", "shape"))
    if not isinstance(name, str) or not isinstance(kind, str) or not _is_shape(shape):
        raise PlannerError(
            "this answer of /api/show is damaged: a tensor lacks name, type or shape"
        )
    known = _TYPES.get(kind.upper())
    if known is None:
        raise PlannerError(f'tensor "{name[:60]}" has the type {kind[:20]}, which is not known')
    return sized_tensor(name, check_shape(name, shape), known)
