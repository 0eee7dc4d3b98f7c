"""The tensors of encoders, which turn a text into one vector: BERT and its kin."""

from collections.abc import Iterator

from labdash.planner.shape import Shape

type Named = Iterator[tuple[str, tuple[int, ...]]]

# Kinds of segments: BERT's own two. XLM-R, told by its vocabulary, has one.
SEGMENTS, XLM_R_SEGMENTS = 2, 1
XLM_R_VOCAB = 200_000
ENCODERS = frozenset(("bert", "nomic-bert"))


def encoder(shape: Shape) -> Named:
    """List names and shapes: ``load_arch_tensors`` of src/models/bert.cpp in llama.cpp."""
    embd, is_nomic = shape.embd, shape.arch == "nomic-bert"
    yield "token_embd.weight", (embd, shape.vocab)
    yield "token_types.weight", (embd, XLM_R_SEGMENTS if shape.vocab > XLM_R_VOCAB else SEGMENTS)
    if not is_nomic:
        yield "position_embd.weight", (embd, shape.ctx_train)
    yield from _norm("token_embd_norm", embd)
    for index, layer in enumerate(shape.layers):
        block = _nomic(embd, layer.ff) if is_nomic else _bert(embd, layer.ff)
        yield from ((f"blk.{index}.{name}", dims) for name, dims in block)


def _bert(embd: int, ff: int) -> Named:
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield from _biased(name, embd, embd)
    yield from _norm("attn_output_norm", embd)
    yield from _biased("ffn_up", embd, ff)
    yield from _biased("ffn_down", ff, embd)
    yield from _norm("layer_output_norm", embd)


def _nomic(embd: int, ff: int) -> Named:
    yield "attn_qkv.weight", (embd, 3 * embd)
    yield "attn_output.weight", (embd, embd)
    yield from _norm("attn_output_norm", embd)
    yield "ffn_up.weight", (embd, ff)
    yield "ffn_gate.weight", (embd, ff)
    yield "ffn_down.weight", (ff, embd)
    yield from _norm("layer_output_norm", embd)


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _biased(name: str, width: int, rows: int) -> Named:
    yield f"{name}.weight", (width, rows)
    yield f"{name}.bias", (rows,)
