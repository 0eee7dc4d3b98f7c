"""Commands by hand: the numbers are the planner's, names cannot break out of them."""

import re

import pytest

from labdash.catalog.models import find_model
from labdash.planner.errors import PlannerError
from labdash.queries.guide_commands import GONE, make_commands, mlx_bits
from labdash.queries.guide_one_model import read_model
from labdash.queries.guide_places import usual_places
from labdash.queries.guide_start import Start, read_start


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
