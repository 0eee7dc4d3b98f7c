"""One model in all its ways: published sizes where there are any, unknown where nobody knows."""

from dataclasses import replace

import pytest

from labdash.catalog.files import read_lines
from labdash.catalog.own import own_rows, take
from labdash.planner.errors import PlannerError
from labdash.planner.memory.companions import USUAL_IMAGE_BYTES
from labdash.queries.guide_one_model import params_of, read_model
from labdash.queries.guide_places import usual_places


def test_way_tells_the_published_size_and_says_so() -> None:
    row = next(each for each in read_lines("models.jsonl") if each.get("ollama") == "llama3.3:70b")
    published = {file["quant"]: file["bytes"] for file in row["files"]}
    ways = read_model("llama3.3:70b", (), 8192).ways
    told = {way.variant.quant: way.variant.file_bytes for way in ways if way.published}
    assert told == {"Q4_K_M": published["Q4_K_M"]}


@pytest.mark.parametrize(("name", "quant"), [("qwen3.5:9b", "Q4_K_M"), ("gemma3:4b", "Q4_K_M")])
def test_size_is_published_with_and_without_what_reads_images(name: str, quant: str) -> None:
    found = read_model(name, (), 8192)
    assert next(way for way in found.ways if way.variant.quant == quant).published
    room = found.images_bytes - found.projector_bytes
    assert room == USUAL_IMAGE_BYTES
    for use in (way.use for way in found.ways):
        others = use.weights_bytes + use.kv_bytes + use.compute_bytes + use.overhead_bytes
        assert use.total_bytes == others + found.images_bytes


def test_model_of_one_format_has_one_way() -> None:
    found = read_model("gpt-oss:20b", (), 8192)
    assert [way.variant.quant for way in found.ways] == ["MXFP4_MOE"]


def test_model_that_makes_no_text_has_no_speed_and_no_cache() -> None:
    found = read_model("nomic-embed-text", (), 8192)
    assert found.is_embedding
    assert found.context == 2048
    assert [way.use.kv_bytes for way in found.ways] == [0, 0, 0]
    assert not any(cell.speed for row in found.carried for cell in row.cells if cell)


@pytest.mark.parametrize("name", ["qwen3:235b", "deepseek-r1:671b"])
def test_model_that_fits_nowhere_lacks_memory_everywhere(name: str) -> None:
    found = read_model(name, (), 8192)
    assert not any(row.best for row in found.carried)
    for row in found.carried:
        assert all(cell and cell.verdict != "whole" and cell.short_bytes for cell in row.cells)


def test_room_that_is_not_known_is_told_as_unknown() -> None:
    place = usual_places()[0]
    cards = tuple(replace(card, room_bytes=None) for card in place.cards)
    blind = replace(place, key="den", node="den", cards=cards)
    found = read_model("qwen3:8b", (blind,), 8192)
    assert {cell.verdict for cell in found.carried[0].cells if cell} == {"unknown"}
    assert found.carried[0].best is None


def test_entry_of_the_labs_own_is_reckoned_as_any_other() -> None:
    row = next(each for each in read_lines("models.jsonl") if each.get("ollama") == "qwen3:8b")
    kept = own_rows()
    take((*kept, {**row, "name": "Zap-8B", "ollama": "zap:8b", "files": []}))
    try:
        own, like = read_model("zap:8b", (), 8192), read_model("qwen3:8b", (), 8192)
        assert [way.use for way in own.ways] == [way.use for way in like.ways]
        assert not any(way.published for way in own.ways)
    finally:
        take(kept)
    with pytest.raises(PlannerError):
        read_model("zap:8b", (), 8192)


@pytest.mark.parametrize(
    "name", ["<script>", "../../etc/passwd", "x" * 350, "qwen3:8b:8b", "granite4:small-h"]
)
def test_what_nobody_knows_is_refused_with_one_line(name: str) -> None:
    with pytest.raises(PlannerError) as refusal:
        read_model(name, (), 8192)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "pulled"),
    [
        ("qwen3:8b", ["qwen3:8b-fp16", "qwen3:8b-q8_0", "qwen3:8b"]),
        ("qwen3-vl:4b", ["qwen3-vl:4b-instruct-bf16", "qwen3-vl:4b-instruct-q8_0", "qwen3-vl:4b"]),
    ],
)
def test_every_way_is_pulled_by_a_tag_that_the_library_has(name: str, pulled: list[str]) -> None:
    ways = read_model(name, (), 8192).ways
    assert [way.variant.name for way in ways] == pulled
    assert not any(way.variant.guessed for way in ways)


def test_loss_is_not_told_of_a_mix_that_nobody_measured() -> None:
    for name, quants in (("qwen2.5:0.5b", ["Q4_K_M"]), ("qwen3:8b", [])):
        ways = read_model(name, (), 8192).ways
        assert [way.variant.quant for way in ways if way.is_unlike] == quants


def test_example_shows_every_way() -> None:
    found = read_model("hf.co/prithivMLmods/VibeThinker-3B-GGUF", (), 8192)
    assert [way.variant.quant for way in found.ways] == ["BF16", "Q8_0", "Q4_K_M"]
    assert params_of("hf.co/prithivMLmods/VibeThinker-3B-GGUF") == pytest.approx(3.09, abs=0.01)


def test_buttons_take_what_runs_well_and_no_16_bits_beside_8() -> None:
    rows = {row.place.key: row for row in read_model("qwen3:4b", (), 8192).carried}
    best = {key: rows[key].best for key in ("rtx-3090", "mini-pc", "rtx-4060")}
    quants = {key: each.variant.quant for key, each in best.items() if each}
    assert quants == {"rtx-3090": "Q8_0", "mini-pc": "Q4_K_M", "rtx-4060": "Q8_0"}
