"""The files that a deployment may be served with."""

import pytest

from labdash.planner.errors import PlannerError
from labdash.planner.lab import Deployment
from labdash.queries.shelf import Have, Shelf
from labdash.queries.variants import (
    UnknownModelError,
    UnknownQuantError,
    family_of,
    own_quant,
    smaller,
    variants_of,
)


def names(*asked: str, have: tuple[Have, ...] = ()) -> list[str]:
    """Return what would be pulled, from the wish to the floor."""
    return [each.name for each in variants_of(*asked, shelf=Shelf(have))]


def test_they_go_from_the_wish_to_the_floor() -> None:
    found = variants_of("llama3.1:8b", "Q4_K_M", "Q8_0")
    assert [each.quant for each in found] == ["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M"]
    assert [each.name for each in found[:2]] == [
        "llama3.1:8b-instruct-q8_0", "llama3.1:8b-instruct-q6_K",
    ]  # fmt: skip
    assert not found[0].guessed
    floor = found[-1]
    assert (floor.name, floor.guessed, floor.file_bytes) == ("llama3.1:8b", False, 4_920_738_944)
    assert "llama3.1:latest" in floor.names


def test_what_the_user_left_out_is_the_models_usual_quant() -> None:
    assert names("gemma2:9b") == ["gemma2:9b"]
    assert [each.quant for each in variants_of("gemma2:9b")] == ["Q4_0"]
    assert [each.quant for each in variants_of("qwen3:8b-q8_0")] == ["Q8_0"]
    assert [each.quant for each in variants_of("qwen3:8b", "Q6_K")] == ["Q6_K"]
    assert [each.quant for each in variants_of("qwen3:8b", "", "Q3_K_M")] == ["Q3_K_M"]
    assert [each.quant for each in variants_of("qwen3:8b", "", "Q5_K_S")] == ["Q5_K_S", "Q4_K_M"]


def test_a_file_whose_repository_the_catalog_tells_is_not_guessed() -> None:
    repository = "hf.co/prithivMLmods/VibeThinker-3B-GGUF"
    (seen,) = variants_of("VibeThinker-3B", "BF16", "BF16")
    assert (seen.name, seen.guessed, seen.file_bytes) == (f"{repository}:BF16", False, 6178316992)
    (other,) = variants_of("VibeThinker-3B", "Q8_0", "Q8_0")
    assert (other.name, other.guessed) == (f"{repository}:Q8_0", True)


def test_the_same_question_gives_the_same_objects() -> None:
    once, again = variants_of("qwen3:8b", "Q4_K_M", "Q8_0"), variants_of("qwen3:8b", "Q8_0")
    assert once[0] is again[0]


def test_what_is_installed_is_taken_under_its_name() -> None:
    hub = "hf.co/bartowski/Qwen3-14B-GGUF:Q6_K"
    own = Have(name="labdash/big:latest", family="qwen3:14b", quant="Q6_K", digest="a")
    have = (Have(name=hub, quant="Q6_K", digest="a", size_bytes=7), own)
    first, last = variants_of("qwen3:14b", "Q4_K_M", "Q6_K", shelf=Shelf(have))[::3]
    assert (first.name, first.digest, first.file_bytes, first.guessed) == (hub, "a", 7, False)
    assert first.names == {hub, "labdash/big:latest"}
    assert last.name == "qwen3:14b"


def test_what_was_asked_for_goes_before_another_file_of_that_quant() -> None:
    have = (Have(name="hf.co/a/Qwen3-14B-GGUF:Q4_K_M", digest="b"), Have(name="qwen3:14b"))
    assert names("qwen3:14b", have=have) == ["qwen3:14b"]


def test_a_repository_is_served_from_itself() -> None:
    asked, have = "hf.co/unsloth/Qwen3-14B-GGUF", (Have(name="qwen3:14b"),)
    assert names(asked, "Q4_K_M", have=have) == [f"{asked}:Q4_K_M"]


