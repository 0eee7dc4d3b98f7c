"""A name has one size and one speed, whatever page tells of it."""

from dataclasses import replace

import pytest

from labdash.catalog.gpus import find_gpu
from labdash.catalog.models import find_model
from labdash.queries.catalog_fits import file_fit, lab_fit
from labdash.queries.fit_models import choose, choose_stock
from labdash.queries.fit_places import Place, what_if_place
from labdash.queries.guide_cells import cell_at, variant_at
from labdash.queries.guide_ladder import read_rung
from labdash.queries.guide_memory import read_memory
from labdash.queries.guide_models import open_guide_model
from labdash.queries.guide_one_model import read_model
from labdash.queries.quant_ladder import known_quant
from labdash.queries.variants import family_of

pytestmark = pytest.mark.django_db

OF_OWN_MAKING = ("gpt-oss:20b", "gpt-oss:120b")
NAMES = (*OF_OWN_MAKING, "qwen3:8b", "llama3.1:8b")


def place() -> Place:
    facts = find_gpu("RTX PRO 6000 Blackwell")
    assert facts
    return what_if_place(facts, facts.vram_gb[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_page_reckons_with_the_same_tensors(name: str) -> None:
    known = find_model(name).model
    quant = known_quant(known.default_quant) or ""
    own = variant_at(name, quant).model
    assert choose(name, "").model is own
    assert choose_stock(known.name, quant) is own
    assert next(each for each in family_of(name) if each.quant == quant).model is own


@pytest.mark.parametrize("name", OF_OWN_MAKING)
def test_tensors_are_those_of_the_file_that_is_pulled(name: str) -> None:
    file = find_model(name).model.default_file
    assert file
    assert choose(name, "").model.weight_bytes == pytest.approx(file.bytes, rel=0.002)


def test_speed_in_the_catalog_is_the_guides() -> None:
    known, where = find_model("gpt-oss:20b").model, place()
    cell = cell_at("gpt-oss:20b", "MXFP4_MOE", where, 8192)
    assert lab_fit(known, (where,)).speed == cell.speed
    by_file = {file.file: file_fit(known, file, "MXFP4_MOE", (where,)) for file in known.files}
    assert by_file["gpt-oss:20b"].speed == cell.speed
    # What llama-quantize makes is smaller, so it is faster.
    others = [fit for file, fit in by_file.items() if file != "gpt-oss:20b"]
    assert others
    for fit in others:
        assert (fit.weight_bytes or 0) < cell.variant.model.weight_bytes
        assert fit.speed
        assert cell.speed
        assert fit.speed.low > cell.speed.low


@pytest.mark.parametrize("name", ["gpt-oss:20b", "qwen3:8b"])
def test_bits_are_those_of_the_size_beside_them(name: str) -> None:
    model = open_guide_model(name)
    quant = model.default_quant
    rung = read_rung(model, quant)
    assert rung
    assert rung.is_published
    bits = 8 * rung.file_bytes / model.params
    assert rung.shown_bits == pytest.approx(bits)
    row = next(r for r in read_memory(size="", name=name, ctx=8192).gguf if r.quant == quant)
    assert row.bits == pytest.approx(8 * row.weight_bytes / model.params)
    way = next(w for w in read_model(name, (), 8192).ways if w.variant.quant == quant)
    assert way.bits == pytest.approx(bits, rel=0.001)
    assert replace(way, variant=replace(way.variant, file_bytes=None)).bits > 0
