"""Which tensor gets which type when llama-quantize makes a file of a given type.

The rules are those of llama.cpp's ``src/llama-quant.cpp``. They look at a tensor's name, its place
among the tensors of its kind and a few facts of the model, never at the weights: so the size of a
file is known before there is one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import prod

from labdash.planner.errors import PlannerError
from labdash.planner.facts import Value, count_or
from labdash.planner.file_types import FileType
from labdash.planner.ggml import PLAIN_TYPES, TYPES, tensor_bytes
from labdash.planner.mixes import LOW_BIT, Place, Role, Traits, mixed_type
from labdash.planner.model import Tensor, place_of

# What stays as it is stored: norms, routers, convolutions, tables of positions, small matrices.
_KEPT = re.compile(
    r"_norm\.weight|ffn_gate_inp\.weight|ffn_gate_tid2eid\.weight|altup|laurel"
    r"|per_layer_model_proj|ssm_conv1d|shortconv\.conv\.weight|indexer\.[kq]_proj\.weight"
    r"|time_mix_(first|[wva][012]|g[12]|decay_w[12]|lerp_fused)\.weight|attn_rel_b\.weight"
    r"|\.position_embd|\.rel_pos|\.patch_embd|\.patch_merger"
    r"|^(position_embd|token_types)\.weight$"
)

# Parts of names, in the order in which llama-quantize looks for them.
_ROLES: tuple[tuple[str, Role], ...] = (
    ("attn_qkv.weight", "value"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_q.weight", "query"),
    ("attn_output.weight", "joined"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_FEED_FORWARD: frozenset[Role] = frozenset(("up", "gate", "down"))

# What a type becomes where a row is no whole number of its blocks.
_FALLBACKS = {
    **dict.fromkeys(
        ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"
    ),
    **dict.fromkeys(("q2_0", "q2_K", "q3_K", "tq1_0", "tq2_0"), "q4_0"),
    "q4_K": "q5_0",
    "q5_K": "q5_1",
    "q6_K": "q8_0",
}
# Blocks of this many elements or fewer have no smaller type to fall back to but f16.
_SMALL_BLOCK = 32

_NEED_IMATRIX = frozenset(("iq3_xxs", "iq2_xxs", "iq2_xs", "iq2_s", "iq1_m", "iq1_s"))


def types_of(
    tensors: Iterable[Tensor],
    metadata: Mapping[str, Value],
    file_type: FileType,
    *,
    imatrix: bool = False,
) -> tuple[Tensor, ...]:
    """Give each tensor the type that llama-quantize would; ``imatrix``: with one at hand.

    ``tensors`` may be those of any file of the model: what is never quantized is stored alike in
    all of them. Raises ``PlannerError`` where llama-quantize refuses the model.
    """
    listed = tuple(tensors)
    traits = read_traits(metadata)
    if file_type.base in PLAIN_TYPES:
        return tuple(
            _retyped(each, file_type.base) if _quantizable(each) else each for each in listed
        )
    kinds = {
        place.name: _fitting(place, mixed_type(place))
        for place in _places(listed, traits, file_type, imatrix=imatrix)
    }
    return tuple(
        _retyped(each, kinds[each.name]) if each.name in kinds else each for each in listed
    )


def weights_fallen_back(
    tensors: Iterable[Tensor],
    metadata: Mapping[str, Value],
    file_type: FileType,
    *,
    imatrix: bool = False,
) -> int:
    """Count the weights whose rows do not suit the type that the mix has for them."""
    listed = tuple(tensors)
    if file_type.base in PLAIN_TYPES:
        return 0
    weights = {each.name: prod(each.shape) for each in listed}
    places = _places(listed, read_traits(metadata), file_type, imatrix=imatrix)
    return sum(
        weights[place.name] for place in places if place.row % TYPES[mixed_type(place)].block
    )


def read_traits(metadata: Mapping[str, Value]) -> Traits:
    """Read what the rules ask of a model."""
    arch = str(metadata.get("general.architecture", ""))
    blocks = _whole(metadata.get(f"{arch}.block_count"))
    heads = _whole(metadata.get(f"{arch}.attention.head_count"))
    heads_kv = _whole(metadata.get(f"{arch}.attention.head_count_kv"), heads)
    return Traits(
        arch=arch,
        blocks=blocks,
        experts=_whole(metadata.get(f"{arch}.expert_count")),
        heads_per_kv=heads // heads_kv if heads_kv else 0,
    )


def needs_imatrix(tensors: Iterable[Tensor], file_type: FileType) -> bool:
    """Say whether llama-quantize makes these types only with an importance matrix."""
    wanted = _NEED_IMATRIX | ({"q2_K"} if file_type.name == "Q2_K_S" else set())
    return any(
        each.type in wanted
        and _role(each.name) not in {"output", "embedding"}
        and _quantizable(each)
        for each in tensors
    )


def _whole(value: Value | None, default: int = 0) -> int:
    """Read a number; of a list for each layer the first one, as llama-quantize does."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    return count_or(value, default)


