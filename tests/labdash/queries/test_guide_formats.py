"""One model in every format."""

import pytest

from labdash.planner.errors import PlannerError
from labdash.queries.guide_formats import MEASURED, Stored, gguf_qualities, read_formats


def stored_of(name: str, card: str) -> dict[str, Stored]:
    return {each.key: each for each in read_formats(name, card).stored}


def test_formats_have_the_sizes_that_were_published() -> None:
    stored = stored_of("llama3.1:8b", "RTX 3090")
    # mlx-community on Hugging Face, without the header of its files.
    assert stored["mlx"].bytes == 4_517_404_672
    # Meta's own files: 8,030,261,248 weights of two bytes.
    assert stored["safetensors"].bytes == 2 * 8_030_261_248
    assert 0 < 4_920_738_944 - stored["gguf"].bytes < 8_000_000


def test_no_engine_reads_faster_than_the_card() -> None:
    stored = stored_of("llama3.1:8b", "RTX 3090")
    # The token table is looked up, one row a token: 128,256 rows of 4,096 in two bytes.
    read = stored["safetensors"].bytes - 128_256 * 4096 * 2
    assert stored["safetensors"].ceiling == pytest.approx(936e9 / read)
    assert stored["mlx"].ceiling is None
    on_mac = stored_of("llama3.1:8b", "Apple M4 Max")
    assert on_mac["mlx"].ceiling
    assert on_mac["gptq"].ceiling is None


def test_of_a_mixture_a_token_reads_few_experts() -> None:
    four = stored_of("qwen3:30b", "RTX 3090")["gguf"]
    assert read_formats("qwen3:30b", "RTX 3090").mixture
    assert four.ceiling
    # 3.35 of 30.5 billions are active, 0.31 of them the token table, of which one row is read.
    assert 8 < four.ceiling / (936e9 / four.bytes) < 30.5 / (3.35 - 0.31)


@pytest.mark.parametrize(
    ("name", "card", "text"),
    [
        ("qwen3:8b", "no such card", "the catalog has no GPU 'no such card'"),
        ("no-such-model", "RTX 3090", "the catalog has no model no-such-model"),
        ("/etc/passwd", "RTX 3090", "the catalog has no model"),
    ],
)
def test_what_cannot_be_compared_gets_one_line(name: str, card: str, text: str) -> None:
    with pytest.raises(PlannerError, match=text) as refused:
        read_formats(name, card)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["gpt-oss:20b", "gpt-oss:120b"])
def test_what_is_published_in_four_bits_gets_no_larger_in_any_format(name: str) -> None:
    found = read_formats(name, "RTX 3090")
    sizes = {each.key: each.bytes for each in found.stored}
    assert found.gguf.quant == "MXFP4_MOE"
    assert set(sizes) == {"gguf", "mlx", "safetensors"}
    assert all(each.bits < 5.5 for each in found.stored)
    assert sizes["mlx"] < sizes["safetensors"]


def test_originals_in_mxfp4_have_their_published_size() -> None:
    # openai/gpt-oss-20b on Hugging Face, without the headers of its three files.
    assert stored_of("gpt-oss:20b", "RTX 3090")["safetensors"].bytes == 13_761_264_768


def test_every_row_ends_in_a_pull_or_a_command() -> None:
    for name in ("qwen3:8b", "gpt-oss:20b"):
        stored = stored_of(name, "RTX 3090")
        assert {key for key, each in stored.items() if not each.text} == {"gguf"}


def test_losses_are_differences_of_the_table() -> None:
    assert [row.losses for row in MEASURED] == [
        (1.06, 1.13, 0.63),
        (0.77, 0.42, 0.51),
        (0.25, -0.10, -0.11),
    ]
    assert all(row.quant == file.quant for row, file in gguf_qualities())
