"""What buffers add to tensors: where the next may begin, and what fills up a last row."""

from functools import lru_cache

from labdash.planner.ggml import PLAIN_TYPES, row_bytes

# ggml-cuda.cu and ggml-backend.cpp: where a tensor may begin in a buffer.
GPU_ALIGNMENT = 128
HOST_ALIGNMENT = 64
# ggml-cuda.cu, MATRIX_ROW_PADDING
ROW_PADDING = 512


def rounded(size: int, alignment: int) -> int:
    """Round up to where the next tensor may begin."""
    return -(-size // alignment) * alignment


@lru_cache(maxsize=4096)
def row_padding(kind: str, row: int) -> int:
    """Count what fills the last row of a quantised tensor on a GPU."""
    if kind in PLAIN_TYPES or row % ROW_PADDING == 0:
        return 0
    return row_bytes(kind, ROW_PADDING - row % ROW_PADDING)