def test_an_installed_quant_between_is_offered() -> None:
    have = (Have(name="qwen3:14b-q4_0", quant="Q4_0"),)
    found = variants_of("qwen3:14b", "Q3_K_M", "Q4_K_M", shelf=Shelf(have))
    assert [each.quant for each in found] == ["Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_M"]


def test_an_own_model_has_the_one_quant_that_is_installed() -> None:
    mine = Have(name="mine:latest", family="qwen3:8b", quant="Q4_K_M", digest="c")
    assert names("mine", have=(mine,)) == ["mine:latest"]
    assert names("mine", "Q4_K_M", "Q8_0", have=(mine,)) == ["mine:latest"]
    with pytest.raises(UnknownQuantError, match="mine is installed as Q4_K_M"):
        names("mine", "Q8_0", have=(mine,))


@pytest.mark.parametrize(
    ("name", "heard_of", "text"),
    [
        ("nosuch:7b", False, "the catalog has no model nosuch"),
        ("qwen3:15b", False, "the catalog has no qwen3:15b; it has"),
        ("odd", True, "odd:latest is installed, but the catalog does not know its shape"),
        ("strange", True, "strange is quantized as AWQ"),
        ("moondream", True, "the shape of moondream2 is not known"),
        ("llama3.2-vision:11b", True, "the tensors of mllama are not known by heart"),
    ],
)
def test_an_unknown_model_is_one_line(name: str, heard_of: bool, text: str) -> None:
    have = (Have(name="odd:latest"), Have(name="strange", family="qwen3:8b", quant="AWQ"))
    with pytest.raises(UnknownModelError, match=text) as caught:
        names(name, have=have)
    assert caught.value.heard_of is heard_of


@pytest.mark.parametrize("quants", [("Q9",), ("Q8_0", "Q4_K_M"), ("Q4_K_M", "best")])
def test_what_is_no_quant_is_refused(quants: tuple[str, ...]) -> None:
    with pytest.raises(PlannerError):
        names("qwen3:8b", *quants)


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        # Published files of projectors, and what the owner of shared/data/labs/03 saw.
        ("qwen3.5:4b", 672_423_616),
        ("qwen3.8:27b", 0.86 * 2**30),
        ("qwen3.6:35b", 0.86 * 2**30),
        ("gemma3:12b", 851_251_104),
    ],
)
def test_a_projector_is_as_large_as_was_seen(name: str, measured: float) -> None:
    (found,) = variants_of(name, "Q4_K_M")
    assert found.vision
    assert found.projector_bytes == pytest.approx(measured, rel=0.05)


def test_an_estimated_projector_says_so() -> None:
    (estimated,) = variants_of("gemma3:12b", "Q4_K_M")
    (published,) = variants_of("gemma3:4b", "Q4_K_M")
    assert (len(estimated.assumed), published.assumed) == (1, ())


def test_a_file_that_reads_no_images_has_no_projector() -> None:
    seeing = variants_of("gemma3:12b")[0]
    own = Have(name="gemma3:12b", digest="a", vision=False)
    blind, like_it = variants_of("gemma3:12b", "Q4_K_M", "Q8_0", shelf=Shelf((own,)))[::-4]
    assert seeing.projector_bytes
    assert (blind.projector_bytes, blind.vision) == (0, False)
    assert (like_it.quant, like_it.projector_bytes) == ("Q8_0", 0)


def test_a_file_from_elsewhere_says_nothing_of_the_librarys() -> None:
    hub = Have(name="hf.co/some/gemma-3-12b-it-GGUF:Q6_K", digest="a", vision=False)
    found = variants_of("gemma3:12b", "Q4_K_M", "Q6_K", shelf=Shelf((hub,)))
    assert {each.quant: bool(each.projector_bytes) for each in found} == {
        "Q6_K": False, "Q5_K_M": True, "Q5_K_S": True, "Q4_K_M": True,
    }  # fmt: skip


