"""What is installed in a lab, by the models of the catalog."""

from labdash.catalog.models import find_model
from labdash.queries.shelf import Have, Shelf, default_quant, find, quant_of

KNOWN = find_model("qwen3:14b").model


def test_names_are_files_of_the_models_that_they_name() -> None:
    hub = Have(name="hf.co/bartowski/Qwen_Qwen3-14B-GGUF:Q6_K")
    shelf = Shelf((Have(name="qwen3:14b"), hub, Have(name="mistral:7b")))
    assert shelf.of(KNOWN, "Q4_K_M") == (Have(name="qwen3:14b"),)
    assert shelf.of(KNOWN, "Q6_K") == (hub,)
    assert shelf.of(KNOWN, "Q8_0") == ()


def test_a_tuned_model_of_the_family_is_no_file_of_it() -> None:
    assert Shelf((Have(name="mine:latest", family="qwen3:14b", quant="Q4_K_M"),)).by_model == {}


def test_an_alias_of_labdash_is_no_file_of_its_own() -> None:
    alias = Have(name="labdash/qwen3-14b:latest", digest="a")
    shelf = Shelf((alias, Have(name="qwen3:14b", digest="a")))
    assert [have.name for have in shelf.of(KNOWN, "Q4_K_M")] == ["qwen3:14b"]
    assert list(shelf.names_of("a")) == ["labdash/qwen3-14b:latest", "qwen3:14b"]
    assert list(shelf.names_of(None)) == []


def test_names_are_found_in_any_case_and_without_latest() -> None:
    told = Have(name="Mine:latest", digest="a")
    assert Shelf((told, Have(name="mine"))).by_name["mine"] is told


def test_the_quant_is_what_the_server_says_before_what_the_name_says() -> None:
    assert quant_of(Have(name="qwen3:14b", quant="Q5_K_M"), KNOWN) == "Q5_K_M"
    assert quant_of(Have(name="qwen3:14b-q8_0"), KNOWN) == "Q8_0"
    assert quant_of(Have(name="qwen3:14b"), KNOWN) == "Q4_K_M"
    assert quant_of(Have(name="qwen3:14b", quant="unknown"), KNOWN) is None


def test_a_model_with_one_published_quant_has_that() -> None:
    assert default_quant(find_model("embeddinggemma").model) == "Q8_0"
    assert default_quant(find_model("gemma4:31b").model) is None


def test_an_unknown_name_is_none() -> None:
    assert (find("nosuch"), find("")) == (None, None)