def _retyped(tensor: Tensor, kind: str) -> Tensor:
    if kind == tensor.type:
        return tensor
    return Tensor(tensor.name, tensor.shape, kind, tensor_bytes(kind, tensor.shape))


def _quantizable(tensor: Tensor) -> bool:
    return _name_allows(tensor.name) and any(size > 1 for size in tensor.shape[1:])


# Models share their tensors' names, and each file type asks again.
@lru_cache(maxsize=8192)
def _name_allows(name: str) -> bool:
    return name.endswith("weight") and not _KEPT.search(name)


@lru_cache(maxsize=8192)
def _role(name: str) -> Role:
    if name == "output.weight":
        return "output"
    if name in _EMBEDDINGS:
        return "embedding"
    return next((role for part, role in _ROLES if part in name), "other")


@lru_cache(maxsize=8192)
def _sort_key(name: str) -> tuple[int, str]:
    """Put llama-quantize's order: what is in no block, then block by block, by name."""
    index, _ = place_of(name)
    return (-1 if index is None else index, name)


def _places(
    tensors: tuple[Tensor, ...], traits: Traits, file_type: FileType, *, imatrix: bool
) -> Iterator[Place]:
    """Place each tensor that is quantized among those of its role."""
    roles = {each.name: _role(each.name) for each in tensors}
    values = sum(role == "value" for role in roles.values())
    tied = "output" not in roles.values()
    # Experts lie in no fixed order in old files, so there the name tells the block.
    by_name = traits.experts > 1 and file_type.name not in LOW_BIT
    seen: Counter[Role] = Counter()
    for tensor in sorted(filter(_quantizable, tensors), key=lambda each: _sort_key(each.name)):
        role = roles[tensor.name]
        block = _sort_key(tensor.name)[0] if by_name and role in _FEED_FORWARD else None
        yield Place(
            name=tensor.name,
            role="output" if tied and role == "embedding" else role,
            row=tensor.shape[0],
            stacked=prod(tensor.shape[2:]) > 1,
            quant=file_type.name,
            base=file_type.base,
            index=seen[role] if block is None else block,
            count=values if role == "value" else traits.blocks,
            traits=traits,
            imatrix=imatrix,
        )
        seen[role] += 1


def _fitting(place: Place, kind: str) -> str:
    """Fall back where the row is no whole number of the type's blocks."""
    block = TYPES[kind].block
    if place.row % block == 0:
        return kind
    fallback = _FALLBACKS.get(kind, "f16" if block <= _SMALL_BLOCK else None)
    if fallback is None:
        raise PlannerError(
            f"llama-quantize makes no {place.quant} of this model: rows of {place.name} "
            f"({place.row}) are no multiple of {block}"
        )
    return fallback if place.row % TYPES[fallback].block == 0 else "f16"
