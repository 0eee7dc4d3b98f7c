"""Commands by hand: the numbers are the planner's, names cannot break out of them."""

import re

import pytest

from labdash.catalog.models import find_model
from labdash.planner.errors import PlannerError
from labdash.queries.guide_commands import hub_file, mlx_bits
from labdash.queries.guide_gone import GONE
from labdash.queries.guide_one_model import read_model
from labdash.queries.guide_places import find_place, usual_places
from labdash.queries.guide_recipes import make_commands
from labdash.queries.guide_start import Start, read_start
from labdash.queries.guide_tour import advise


def start(key: str, model: str, quant: str = "") -> Start:
    place = next(each for each in usual_places() if each.key == key)
    return read_start(model, quant, place, 8192, ())


def lines(found: Start) -> dict[str, str]:
    return {each.id: each.text for each in found.run}


def test_layers_of_a_split_are_those_that_fit() -> None:
    found = start("rtx-4060", "qwen3:14b")
    written = re.search(r"--n-gpu-layers (\d+)", lines(found)["by-llama-cpp"])
    assert written is not None
    assert int(written[1]) == found.cell.layers < found.cell.all_layers
    assert "--gpu 0." in lines(found)["by-lm-studio"]


@pytest.mark.parametrize(("key", "name"), [("rtx-4060", "qwen3:30b"), ("rtx-3060", "gpt-oss:20b")])
def test_of_a_mixture_that_fits_in_part_the_experts_go_to_ram(key: str, name: str) -> None:
    found = start(key, name)
    written = re.search(r"--n-gpu-layers (\d+) --n-cpu-moe (\d+)", lines(found)["by-llama-cpp"])
    assert written is not None
    layers, experts = int(written[1]), int(written[2])
    assert found.cell.layers < layers == found.cell.all_layers
    assert 0 < experts < found.cell.all_layers
    note = next(each.note for each in found.run if each.id == "by-llama-cpp")
    assert f"first {experts}, of which a token reads few" in note


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("rtx-4060", "qwen3:14b"),
        ("rtx-3090", "qwen3:30b"),
        ("mini-pc", "qwen3:30b"),
        ("2-p40", "gpt-oss:120b"),
    ],
)
def test_experts_stay_with_their_layers_where_nothing_is_split_so(key: str, name: str) -> None:
    assert "--n-cpu-moe" not in lines(start(key, name))["by-llama-cpp"]


def test_two_cards_share_the_layers_as_computed() -> None:
    found = start("2-rtx-3090", "llama3.3:70b", "Q4_K_M")
    shares = ",".join(map(str, found.cell.layers_by_card))
    assert f"--split-mode layer --tensor-split {shares}" in lines(found)["by-llama-cpp"]


def test_model_that_only_embeds_is_asked_for_no_conversation() -> None:
    found = lines(start("rtx-3090", "nomic-embed-text"))
    assert found["by-ollama"].endswith("nomic-embed-text-2k 'A sentence.'")
    assert found["by-llama-cpp"].endswith("--embeddings")
    assert "by-mlx" not in found


def test_machine_without_a_gpu_uses_none() -> None:
    assert "--device none --n-gpu-layers 0" in lines(start("mini-pc", "qwen3:8b"))["by-llama-cpp"]
    assert "--gpu off" in lines(start("mini-pc", "qwen3:8b"))["by-lm-studio"]


def test_only_what_a_button_does_is_called_ours() -> None:
    found = start("rtx-4060", "qwen3:8b")
    assert [each.id for each in (*found.run, *found.make) if each.is_ours] == ["by-ollama"]


def test_unknown_model_and_quant_are_refused_with_one_line() -> None:
    for model, quant in (("no-such-model", ""), ("qwen3:8b", "Q9_9")):
        with pytest.raises(PlannerError):
            start("rtx-4060", model, quant)


@pytest.mark.parametrize(
    ("model", "quant", "repository", "is_recorded"),
    [
        ("qwen3:8b", "Q4_K_M", "Qwen/Qwen3-8B-GGUF", True),
        ("qwen2.5-coder:7b", "Q4_K_M", "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", True),
        ("qwen3:8b", "Q6_K", "unsloth/Qwen3-8B-GGUF", False),
        # Recorded under another name than the model's: where it lies is a guess.
        ("llama3.1:8b", "Q4_K_M", "unsloth/Llama-3.1-8B-Instruct-GGUF", False),
    ],
)
def test_file_lies_where_it_was_recorded(
    model: str, quant: str, repository: str, is_recorded: bool
) -> None:
    file = hub_file(find_model(model).model, quant, model)
    assert (file.repository, file.is_recorded) == (repository, is_recorded)