def test_a_pull_fetches_the_projector_too() -> None:
    (beside,) = variants_of("llava:7b")
    assert beside.file_bytes == 4_108_916_992 + 624_434_368
    (within,) = variants_of("gemma3:4b")
    assert within.file_bytes == 3_338_792_448


def test_embedders_are_told() -> None:
    (found,) = variants_of("nomic-embed-text")
    assert (found.embedding, found.vision, found.quant) == (True, False, "F16")


def wanted(*asked: str, have: tuple[Have, ...] = ()) -> Deployment:
    """Return a deployment of a model with these quants."""
    variants = variants_of(*asked, shelf=Shelf(have))
    return Deployment(name="x", model=asked[0], variants=variants, ctx_floor=4096, ctx_wish=4096)


def test_smaller_ones_lie_below_the_floor() -> None:
    found = smaller(wanted("qwen3:8b", "Q4_K_S", "Q8_0"))
    assert [each.quant for each in found] == ["Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"]


def test_nothing_is_smaller_than_an_own_model() -> None:
    have = (Have(name="mine", family="qwen3:8b", quant="Q4_K_M"),)
    assert smaller(wanted("mine", have=have), shelf=Shelf(have)) == ()


def test_a_registry_that_lists_its_names_is_asked_for_no_others() -> None:
    offered = frozenset({"qwen3:8b-q8_0", "qwen3:8b"})
    found = variants_of("qwen3:8b", "Q4_K_M", "Q8_0", shelf=Shelf(offered=offered))
    assert [(each.name, each.guessed) for each in found] == [
        ("qwen3:8b-q8_0", False),
        ("qwen3:8b", False),
    ]
    floor = variants_of("qwen3:8b", "Q5_K_M", "Q8_0", shelf=Shelf(offered=offered))[-1]
    assert (floor.quant, floor.guessed) == ("Q5_K_M", True)


def test_what_is_installed_needs_no_registry() -> None:
    have = (Have(name="qwen3:8b-q6_K"),)
    found = variants_of("qwen3:8b", "Q4_K_M", "Q8_0", shelf=Shelf(have, frozenset({"qwen3:8b"})))
    assert [each.quant for each in found] == ["Q8_0", "Q6_K", "Q4_K_M"]


def test_the_librarys_gpt_oss_is_larger_than_the_file_of_llama_quantize() -> None:
    (library,), (hub,) = variants_of("gpt-oss:20b"), variants_of("hf.co/ggml-org/gpt-oss-20b-GGUF")
    published = 13_780_154_624
    assert library.model.weight_bytes == pytest.approx(published, rel=0.002)
    assert hub.model.weight_bytes == pytest.approx(12_109_565_632, rel=0.002)


def test_gpt_oss_is_taken_to_be_as_large_as_it_is_installed() -> None:
    sizes = {12_108_853_504: 12_109_565_632, 13_780_154_624: 13_780_154_624}
    for installed, weights in sizes.items():
        have = Have(name="gpt-oss:20b", quant="MXFP4", digest="a", size_bytes=installed)
        (found,) = variants_of("gpt-oss:20b", shelf=Shelf((have,)))
        assert found.model.weight_bytes == pytest.approx(weights, rel=0.002)


def test_a_family_has_all_usual_quants_and_its_own() -> None:
    quants = [each.quant for each in family_of("hf.co/unsloth/Qwen3-14B-GGUF:IQ4_XS")]
    assert quants[:3] == ["F16", "Q8_0", "Q6_K"]
    assert {"IQ4_XS", "Q2_K"} < set(quants)
    assert [each.quant for each in family_of("gpt-oss:20b")] == ["F16", "MXFP4_MOE"]
    assert own_quant("qwen3:8b-q8_0") == "Q8_0"
    own = Have(name="my-coder", family="qwen2.5-coder:14b", quant="Q5_K_M")
    assert [each.name for each in family_of("my-coder", shelf=Shelf((own,)))] == ["my-coder"]
