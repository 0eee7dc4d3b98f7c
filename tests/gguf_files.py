"""Small GGUF files, made by hand, to be read, cut and damaged."""

import struct
from collections.abc import Sequence
from typing import Any

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
KINDS = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}
F32, F16, Q4_K = 0, 1, 12
TYPE_BYTES = {F32: (1, 4), F16: (1, 2), Q4_K: (256, 144)}

type Tensor = tuple[str, Sequence[int], int]

TINY = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 1,
    "llama.context_length": 4096,
    "llama.embedding_length": 256,
    "llama.feed_forward_length": 512,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}
TENSORS: tuple[Tensor, ...] = (
    ("token_embd.weight", (256, 320), F16),
    ("output_norm.weight", (256,), F32),
    ("blk.0.attn_norm.weight", (256,), F32),
    ("blk.0.attn_q.weight", (256, 256), Q4_K),
    ("blk.0.attn_k.weight", (256, 128), Q4_K),
    ("blk.0.attn_v.weight", (256, 128), Q4_K),
    ("blk.0.attn_output.weight", (256, 256), Q4_K),
    ("blk.0.ffn_norm.weight", (256,), F32),
    ("blk.0.ffn_gate.weight", (256, 512), Q4_K),
    ("blk.0.ffn_up.weight", (256, 512), Q4_K),
    ("blk.0.ffn_down.weight", (512, 256), Q4_K),
)


def string(text: str) -> bytes:
    """Write a string."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    """Write a value with its type."""
    if isinstance(given, str):
        return struct.pack("<i", STRING) + string(given)
    if isinstance(given, list):
        return struct.pack("<i", ARRAY) + _array(given)
    kind, code = KINDS[type(given)]
    return struct.pack("<i" + code, kind, given)


def _array(given: Sequence[Any]) -> bytes:
    if given and isinstance(given[0], str):
        return struct.pack("<iQ", STRING, len(given)) + b"".join(map(string, given))
    kind, code = KINDS[type(given[0])] if given else KINDS[int]
    return struct.pack(f"<iQ{len(given)}{code}", kind, len(given), *given)


def size_of(tensor: Tensor) -> int:
    """Count a tensor's bytes."""
    block, block_bytes = TYPE_BYTES[tensor[2]]
    elements = 1
    for length in tensor[1]:
        elements *= length
    return elements // block * block_bytes


def padded(size: int, alignment: int = 32) -> int:
    """Round up."""
    return -(-size // alignment) * alignment


def header(
    metadata: dict[str, Any] | None = None,
    tensors: Sequence[Tensor] = TENSORS,
    *,
    version: int = 3,
) -> bytes:
    """Write a header, filled up to where the data begin."""
    pairs = TINY if metadata is None else metadata
    parts = [MAGIC, struct.pack("<Iqq", version, len(tensors), len(pairs))]
    parts += [string(key) + value(given) for key, given in pairs.items()]
    offset = 0
    for tensor in tensors:
        name, shape, kind = tensor
        dims = struct.pack(f"<I{len(shape)}q", len(shape), *shape)
        parts.append(string(name) + dims + struct.pack("<iQ", kind, offset))
        offset += padded(size_of(tensor))
    whole = b"".join(parts)
    return whole.ljust(padded(len(whole)), b"\0")


def file(
    metadata: dict[str, Any] | None = None, tensors: Sequence[Tensor] = TENSORS, **more: Any
) -> bytes:
    """Write a whole file; its weights are zeros."""
    data = bytes(sum(padded(size_of(tensor)) for tensor in tensors))
    return header(metadata, tensors, **more) + data
