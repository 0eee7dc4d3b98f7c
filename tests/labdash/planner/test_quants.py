"""Types by llama-quantize's rules, beside what it printed itself for 27 models (989 rows)."""

from collections import Counter
from math import prod

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES, GUESSED, find_file_type, name_of_id
from labdash.planner.ggml import tensor_bytes
from labdash.planner.model import Tensor
from labdash.planner.quants import needs_imatrix, types_of, weights_fallen_back
from tests import oracle

ROWS = oracle.read_rows("quant")
# All rows are compared in the long run; the types by role are in their counts too.
STEP = 12


def quantized(row: oracle.Row) -> tuple[Tensor, ...]:
    """Give the tensors of a recorded row their types."""
    plain = oracle.model(row["model"], "F16")
    file_type = find_file_type(row["ftype"])
    return types_of(plain.tensors, plain.metadata, file_type, imatrix=row["imatrix"])


def mix_of(tensors: tuple[Tensor, ...]) -> dict[str, dict[str, int]]:
    """Count tensors and elements by type, as the rows do."""
    counts = Counter(each.type for each in tensors)
    elements = Counter[str]()
    for each in tensors:
        elements[each.type] += prod(each.shape)
    return {kind: {"tensors": counts[kind], "elements": elements[kind]} for kind in counts}


def check(rows: list[oracle.Row]) -> None:
    """Compare mix, size and bits per weight with what llama-quantize printed."""
    for row in rows:
        name = (row["model"], row["ftype"], row["imatrix"])
        if "error" in row:
            with pytest.raises(PlannerError, match="llama-quantize makes no"):
                quantized(row)
            continue
        tensors = quantized(row)
        total = sum(each.bytes for each in tensors)
        bits = 8 * total / sum(prod(each.shape) for each in tensors)
        assert mix_of(tensors) == row["mix"], name
        assert (round(total / 2**20, 2), round(bits, 2)) == (row["quant_size_MiB"], row["bpw"]), (
            name
        )


def test_recorded_mixes_and_sizes() -> None:
    check([row for row in ROWS if "error" in row])
    check([row for row in ROWS if row["imatrix"]][::STEP])
    check(ROWS[::STEP])


@pytest.mark.long
def test_all_recorded_mixes_and_sizes() -> None:
    assert len(ROWS) == 989
    check(ROWS)


def test_files_that_were_quantized_hold_the_same_types() -> None:
    for path in sorted(oracle.FIXTURES.glob("headers/*.Q4_K_M.gguf.gz")):
        name = path.name.removesuffix(".Q4_K_M.gguf.gz")
        row = {"model": name, "ftype": "Q4_K_M", "imatrix": False}
        types = {each.name: each.type for each in quantized(row)}
        assert types == {each.name: each.type for each in oracle.model(name, "Q4_K_M").tensors}


def test_any_file_of_a_model_gives_the_same_quantization() -> None:
    small = oracle.model("llama-3.1-8b", "Q4_K_M")
    again = types_of(small.tensors, small.metadata, find_file_type("Q6_K"))
    row = {"model": "llama-3.1-8b", "ftype": "Q6_K", "imatrix": False}
    assert set(again) == set(quantized(row))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("q4_K_M", "Q4_K_M"),
        ("q4_k_m", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("q3_k", "Q3_K_M"),
        ("Q5_K", "Q5_K_M"),
        ("fp16", "F16"),
        ("mxfp4", "MXFP4_MOE"),
        (" iq4_nl ", "IQ4_NL"),
    ],
)
def test_file_types_by_any_spelling(written: str, meant: str) -> None:
    assert find_file_type(written).name == meant


@pytest.mark.parametrize("written", ["", "Q4", "Q8_K", "UD-Q4_K_XL", "NVFP4", "COPY"])
def test_unknown_file_types_are_refused_in_one_line(written: str) -> None:
    with pytest.raises(PlannerError) as refused:
        find_file_type(written)
    assert "\n" not in str(refused.value)


def test_file_types_by_the_number_in_a_file() -> None:
    assert name_of_id(15) == "Q4_K_M"
    assert name_of_id(15 | GUESSED) == "Q4_K_M"
    assert name_of_id(4711) is None
    assert {row["ftype"] for row in ROWS} == set(FILE_TYPES)


@pytest.mark.parametrize(
    ("quant", "needed"),
    [("IQ2_XXS", True), ("IQ1_M", True), ("Q2_K_S", True), ("Q2_K", False), ("IQ4_XS", False)],
)
def test_importance_matrix_is_needed(quant: str, needed: bool) -> None:
    tensors = quantized({"model": "llama-3.1-8b", "ftype": quant, "imatrix": False})
    assert needs_imatrix(tensors, find_file_type(quant)) is needed


def test_rows_that_no_block_divides_stay_at_16_bits() -> None:
    shape = (80, 64)
    odd = Tensor("blk.0.ffn_up.weight", shape, "f16", tensor_bytes("f16", shape))
    metadata = oracle.model("llama-3.1-8b", "F16").metadata
    for quant in ("Q4_K_M", "Q8_0", "IQ2_M"):
        assert types_of([odd], metadata, find_file_type(quant)) == (odd,)


@pytest.mark.parametrize(
    ("name", "quant", "falls"),
    [
        ("qwen3-8b", "Q4_K_M", False),
        ("qwen2.5-0.5b", "Q4_K_M", True),
        # Its head would have six bits, in groups of 256.
        ("qwen2.5-0.5b", "Q4_0", True),
        ("qwen2.5-0.5b", "Q8_0", False),
        ("qwen2.5-0.5b", "F16", False),
    ],
)
def test_weights_whose_rows_do_not_suit_their_type_are_counted(
    name: str, quant: str, falls: bool
) -> None:
    plain = oracle.model(name, "F16")
    fallen = weights_fallen_back(plain.tensors, plain.metadata, find_file_type(quant))
    assert bool(fallen) == falls
    assert fallen < sum(prod(each.shape) for each in plain.tensors)
