"""Names of models and files taken apart; what nobody can know is said to be unknown."""

import time

import pytest

from labdash.catalog.name_words import letters_of
from labdash.planner.errors import PlannerError
from labdash.planner.file_types import FILE_TYPES
from labdash.queries.guide_decode import decode
from labdash.queries.guide_ladder import BEST_USE
from labdash.queries.guide_mix import bits_of
from labdash.queries.guide_names import _base, read_name
from labdash.queries.guide_paste import LONGEST_NAME

# Each takes milliseconds; each further letter of a run that is tried in all ways doubles the time.
SLOWEST_S = 0.3
ADDRESS = (
    "https://huggingface.co/bartowski/google_gemma-3-12b-it-GGUF/resolve/main/"
    "google_gemma-3-12b-it-Q6_K.gguf?download=true"
)


def unknown(text: str) -> list[str]:
    return [piece.text for piece in decode(text).pieces if not piece.is_known]


@pytest.mark.parametrize(
    ("text", "quant", "model"),
    [
        ("qwen2.5:14b-instruct-q8_0", "Q8_0", "qwen2.5:14b-instruct-q8_0"),
        ("ollama run mixtral:8x7b-instruct-v0.1-q5_1", "Q5_1", "mixtral:8x7b-instruct-v0.1-q5_1"),
        ("Meta-Llama-3.1-8B-Instruct-IQ4_XS.gguf", "IQ4_XS", "Llama-3.1-8B-Instruct"),
        ("Qwen3-30B-A3B-Q4_K_M-00001-of-00002.gguf", "Q4_K_M", "Qwen3-30B-A3B"),
        ("VibeThinker-3B.i1-IQ3_XXS.gguf", "IQ3_XXS", "VibeThinker-3B"),
        ("gemma-3-27b-it-qat-q4_0.gguf", "Q4_0", "gemma-3-27b-it"),
        (ADDRESS, "Q6_K", "gemma-3-12b-it"),
        ("gpt-oss:20b", None, "gpt-oss:20b"),
        ("llama3.2", None, "llama3.2"),
        ("Qwen3-8B-AWQ", None, "Qwen3-8B"),
        ("Model-Q4_K_M.gguf", "Q4_K_M", ""),
    ],
)
def test_name_says_quant_and_model(text: str, quant: str | None, model: str) -> None:
    decoded = decode(text)
    assert decoded.quant == quant
    assert _base(decoded)[0] == model


def test_size_that_no_name_gives_is_never_guessed() -> None:
    assert _base(decode("DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf")) == ("", "")


def test_mix_of_a_publisher_is_told_apart() -> None:
    decoded = decode("hf.co/unsloth/Qwen3-30B-A3B-GGUF:Q4_K_XL")
    assert (decoded.quant, decoded.is_own_mix) == ("Q4_K_M", True)
    assert not decode("qwen3:8b-q4_K_M").is_own_mix


def test_unknown_words_are_named() -> None:
    assert unknown("frobnicator-zap:9q") == ["frobnicator", "zap", "9q"]
    assert unknown("qwen3:30b-a3b-thinking-2507-q4_K_M") == []


@pytest.mark.parametrize("text", ["", "  ", "https://", "ollama run "])
def test_nothing_pasted_says_what_to_paste(text: str) -> None:
    with pytest.raises(PlannerError, match="Paste a name, such as"):
        decode(text)


@pytest.mark.parametrize("text", [":::", "///:", "-.-.-:-", "\x00<b>", "<b></b>", "''"])
def test_what_holds_no_name_says_what_to_paste(text: str) -> None:
    with pytest.raises(PlannerError, match=r"[Pp]aste a name.*, such as qwen2\.5"):
        read_name(text)


@pytest.mark.parametrize("text", ["x" * 301, "Qwen3-8B-" * 1200 + "Q4_K_M.gguf", "a b " * 3000])
def test_no_name_is_cut_short_and_read_wrong(text: str) -> None:
    with pytest.raises(PlannerError, match="No name is longer than 300 characters"):
        read_name(text)


def test_letters_of_every_type_are_told() -> None:
    for quant in FILE_TYPES:
        letters = "".join(letter for letter, _ in letters_of(quant))
        assert letters == quant.replace("_", ""), quant


def _base_bits(quant: str) -> float:
    return bits_of(FILE_TYPES[quant].base)


def test_letters_tell_a_base_type_of_its_own_from_a_mix() -> None:
    families = {quant[:3] for quant in FILE_TYPES if quant.startswith("IQ")}
    for family in families:
        fellows = sorted((each for each in FILE_TYPES if each.startswith(family)), key=_base_bits)
        widest = _base_bits(fellows[-1])
        for quant in fellows:
            (_, number), *sizes = letters_of(quant)[1:]
            assert int(_base_bits(quant)) == int(family[-1]), quant
            assert number.startswith(f"{family[-1]} bits a weight and a fraction")
            told = " ".join(meaning for _, meaning in sizes)
            is_lean = "leaner base type" in told or "leanest base type" in told
            assert is_lean == (_base_bits(quant) < widest), quant
            if "widest base type" in told:
                assert _base_bits(quant) > _base_bits(fellows[-2]), quant


@pytest.mark.parametrize("quant", ["TQ1_0", "TQ2_0", "Q1_0", "Q2_0"])
def test_letters_promise_no_group_of_32_where_groups_are_larger(quant: str) -> None:
    assert "32" not in " ".join(meaning for _, meaning in letters_of(quant))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma3:12b-it-qat", "LabDash does not know which file"),
        ("gpt-oss:20b", "has MXFP4 under this tag, 13.8 GB."),
        ("qwen3:8b", "has Q4_K_M under this tag, 5.2 GB."),
    ],
)
def test_file_of_a_tag_without_a_quant_is_told_where_it_is_known(name: str, said: str) -> None:
    assert said in " ".join(read_name(name).notices)


def test_every_type_has_a_use() -> None:
    assert BEST_USE.keys() == FILE_TYPES.keys()


@pytest.mark.parametrize("run", ["-", "_", ".", "-_.", "_1", "-4bit", "-1_2", "-q4_k_m", "<", "(1"])
def test_long_run_is_read_at_once(run: str) -> None:
    for times in (16, 20, 24, 28, LONGEST_NAME // len(run) - 4):
        began = time.process_time()
        decode(f"a{run * times}x!")
        assert time.process_time() - began < SLOWEST_S, times
