"""How a file type spreads its bits over a model: by part, and layer by layer."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import prod

from labdash.planner.file_types import find_file_type
from labdash.planner.ggml import TYPES
from labdash.planner.model import Model, Tensor, place_of

type Named = tuple[str, tuple[str, ...]]

# Parts of a model in the order in which a token passes them, and what their tensors' names hold.
PARTS = (
    ("Token embeddings", ("token_embd.weight",)),
    ("Attention: queries", ("attn_q.weight", "attn_q_a.weight", "attn_q_b.weight")),
    ("Attention: keys", ("attn_k.weight",)),
    ("Attention: values", ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")),
    ("Attention: output", ("attn_output.weight",)),
    ("Feed forward: gate and up", ("ffn_gate.", "ffn_up.", "ffn_gate_", "ffn_up_")),
    ("Feed forward: down", ("ffn_down.", "ffn_down_")),
)
HEAD = ("Output head", ("output.weight",))
# Routers and norms are small and stay as they are.
LEFT_ALONE = ("norm", "ffn_gate_inp")
# The drawing of layers: the width of all of them, and the height of a part's line.
WIDTH, LINE = 640, 14


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model: its share of the weights, its types, and their mean bits.

    ``is_protected`` where it has more bits than the file's base type.
    """

    label: str
    share: float
    bits: float
    types: str
    is_protected: bool


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Neighbouring layers that keep a part in the same type, as they are drawn."""

    type: str
    x: float
    y: int
    width: float
    shade: int


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A file's mix. ``bits`` is the mean over all weights, ``base_bits`` that of the base type."""

    quant: str
    base: str
    base_bits: float
    bits: float
    layers: int
    parts: tuple[Part, ...]
    strips: tuple[Strip, ...]
    lines: tuple[str, ...]
    types: tuple[tuple[str, int, float], ...]

    @property
    def height(self) -> int:
        """How high the drawing is."""
        return len(self.lines) * LINE


def read_mix(model: Model) -> Mix:
    """Take a model's tensors apart."""
    base = find_file_type(model.quant or "F16").base
    total = sum(map(_elements, model.tensors))
    parts = [part for each in (*PARTS, HEAD) if (part := _part(each, model, base, total))]
    drawn = [each for each in PARTS[1:] if any(_is_of(t, each[1]) for t in model.tensors)]
    used = sorted({each.type for each in model.tensors if _is_of_any(each)}, key=bits_of)
    return Mix(
        quant=model.quant or "",
        base=base,
        base_bits=bits_of(base),
        bits=8 * model.weight_bytes / total,
        layers=model.shape.block_count,
        parts=tuple(parts),
        strips=tuple(strip for row in enumerate(drawn) for strip in _strips(*row, model, used)),
        lines=tuple(label for label, _ in drawn),
        types=tuple((kind, shade, bits_of(kind)) for shade, kind in enumerate(used, start=1)),
    )


def bits_of(kind: str) -> float:
    """Tell the bits a weight of a tensor type."""
    return 8 * TYPES[kind].block_bytes / TYPES[kind].block


def _elements(tensor: Tensor) -> int:
    return prod(tensor.shape)


def _is_of(tensor: Tensor, words: Iterable[str]) -> bool:
    _, name = place_of(tensor.name)
    is_alone = any(word in name for word in LEFT_ALONE)
    return not is_alone and name.startswith(tuple(words)) and len(tensor.shape) > 1


def _is_of_any(tensor: Tensor) -> bool:
    return any(_is_of(tensor, words) for _, words in PARTS[1:])


def _part(named: Named, model: Model, base: str, total: int) -> Part | None:
    label, words = named
    own = [tensor for tensor in model.tensors if _is_of(tensor, words)]
    if not own:
        return None
    elements = sum(map(_elements, own))
    bits = 8 * sum(tensor.bytes for tensor in own) / elements
    kinds = Counter(tensor.type for tensor in own)
    told = [
        f"{kind} \N{MULTIPLICATION SIGN} {n}" if n > 1 else kind for kind, n in kinds.most_common()
    ]
    return Part(
        label=label,
        share=elements / total,
        bits=bits,
        types=", ".join(told),
        is_protected=bits > bits_of(base) + 0.01,
    )


def _strips(line: int, part: Named, model: Model, used: list[str]) -> Iterable[Strip]:
    """Draw one part through all layers; of several tensors in a layer the widest counts."""
    blocks = [
        max((t.type for t in block.values() if _is_of(t, part[1])), key=bits_of, default="")
        for block in model.table.blocks
    ]
    step, at = WIDTH / max(1, len(blocks)), 0
    for kind, run in groupby(blocks):
        length = len(list(run))
        if kind:
            yield Strip(
                type=kind,
                x=round(at * step, 1),
                y=line * LINE,
                width=round(length * step, 1),
                shade=used.index(kind) + 1,
            )
        at += length
