"""``manage.py quant-size``: sizes of files that need not exist."""

import gzip
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.labdash.management.conftest import Run
from tests.oracle import FIXTURES


@pytest.fixture
def header(tmp_path: Path) -> Path:
    """Write the header of a 16-bit file, as its first bytes came."""
    path = tmp_path / "llama-3.1-8b.F16.gguf"
    packed = FIXTURES / "headers" / f"{path.name}.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


def test_header_alone_gives_the_size_of_its_file(manage: Run, header: Path) -> None:
    result = manage("quant-size", str(header), "--to", "q4_k_m", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "sizes": [
            {
                "quant": "Q4_K_M",
                "bytes": 4_912_898_304,
                # The header and the key that llama-quantize adds, padded.
                "file_bytes": 4_912_898_304 + 18_016 + 64,
                "bits_per_weight": 4.8944,
                "types": {"q4_K": 193, "f32": 66, "q6_K": 33},
                "needs_imatrix": False,
            }
        ]
    }


def test_without_a_type_all_are_listed(header: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("quant-size", str(header), "--imatrix", "--json")
    sizes = {each["quant"]: each for each in json.loads(capsys.readouterr().out)["sizes"]}
    assert len(sizes) == 35
    assert sizes["IQ4_XS"]["bytes"] == 4_439_826_688
    assert [name for name, each in sizes.items() if each["needs_imatrix"]] == [
        "IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S",
    ]  # fmt: skip


def test_catalog_tells_sizes_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("quant-size", "qwen3:14b", "--to", "Q4_K_M", "--tensors", "--json")
    (found,) = json.loads(capsys.readouterr().out)["sizes"]
    assert found["file_bytes"] is None
    assert sum(each["bytes"] for each in found["tensors"]) == found["bytes"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gpt-oss:20b", "--to", "Q1_0"], "llama-quantize makes no Q1_0 of this model"),
        ([__file__, "--to", "Q4_K_M"], "no GGUF file"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        call_command("quant-size", *arguments)
    assert refused.value.returncode == 2


def test_bad_input_is_one_line(manage: Run) -> None:
    result = manage("quant-size", "qwen3:99b", "--to", "Q4_K_M")
    assert (result.returncode, result.stdout) == (2, "")
    assert "the catalog has no qwen3:99b" in result.stderr
    assert result.stderr.count("\n") == 1
