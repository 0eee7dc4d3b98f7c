"""What quantizations lose."""

import pytest

from labdash.catalog.files import read_json
from labdash.catalog.quality import find_quality, qualities


def test_the_table_has_sources_and_a_row_for_each_quantization_once() -> None:
    assert all(read_json("quality.json")["sources"].values())
    keys = [(row.quant, row.imatrix) for row in qualities()]
    assert len(keys) == len(set(keys)) == 34


@pytest.mark.parametrize(
    ("quant", "imatrix", "kld", "ppl_70b"),
    [
        ("Q8_0", None, 0.001355, 2.8316),
        ("q4_K_M", None, 0.028152, 2.9674),
        ("Q4_K_M", False, 0.031273, None),
        ("IQ1_S", None, 2.254554, 9.8655),
    ],
)
def test_a_quantization_has_its_measured_loss(
    quant: str, imatrix: bool | None, kld: float, ppl_70b: float | None
) -> None:
    row = find_quality(quant, imatrix=imatrix)
    assert row is not None
    assert (row.kld, row.ppl_70b) == (kld, ppl_70b)


def test_fewer_bits_of_one_kind_lose_more() -> None:
    kinds = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
    losses = [row.kld for kind in kinds if (row := find_quality(kind))]
    assert losses == sorted(losses)
    assert len(losses) == len(kinds)


def test_what_nobody_measured_has_no_loss() -> None:
    assert find_quality("MXFP4_MOE") is None
