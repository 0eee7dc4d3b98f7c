"""The right numbers beside popular claims, against arithmetic and what others recorded."""

from itertools import chain

from labdash.catalog.library import is_seen
from labdash.catalog.models import find_model
from labdash.queries.guide_mistakes import Mix, read_mistakes
from labdash.queries.guide_tried import Tried

GIB = 2**30
# llama.cpp's log on a Mac M1 Max and M2 Max with 32 GB, in MiB.
MAC_32 = 21_845.34


def test_seventy_billions_in_four_bits_fit_no_card_of_24_gb() -> None:
    found = read_mistakes()
    fits = {each.quant: each.fit.verdict for each in found.seventy}
    assert fits == {"Q4_K_M": "part", "Q3_K_S": "part", "Q2_K": "part", "IQ2_XS": "whole"}
    # The published file of llama3.3:70b, vocabulary and all.
    assert 0 < 42_520_398_528 - found.seventy[0].weight_bytes < 8_000_000
    assert all(each.needed_bytes > each.weight_bytes for each in found.seventy)


def test_keys_and_values_are_closed_arithmetic() -> None:
    contexts = read_mistakes().contexts
    assert len(contexts) == 4
    for each in contexts:
        # 32 layers with 8 heads of 128, keys and values, two bytes each.
        assert each.kv_bytes == 32 * 8 * 128 * 2 * 2 * each.context
        assert _is_whole(each) == (each.needed_bytes <= each.room_bytes)


def _is_whole(tried: Tried) -> bool:
    return tried.fit.verdict == "whole"


def test_letters_name_wider_tensors() -> None:
    bits = {each.quant: each.bits for each in read_mistakes().mixes}
    assert bits["Q3_K_S"] < bits["Q3_K_M"] < bits["Q3_K_L"]
    # llama.cpp tools/quantize/README.md: 4.89 bits of a weight for Llama 3.1 8B.
    assert round(bits["Q4_K_M"], 2) == 4.89


def test_two_cards_are_less_than_one_of_their_size() -> None:
    pairs = read_mistakes().pairs
    assert len(pairs) == 2
    for pair in pairs:
        assert pair.more_bytes > 0
        assert (pair.two.fit.most_context or 0) < (pair.one.fit.most_context or 0)


def test_layers_in_ram_cost_more_than_their_share() -> None:
    speeds = [each.speed for each in read_mistakes().spilled if each.speed]
    assert len(speeds) == len(read_mistakes().spilled)
    assert [each.high for each in speeds] == sorted((each.high for each in speeds), reverse=True)
    # A fifth of the layers in RAM takes more than half of the speed.
    assert speeds[2].high < speeds[0].high / 2


def test_facts_are_those_that_were_recorded() -> None:
    found = read_mistakes()
    assert found.tags == ("llama3.2:1b", "llama3.2:3b")
    assert dict(found.defaults)["Q4_K_M"] == 71
    assert dict(found.defaults)["Q4_0"] == 37
    share = next(each.share_bytes for each in found.macs if each.ram_gib == 32)
    assert abs(share / 2**20 - MAC_32) < 1
    assert [file.bytes for file, _ in found.alike[0].files] == [5_027_783_488, 5_225_374_496]
    assert len(found.alike) == 3
    assert all(len(each.files) > 1 for each in found.alike)
    assert [facts.bandwidth_gbs for facts, _ in found.cards] == [1008, 1792]


def test_file_of_a_label_is_pulled_by_a_name_of_its_own() -> None:
    pulls = {file.file: pull for each in read_mistakes().alike for file, pull in each.files}
    assert len(set(pulls.values())) == len(pulls)
    assert pulls["qwen3:8b"] == "qwen3:8b"
    for file, pull in pulls.items():
        # A file of Hugging Face lies with who published it.
        owner = file.rpartition("/")[0]
        assert pull.startswith(f"hf.co/{owner}/") if owner else pull == file


def test_contexts_are_told_in_whole_thousands() -> None:
    for each in chain.from_iterable((pair.one, pair.two) for pair in read_mistakes().pairs):
        assert each.most_context % 1024 == 0
        assert 0 <= (each.fit.most_context or 0) - each.most_context < 1024


def test_names_that_nobody_has_seen_are_called_guesses() -> None:
    found = read_mistakes()
    tables: tuple[tuple[Tried | Mix, ...], ...] = (
        found.seventy, found.mixes, found.simple, found.large_small, found.on_two,
    )  # fmt: skip
    for each in chain(*tables):
        is_recorded = any(file.file == each.pull for file in find_model(each.name).model.files)
        assert each.guessed == (not is_recorded and not is_seen(each.pull))
    assert (found.seventy[0].pull, found.seventy[0].guessed) == ("llama3.3:70b", False)