def test_repository_that_was_asked_for_stays() -> None:
    asked = "hf.co/prithivMLmods/VibeThinker-3B-GGUF"
    file = hub_file(find_model(asked).model, "Q8_0", asked)
    assert (file.repository, file.quant) == ("prithivMLmods/VibeThinker-3B-GGUF", "Q8_0")


def test_lm_studio_is_given_an_address_since_names_with_a_quant_are_refused() -> None:
    # lms takes OWNER/NAME for its own catalog: letters, digits and hyphens, no quant.
    text = lines(start("rtx-4060", "qwen3:8b"))["by-lm-studio"]
    assert re.search(
        r"^lms get https://huggingface\.co/[\w.-]+/[\w.-]+@[a-z0-9_]+$", text, re.MULTILINE
    )


def test_each_tool_gets_an_environment_of_its_own() -> None:
    # Their pins of torch and compressed-tensors exclude each other.
    made = make_commands(find_model("qwen3:8b").model, "Q4_K_M")
    folders = [re.findall(r"python3 -m venv (\S+)", each.text) for each in made]
    assert folders == [["hf-tools", "gguf-tools"], ["gptq-tools"], ["awq-tools"]]
    for each in made:
        assert not re.search(r"^pip ", each.text, re.MULTILINE)


def test_what_is_published_in_four_bits_is_not_rounded_again() -> None:
    # llama-quantize: "requantizing from type mxfp4 is disabled".
    found = start("rtx-3090", "gpt-oss:20b")
    assert [each.id for each in found.make] == ["make-gguf"]
    assert "llama-quantize" not in found.make[0].text
    assert found.original_bytes == 13_780_154_624


def test_model_that_only_embeds_gets_no_matrix_and_no_formats_of_chats() -> None:
    made = make_commands(find_model("nomic-embed-text").model, "Q8_0")
    assert [each.id for each in made] == ["make-gguf"]
    assert "imatrix" not in made[0].text


@pytest.mark.parametrize("quant", ["Q8_0", "MXFP4_MOE", "TQ1_0", "Q1_0", "Q4_K_M", "IQ4_XS"])
def test_no_matrix_is_computed_that_would_be_thrown_away(quant: str) -> None:
    (gguf, *_) = make_commands(find_model("qwen3:8b").model, quant)
    uses = quant in ("Q4_K_M", "IQ4_XS")
    assert [word in gguf.text for word in ("llama-imatrix", "--imatrix")] == [uses, uses]
    assert ("text.txt" in gguf.note) == uses
    assert f"-{quant}.gguf {quant}" in gguf.text


def test_routers_of_a_mixture_are_not_rounded() -> None:
    ignored = {
        name: "(gate|router)$" in make_commands(find_model(name).model, "Q4_K_M")[2].text
        for name in ("qwen3:30b", "qwen3:8b")
    }
    assert ignored == {"qwen3:30b": True, "qwen3:8b": False}


def test_dead_tools_are_called_by_no_command() -> None:
    known = find_model("qwen3:8b").model
    texts = [each.text for each in make_commands(known, "Q4_K_M")]
    text = "\n".join([*texts, *(each.text for each in GONE)])
    assert not re.search(r"auto_gptq|autogptq|autoawq|convert-hf-to-gguf", text)


@pytest.mark.parametrize(
    ("quant", "bits"), [("Q4_K_M", 4), ("Q6_K", 6), ("IQ3_M", 3), ("BF16", None), ("MXFP4_MOE", 4)]
)
def test_mlx_takes_the_nearest_width(quant: str, bits: int | None) -> None:
    assert mlx_bits(quant) == bits


def test_example_takes_its_published_size_in_16_bits() -> None:
    found = read_model("hf.co/prithivMLmods/VibeThinker-3B-GGUF", (), 8192)
    assert [each.variant.quant for each in found.ways] == ["BF16", "Q8_0", "Q4_K_M"]
    assert (found.ways[0].variant.file_bytes, found.ways[0].published) == (6_178_316_992, True)
    sizes = [each.use.total_bytes for each in found.ways]
    assert sizes == sorted(sizes, reverse=True)
    with_cards = [row.best for row in found.carried if row.place.cards]
    assert with_cards
    assert None not in with_cards


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("rtx-4060", "hf.co/unsloth/Qwen3-8B-GGUF:Q5_K_M"),
        ("mini-pc", "hf.co/unsloth/Qwen3-30B-A3B-GGUF:Q6_K"),
        ("chip-apple-m1-8-gb", "hf.co/unsloth/Qwen3-4B-GGUF:Q5_K_M"),
    ],
)
def test_model_and_file_are_those_of_the_tour_where_none_is_named(key: str, name: str) -> None:
    place = find_place(key, ())
    assert place is not None
    assert read_start("", "", place, 8192, ()).cell == advise(place).cell
    assert read_start("", "", place, 8192, ()).cell.variant.name == name
