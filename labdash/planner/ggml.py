"""Tensor types of ggml: how many bytes a row of elements takes."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class GgmlType:
    """``block`` elements take ``block_bytes``; a row is a whole number of blocks."""

    name: str
    id: int
    block: int
    block_bytes: int


# ggml.h (ids) and the size assertions of ggml-common.h (blocks). Ids that are missing here were
# removed from ggml: 4, 5, 31 to 33 and 36 to 38 occur in old files only.
TYPES = {
    kind.name: kind
    for kind in (
        GgmlType("f32", 0, 1, 4),
        GgmlType("f16", 1, 1, 2),
        GgmlType("q4_0", 2, 32, 18),
        GgmlType("q4_1", 3, 32, 20),
        GgmlType("q5_0", 6, 32, 22),
        GgmlType("q5_1", 7, 32, 24),
        GgmlType("q8_0", 8, 32, 34),
        GgmlType("q8_1", 9, 32, 36),
        GgmlType("q2_K", 10, 256, 84),
        GgmlType("q3_K", 11, 256, 110),
        GgmlType("q4_K", 12, 256, 144),
        GgmlType("q5_K", 13, 256, 176),
        GgmlType("q6_K", 14, 256, 210),
        GgmlType("q8_K", 15, 256, 292),
        GgmlType("iq2_xxs", 16, 256, 66),
        GgmlType("iq2_xs", 17, 256, 74),
        GgmlType("iq3_xxs", 18, 256, 98),
        GgmlType("iq1_s", 19, 256, 50),
        GgmlType("iq4_nl", 20, 32, 18),
        GgmlType("iq3_s", 21, 256, 110),
        GgmlType("iq2_s", 22, 256, 82),
        GgmlType("iq4_xs", 23, 256, 136),
        GgmlType("i8", 24, 1, 1),
        GgmlType("i16", 25, 1, 2),
        GgmlType("i32", 26, 1, 4),
        GgmlType("i64", 27, 1, 8),
        GgmlType("f64", 28, 1, 8),
        GgmlType("iq1_m", 29, 256, 56),
        GgmlType("bf16", 30, 1, 2),
        GgmlType("tq1_0", 34, 256, 54),
        GgmlType("tq2_0", 35, 256, 66),
        GgmlType("mxfp4", 39, 32, 17),
        GgmlType("nvfp4", 40, 64, 36),
        GgmlType("q1_0", 41, 128, 18),
        GgmlType("q2_0", 42, 64, 18),
    )
}
TYPES_BY_ID = {kind.id: kind for kind in TYPES.values()}
# Types that are no quantization: everything else is stored in blocks with a scale.
PLAIN_TYPES = frozenset(("f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64"))
F32_BYTES, F16_BYTES = 4, 2


def row_bytes(kind: str, elements: int) -> int:
    """Count the bytes of a row. ``elements`` is a multiple of the type's block."""
    ggml_type = TYPES[kind]
    return elements // ggml_type.block * ggml_type.block_bytes


def tensor_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Count the bytes of a tensor whose first dimension is its row."""
    return row_bytes(kind, shape[0]) * prod(shape[1:])
