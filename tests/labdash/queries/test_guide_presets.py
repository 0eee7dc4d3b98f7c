"""The guide's numbers, beside records that the planner did not make.

``published.jsonl`` has files whose size somebody else stated to the byte. A file is its weights
and a header, and the header is nearly the vocabulary: two files of one model must leave the same.
"""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from labdash.catalog.quality import find_quality
from labdash.queries.guide_ladder import read_ladder
from labdash.queries.guide_memory import PRESETS, read_memory
from labdash.queries.guide_quality import read_quality
from labdash.queries.opening import open_model
from tests import oracle

# The guide looks for a model in the lab too.
pytestmark = pytest.mark.django_db
PUBLISHED = Path(__file__).parents[2] / "fixtures" / "published.jsonl"
MIB = 2**20
# The longest vocabulary of these models takes 8 MB.
MOST_HEADER_BYTES = 8_000_000
# Names, licences and templates that packagers write in differ by less.
HEADERS_DIFFER_BYTES = 5_000
# The oracle's models by the names that the guide's pages ask the catalog for.
OF_ORACLE = {
    "llama3.1:8b": "llama-3.1-8b",
    "llama3.2:1b": "llama-3.2-1b",
    "llama3.3:70b": "llama-3.3-70b",
    "qwen2.5:7b": "qwen2.5-7b",
    "qwen2.5:14b": "qwen2.5-14b",
    "qwen3:8b": "qwen3-8b",
    "qwen3:30b": "qwen3-30b-a3b",
    "mixtral:8x7b": "mixtral-8x7b",
}
QUANTS = ("Q8_0", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")
OF_LADDER = ("Llama-3.2-3B-Instruct", "Mistral-7B-Instruct-v0.1", "Qwen2.5-Coder-7B-Instruct")
# What the oracle's settings must be for a page's plain question: one card, all layers on it.
PLAIN = {
    "n_devices": 1, "n_seq": 1, "fa": True, "type_k": "f16", "type_v": "f16", "ngl": 999,
    "n_ubatch": 512, "n_batch": 2048, "swa_full": False, "offload_kqv": True, "op_offload": True,
    "kv_unified": False, "override_to_cpu": None, "quant": "Q4_K_M", "n_outputs_max": 1,
}  # fmt: skip


@cache
def published() -> tuple[dict[str, Any], ...]:
    """Return the recorded files."""
    return tuple(json.loads(line) for line in PUBLISHED.read_text("utf-8").splitlines())


def test_the_guides_sizes_are_those_of_published_files() -> None:
    headers = defaultdict(list)
    for row in published():
        weights = open_model(row["model"], row["quant"], imatrix=row["imatrix"]).model.weight_bytes
        headers[row["model"]].append(row["bytes"] - weights)
    assert len(published()) >= 20
    assert len(headers) >= 8
    for model, left in headers.items():
        assert 0 < min(left) <= max(left) < MOST_HEADER_BYTES, model
        assert max(left) - min(left) < HEADERS_DIFFER_BYTES, model


def test_the_guides_ladder_has_the_sizes_of_published_files() -> None:
    rows = [row for row in published() if row["model"] in OF_LADDER and not row["imatrix"]]
    assert len(rows) >= 8
    for row in rows:
        model, rungs = read_ladder(row["model"])
        bits = {rung.quant: rung.bits for rung in rungs}[row["quant"]]
        header = row["bytes"] - bits * model.params / 8
        assert 0 < header < MOST_HEADER_BYTES, row


def test_the_guides_types_are_what_llama_quantize_printed() -> None:
    names = {model: name for name, model in OF_ORACLE.items()}
    rows = [
        row for row in oracle.read_rows("quant") if row["model"] in names and "error" not in row
    ]
    wanted = [row for row in rows if row["ftype"] in {"Q8_0", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"}]
    assert len(wanted) >= 3 * len(names)
    for row in wanted:
        source = open_model(names[row["model"]], row["ftype"], imatrix=row["imatrix"])
        got = round(source.model.weight_bytes / MIB, 2)
        assert got == row["quant_size_MiB"], (row["model"], row["ftype"])


def test_the_guides_memory_is_what_llama_cpp_reported() -> None:
    names = {model: name for name, model in OF_ORACLE.items()}
    rows = [
        row
        for row in oracle.runs(10573)
        if row["model"] in names and all(row.get(key) == value for key, value in PLAIN.items())
    ]
    rows = [row for row in rows if row["n_ctx"] in (8192, 32_768)]
    assert len({row["model"] for row in rows}) == len(names)
    # Ollama's newest builds of the time of that record reckon as it did.
    for row in rows:
        found = read_memory(size="", name=names[row["model"]], ctx=row["n_ctx"]).beside
        said = oracle.recorded(row)
        mib = (found.weights_bytes / MIB, found.kv_bytes / MIB, found.compute_bytes / MIB)
        assert mib == pytest.approx((said.weights[0], said.kv[0], said.compute[0]), abs=0.1), row


@pytest.mark.parametrize(
    ("size", "gigabytes"),
    [
        # Of 32, 16, 8 and 4 bits.
        ("7B", (28.0, 14.0, 7.0, 3.5)),
        ("13B", (52.0, 26.0, 13.0, 6.5)),
        ("70B", (280.0, 140.0, 70.0, 35.0)),
    ],
)
def test_presets_are_plain_arithmetic(size: str, gigabytes: tuple[float, ...]) -> None:
    assert size in PRESETS
    rows = read_memory(size=size, name="", ctx=8192).plain
    assert tuple(row.weight_bytes / 1e9 for row in rows) == gigabytes
    assert all(row.total_bytes > row.weight_bytes for row in rows)


@pytest.mark.parametrize(
    ("quant", "imatrix", "of_8b", "of_70b"),
    [
        # llama.cpp tools/perplexity/README.md, and XiongjieDai/GPU-Benchmarks-on-LLM-Inference.
        ("F16", False, 6.2332, 2.8308),
        ("Q8_0", False, 6.2343, 2.8316),
        ("Q6_K", True, 6.2534, 2.8441),
        ("Q5_K_M", True, 6.2886, 2.8656),
        ("Q4_K_M", True, 6.3829, 2.9674),
        ("Q4_K_M", False, 6.4071, None),
        ("Q4_0", False, 6.7001, None),
        ("Q3_K_M", True, 6.7343, 3.3617),
        ("Q2_K", True, 8.6478, 4.7763),
        ("IQ2_XXS", True, 14.0918, 6.6705),
        ("IQ1_S", True, 60.6946, 9.8655),
    ],
)
def test_the_guides_quality_is_the_published_one(
    quant: str, imatrix: bool, of_8b: float, of_70b: float | None
) -> None:
    row = find_quality(quant, imatrix=imatrix)
    assert row is not None
    assert (row.ppl_8b, row.ppl_70b) == (of_8b, of_70b)
    shown = {each.quant: each for each in read_quality()}[quant]
    if shown.measured.imatrix == imatrix:
        assert shown.worse_8b == pytest.approx(of_8b / 6.2332 - 1)
