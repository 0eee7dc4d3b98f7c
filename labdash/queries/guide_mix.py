"""How a file type spreads its bits over a model: by part, and layer by layer."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import prod

from labdash.planner.file_types import FileType, find_file_type
from labdash.planner.ggml import TYPES
from labdash.planner.model import Model, Tensor, place_of
from labdash.planner.quants import needs_imatrix
from labdash.queries.guide_making import make_command
from labdash.queries.guide_memory import has_imatrix
from labdash.queries.opening import requantized

type Named = tuple[str, tuple[str, ...]]

# Parts of a model in the order in which a token passes them, and what their tensors' names hold.
PARTS = (
    ("Token embeddings", ("token_embd.weight",)),
    ("Attention: queries", ("attn_q.weight", "attn_q_a.weight", "attn_q_b.weight")),
    ("Attention: keys", ("attn_k.weight", "attn_k_b.weight", "attn_kv_a_mqa.weight")),
    (
        "Attention: values",
        ("attn_v.weight", "attn_v_b.weight", "attn_qkv.weight", "attn_kv_b.weight"),
    ),
    ("Attention: output", ("attn_output.weight",)),
    ("Feed forward: gate and up", ("ffn_gate.", "ffn_up.", "ffn_gate_", "ffn_up_")),
    ("Feed forward: down", ("ffn_down.", "ffn_down_")),
)
HEAD = ("Output head", ("output.weight",))
# Tensors that llama-quantize has an option of their own for.
ONE_OPTION = {
    "token_embd.weight": "--token-embedding-type", "output.weight": "--output-tensor-type"
}  # fmt: skip
# Routers and norms are small and stay as they are.
LEFT_ALONE = ("norm", "ffn_gate_inp")
# The drawing of layers: the width of all of them, and the height of a part's line.
WIDTH, LINE = 640, 14


# Types that a part is lifted to, each of more bits than the one before.
WIDER = ("q4_K", "q5_K", "q6_K", "q8_0", "f16")
# What bits may differ by and still be the same.
SAME = 0.01


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model: its share of the weights, its types, and their mean bits.

    ``extra_bits`` are those beyond the file's base type, less than none where it has fewer.
    ``command`` makes the file anew with more bits for this part alone, as ``wider``.
    """

    label: str
    share: float
    bits: float
    types: str
    extra_bits: float
    wider: str
    command: str

    @property
    def is_protected(self) -> bool:
        """Whether it has more bits than the file's base type."""
        return self.extra_bits > SAME

    @property
    def is_lean(self) -> bool:
        """Whether it has fewer."""
        return self.extra_bits < -SAME


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
    """A file's mix. ``bits`` is the mean over all weights, ``base_bits`` that of the base type.

    ``is_tied``: no output head lies apart, so the table of tokens serves as one. ``matrix`` says
    whether an importance matrix was used: without it the types would be others, or the same.
    """

    quant: str
    matrix: str
    base: str
    base_bits: float
    bits: float
    layers: int
    is_tied: bool
    parts: tuple[Part, ...]
    strips: tuple[Strip, ...]
    lines: tuple[str, ...]
    types: tuple[tuple[str, int, float], ...]

    @property
    def height(self) -> int:
        """How high the drawing is."""
        return len(self.lines) * LINE

    @property
    def embeddings(self) -> Part | None:
        """The table in which tokens are looked up."""
        return next((part for part in self.parts if part.label == PARTS[0][0]), None)

    @property
    def head(self) -> Part | None:
        """What makes the odds of the next token: the table of tokens where nothing else does."""
        last = next((part for part in self.parts if part.label == HEAD[0]), None)
        return self.embeddings if self.is_tied else last

    @property
    def attention(self) -> list[Part]:
        """The matrices of the attention."""
        return [part for part in self.parts if part.label.startswith("Attention")]

    @property
    def others(self) -> list[Part]:
        """What else has more bits than the base type."""
        shown = [self.embeddings, self.head, *self.attention]
        return [part for part in self.parts if part.is_protected and part not in shown]


def read_mix(plain: Model, quant: str) -> Mix:
    """Take a file's tensors apart, made with an importance matrix where it was measured so.

    Raises ``PlannerError`` where there is no such file of the model.
    """
    file_type, is_with = find_file_type(quant), has_imatrix(quant)
    model = requantized(plain, quant, imatrix=is_with)
    is_same = model.tensors == requantized(plain, quant, imatrix=not is_with).tensors
    wants_imatrix = needs_imatrix(model.tensors, file_type) or (is_with and not is_same)
    base = file_type.base
    total = sum(map(_elements, model.tensors))
    of = _Of(model=model, file_type=file_type, total=total, wants_imatrix=wants_imatrix)
    parts = [part for each in (*PARTS, HEAD) if (part := _part(each, of))]
    drawn = [each for each in PARTS[1:] if any(_is_of(t, each[1]) for t in model.tensors)]
    used = sorted({each.type for each in model.tensors if _is_of_any(each)}, key=bits_of)
    return Mix(
        quant=file_type.name,
        matrix="with" if wants_imatrix else "with or without" if is_same else "without",
        base=base,
        base_bits=bits_of(base),
        bits=8 * model.weight_bytes / total,
        layers=model.shape.block_count,
        is_tied=all(each.name != HEAD[1][0] for each in model.tensors),
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
    is_matrix = name.endswith(".weight") and len(tensor.shape) > 1
    is_alone = any(word in name for word in LEFT_ALONE)
    return is_matrix and not is_alone and name.startswith(tuple(words))


def _is_of_any(tensor: Tensor) -> bool:
    return any(_is_of(tensor, words) for _, words in PARTS[1:])


@dataclass(frozen=True, kw_only=True)
class _Of:
    """The file that parts are of, and how many weights it has."""

    model: Model
    file_type: FileType
    total: int
    wants_imatrix: bool


def _part(named: Named, of: _Of) -> Part | None:
    label, words = named
    own = [tensor for tensor in of.model.tensors if _is_of(tensor, words)]
    if not own:
        return None
    elements = sum(map(_elements, own))
    bits = 8 * sum(tensor.bytes for tensor in own) / elements
    kinds = Counter(tensor.type for tensor in own)
    told = [
        f"{kind} \N{MULTIPLICATION SIGN} {n}" if n > 1 else kind for kind, n in kinds.most_common()
    ]
    wider = _wider(bits, max(map(bits_of, kinds)))
    return Part(
        label=label,
        share=elements / of.total,
        bits=bits,
        types=", ".join(told),
        extra_bits=bits - bits_of(of.file_type.base),
        wider=wider,
        command=_command(of, own, wider),
    )


def _wider(bits: float, widest_bits: float) -> str:
    """Choose a type that gives a part more bits, and no layer of it fewer."""
    enough = (each for each in WIDER if bits_of(each) >= widest_bits and bits_of(each) > bits)
    return next(enough, WIDER[-1])


def _command(of: _Of, own: Iterable[Tensor], wider: str) -> str:
    """Write how to make the file with one part in a wider type."""
    options: list[str] = []
    for name in dict.fromkeys(_pattern(tensor) for tensor in own):
        if name in ONE_OPTION:
            options += [ONE_OPTION[name], wider]
        else:
            options += ["--tensor-type", f"{name}={wider}"]
    return make_command(of.file_type.name, imatrix=of.wants_imatrix, options=options)


def _pattern(tensor: Tensor) -> str:
    """Return what finds a tensor's fellows in all layers: experts of old files are numbered."""
    _, name = place_of(tensor.name)
    return re.sub(r"\.\d+\.weight$", ".", name)


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
