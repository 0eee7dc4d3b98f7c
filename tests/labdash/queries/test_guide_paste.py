"""Names as people paste them: for each the model, the file and what is pulled are true."""

import pytest

from labdash.planner.errors import PlannerError
from labdash.queries.guide_names import Name, read_name
from labdash.queries.guide_paste import read_paste

pytestmark = pytest.mark.django_db

BARTOWSKI = "https://huggingface.co/bartowski/Qwen2.5-7B-Instruct-GGUF"
UNSLOTH = "https://huggingface.co/unsloth/Llama-3.1-8B-Instruct-GGUF"
# What is pasted, the model that is meant, the quant that is shown, and the name that is pulled.
NAMES = [
    # Tags of Ollama, and what stands around them where they are copied.
    ("llama3.2", "llama3.2:3b", "Q4_K_M", "llama3.2"),
    ("llama3.2:latest", "llama3.2:3b", "Q4_K_M", "llama3.2:latest"),
    ("qwen2.5:14b-instruct-q8_0", "qwen2.5:14b", "Q8_0", "qwen2.5:14b-instruct-q8_0"),
    ("smollm2:135m-instruct-fp16", "smollm2:135m", "F16", "smollm2:135m-instruct-fp16"),
    ("gpt-oss:20b", "gpt-oss:20b", "MXFP4_MOE", "gpt-oss:20b"),
    ("gemma3:12b-it-qat", "gemma3:12b", "", "gemma3:12b-it-qat"),
    ("gemma3:270m", "gemma3:270m", "", "gemma3:270m"),
    ("qwen3:30b-a3b", "qwen3:30b-a3b-q4_K_M", "", "qwen3:30b-a3b"),
    ("nomic-embed-text", "nomic-embed-text:latest", "F16", "nomic-embed-text"),
    ("bge-m3", "bge-m3:567m", "F16", "bge-m3"),
    ("qwen3-embedding:0.6b", "qwen3-embedding:0.6b", "", "qwen3-embedding:0.6b"),
    ("ollama run llama3.2:3b --verbose", "llama3.2:3b", "Q4_K_M", "llama3.2:3b"),
    ("$ ollama pull mistral:7b", "mistral:7b", "Q4_K_M", "mistral:7b"),
    ("registry.ollama.ai/library/qwen3:8b", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("https://ollama.com/library/qwen3:8b?tab=x", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("qwen3:8b@sha256:500a1f067a9f", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("qwen3:8b#readme", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("`qwen3:8b`,", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("qwen3 8b", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("gpt-oss:20b-cloud", "gpt-oss:20b", "MXFP4_MOE", "gpt-oss:20b"),
    # No such tags: the model's usual file is offered in their place.
    ("qwen3:8b-q4_K_M-extra", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("qwen3:8b-q4km", "qwen3:8b", "", "qwen3:8b"),
    ("qwen3:8b-q8_k", "qwen3:8b", "", "qwen3:8b"),
    # Repositories of GGUF files.
    (
        "ollama run hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q6_K_L",
        "llama3.2:3b", "Q6_K", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q6_K_L",
    ),
    (
        "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF",
        "llama3.2:3b", "Q4_K_M", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF",
    ),
    (
        "hf.co/unsloth/Qwen3-30B-A3B-GGUF:UD-Q4_K_XL",
        "qwen3:30b-a3b-q4_K_M", "Q4_K_M", "hf.co/unsloth/Qwen3-30B-A3B-GGUF:UD-Q4_K_XL",
    ),
    (
        "huggingface.co/mradermacher/VibeThinker-3B-i1-GGUF:i1-Q4_K_M",
        "VibeThinker-3B", "Q4_K_M", "hf.co/mradermacher/VibeThinker-3B-i1-GGUF:i1-Q4_K_M",
    ),
    (
        f"{BARTOWSKI}/blob/main/Qwen2.5-7B-Instruct-Q5_K_M.gguf?download=true",
        "qwen2.5:7b", "Q5_K_M", "hf.co/bartowski/Qwen2.5-7B-Instruct-GGUF:Q5_K_M",
    ),
    (
        f"{UNSLOTH}/tree/main/UD-IQ1_S/Llama-3.1-8B-Instruct-00001-of-00002.gguf",
        "llama3.1:8b", "IQ1_S", "hf.co/unsloth/Llama-3.1-8B-Instruct-GGUF:IQ1_S",
    ),
    # Files.
    ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "llama3.1:8b", "Q4_K_M", "llama3.1:8b"),
    (
        "Meta-Llama-3.1-70B-Instruct-Q5_K_M-00001-of-00003.gguf",
        "llama3.1:70b", "Q5_K_M", "llama3.1:70b-instruct-q5_K_M",
    ),
    (
        "Qwen3-235B-A22B-UD-Q2_K_XL-00001-of-00002.gguf",
        "qwen3:235b-a22b-q4_K_M", "Q2_K", "hf.co/unsloth/Qwen3-235B-A22B-GGUF:Q2_K",
    ),
    (
        "VibeThinker-3B.i1-Q4_K_M.gguf",
        "VibeThinker-3B", "Q4_K_M", "hf.co/prithivMLmods/VibeThinker-3B-GGUF:Q4_K_M",
    ),
    (
        "Llama-3.2-3B-Instruct.IQ4_NL.gguf",
        "llama3.2:3b", "IQ4_NL", "hf.co/unsloth/Llama-3.2-3B-Instruct-GGUF:IQ4_NL",
    ),
    ("gpt-oss-20b-mxfp4.gguf", "gpt-oss:20b", "MXFP4_MOE", "gpt-oss:20b"),
    ("Llama-3.2-1B-Instruct-Q4_0_4_4.gguf", "llama3.2:1b", "Q4_0", "llama3.2:1b-instruct-q4_0"),
    (
        "Mixtral-8x7B-Instruct-v0.1.Q3_K_M.gguf",
        "mixtral:8x7b", "Q3_K_M", "mixtral:8x7b-instruct-v0.1-q3_K_M",
    ),
    ("phi-4-Q3_K_XL.gguf", "phi4:14b", "Q3_K_L", "hf.co/unsloth/phi-4-GGUF:Q3_K_L"),
    (
        "gemma-3-27b-it-qat-q4_0.gguf",
        "gemma3:27b", "Q4_0", "hf.co/unsloth/gemma-3-27b-it-GGUF:Q4_0",
    ),
    ("DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf", "deepseek-r1:32b", "Q4_K_M", "deepseek-r1:32b"),
    ("all-MiniLM-L6-v2-Q8_0.gguf", "all-minilm:22m", "Q8_0",
     "hf.co/unsloth/all-MiniLM-L6-v2-GGUF:Q8_0"),
    ("C:\\Users\\me\\Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5:7b", "Q4_K_M", "qwen2.5:7b"),
    ("/home/me/Llama-3.2-3B-Instruct-Q4_K_M.gguf", "llama3.2:3b", "Q4_K_M", "llama3.2:3b"),
    ("~/models/Qwen3-8B-Q4_K_M (1).gguf", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ('"Qwen3-8B-Q4_K_M.gguf"', "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("<b>Qwen3-8B-Q4_K_M</b>", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    # Nobody publishes these as a rule, so they are made.
    ("gemma-3-4b-it-BF16.gguf", "gemma3:4b", "BF16", ""),
    ("Llama-3.1-8B-TQ2_0.gguf", "llama3.1:8b", "TQ2_0", ""),
    # Other formats: the nearest GGUF.
    ("Qwen2.5-32B-Instruct-AWQ", "qwen2.5:32b", "Q4_K_M", "qwen2.5:32b"),
    ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "qwen2.5:32b", "Q4_K_M", "qwen2.5:32b"),
    ("Qwen2.5-32B-Instruct-GPTQ-Int8", "qwen2.5:32b", "Q8_0", "qwen2.5:32b-instruct-q8_0"),
    ("mlx-community/Qwen3-8B-MLX-4bit", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("mlx-community/Qwen3-8B-8bit", "qwen3:8b", "Q8_0", "qwen3:8b-q8_0"),
    ("bartowski/Llama-3.1-8B-Instruct-exl2:4_25", "llama3.1:8b", "Q4_K_M", "llama3.1:8b"),
    ("Qwen3-8B-exl3-6.0bpw", "qwen3:8b", "Q6_K", "hf.co/unsloth/Qwen3-8B-GGUF:Q6_K"),
    ("unsloth/Qwen3-14B-unsloth-bnb-4bit", "qwen3:14b", "Q4_K_M", "qwen3:14b"),
    ("RedHatAI/Qwen3-8B-FP8-dynamic", "qwen3:8b", "Q8_0", "qwen3:8b-q8_0"),
    ("nvidia/Qwen3-8B-NVFP4", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("RedHatAI/Qwen3-8B-quantized.w4a16", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    ("llama-2-7b-chat.ggmlv3.q4_0.bin", "llama2:7b", "Q4_0", "llama2:7b"),
    ("https://huggingface.co/Qwen/Qwen3-8B", "qwen3:8b", "Q4_K_M", "qwen3:8b"),
    # A part of a model alone.
    ("mmproj-gemma-3-4b-it-f16.gguf", "gemma3:4b", "", "gemma3:4b"),
    # The model is not known; a repository can be pulled all the same.
    ("Model-Q4_K_M.gguf", "", "Q4_K_M", ""),
    ("\u901a\u4e49\u5343\u95ee-7B-Q4_K_M.gguf", "", "Q4_K_M", ""),
    ("\u043c\u043e\u0434\u0435\u043b\u044c-8B", "", "", ""),
    ("IQ2_XXS", "", "IQ2_XXS", ""),
    ("TheBloke/Mistral-7B-Instruct-v0.2-GPTQ", "", "", ""),
    ("ggml-model-q4_0.gguf", "", "Q4_0", ""),
    ("model-00001-of-00004.safetensors", "", "", ""),
    ("pytorch_model.bin", "", "", ""),
    (
        "microsoft/bitnet-b1.58-2B-4T-gguf",
        "", "", "hf.co/microsoft/bitnet-b1.58-2B-4T-gguf",
    ),
    (
        "hf.co/unsloth/DeepSeek-R1-GGUF:UD-IQ1_S",
        "", "IQ1_S", "hf.co/unsloth/DeepSeek-R1-GGUF:UD-IQ1_S",
    ),
    # The catalog has them, but not their tensors.
    ("gemma3n:e4b", "", "", "gemma3n:e4b"),
    ("granite4:tiny-h", "", "", "granite4:tiny-h"),
]  # fmt: skip
GARBAGE = (
    "hello world", "asdf", "42", "Q4KM", "<script>alert(1)</script>", "\U0001f600\U0001f600", "%00",
    "../../etc/passwd", "' OR 1=1 --", "{{ 7*7 }}", "http://192.168.1.5:11434/api/pull",
    "~/.ollama/models/blobs/sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa",
)  # fmt: skip


def model_of(name: Name) -> str:
    return name.model.name if name.is_known else ""


@pytest.mark.parametrize(("text", "model", "quant", "pull"), NAMES, ids=[row[0] for row in NAMES])
def test_name_is_read_and_ends_in_what_can_be_pulled(
    text: str, model: str, quant: str, pull: str
) -> None:
    name = read_name(text)
    assert (model_of(name), name.rung.quant if name.rung else "") == (model, quant)
    assert name.pull == pull


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_gets_one_line(text: str) -> None:
    with pytest.raises(PlannerError, match=r'^LabDash knows no word of ".+": paste a name of a'):
        read_name(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt-oss:20b-cloud", "It runs in Ollama's cloud: no file of it is pulled."),
        ("mmproj-gemma-3-4b-it-f16.gguf", "a second file beside a model"),
        ("qwen3:8b-q8_k", "Q8_0 is the one of 8 bits"),
        ("Qwen3-8B-Q4_NL.gguf", "Q4_NL is no quant that llama-quantize makes"),
        ("smollm2:135m-instruct-q1_0", "makes no Q1_0 of smollm2:135m"),
        ("gemma-3-27b-it-qat-q4_0.gguf", "What is pulled here was rounded after training"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF", "Ollama takes Q4_K_M of such a repository"),
        ("Qwen/Qwen3-8B", "most such hold the original weights"),
        ("Qwen3-8B-AWQ", "It is no GGUF"),
        ("llama-2-7b-chat.ggmlv3.q4_0.bin", "no longer load"),
        ("gemma3n:e4b", "no shape of its tensors"),
    ],
)
def test_what_a_name_does_not_say_is_told(text: str, said: str) -> None:
    assert said in " ".join(read_name(text).notices)


@pytest.mark.parametrize(("text", "bits"), [("Qwen3-8B-GPTQ-Int4", 4), ("Qwen3-8B-GPTQ-Int8", 8)])
def test_formats_of_groups_are_reckoned_with_the_bits_of_the_name(text: str, bits: int) -> None:
    name = read_name(text)
    assert name.format_bytes
    assert name.format_bits == bits
    of_block = 8 * name.format_bytes / name.model.params
    assert bits < of_block < bits + 3


def test_published_size_is_that_of_the_file_that_is_pulled() -> None:
    ollama, hub = (read_name(each).rung for each in ("qwen3:8b", "hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M"))
    assert ollama
    assert hub
    assert (ollama.file_bytes, hub.file_bytes) == (5_225_374_496, 5_027_783_488)


def test_address_of_a_stranger_names_no_publisher() -> None:
    pasted = read_paste("http://192.168.1.5:11434/api/pull")
    assert (pasted.host, pasted.is_known_host) == ("192.168.1.5:11434", False)
