"""What the words in names of models and files mean, and the letters in names of quants."""

import re

_SIZES = (
    r"mini|small|medium|large|nano|micro|lite|tiny|scout|maverick|plus|pro|turbo|flash|next|max"
    r"|ultra|super|air|big|xl|h"
)
# Patterns of whole words, in the order in which they are tried, with what they mean.
WORDS: tuple[tuple[str, str], ...] = (
    (r"(\d+(?:\.\d+)?)b", "{} billion weights"),
    (r"(\d+(?:\.\d+)?)m", "{} million weights"),
    (r"(\d+)x(\d+(?:\.\d+)?)b", "{} experts of {} billion weights, which share their attention"),
    (r"a(\d+(?:\.\d+)?)b", "{} billion of them are used for each token: a mixture of experts"),
    (r"e(\d+(?:\.\d+)?)b", "counts as {} billion by its maker; the file holds more"),
    (r"(\d+)e", "{} experts"),
    (r"instruct|inst|it|chat", "trained to answer and to follow instructions"),
    (r"base|text|pt|pretrained", "only continues text: not trained to answer"),
    (r"thinking|think|reasoning|r1|qwq", "thinks in writing before it answers"),
    (r"coder|code|codegen|python", "trained for programs"),
    (r"vl|vision|omni|multimodal|llava", "takes pictures too"),
    (r"embed|embedding|embeddings", "makes vectors for search, no text"),
    (r"math|med|guard|fim", "trained for one kind of work, which the word names"),
    (r"distill|distilled", "a smaller model that was taught by a larger one"),
    (r"abliterated|uncensored|heretic", "changed by somebody so that it refuses less"),
    (r"qat", "trained on with rounded weights: its four bits lose less"),
    (r"dpo|sft|rlhf|orpo", "how it was trained to answer"),
    (r"preview|exp|beta|rc\d*", "an early version"),
    (_SIZES, "its maker's word for this one of several"),
    (r"moe", "a mixture of experts: all in memory, a few used for each token"),
    (r"mtp", "with layers of its own that guess the next tokens"),
    (r"meta|google|microsoft|nvidia|ibm|openai|alibaba", "who made the model"),
    (r"v(\d+(?:\.\d+)*)", "version {}"),
    (r"(\d+)k", "trained for {}k tokens of context"),
    (r"(\d+)t", "trained on {} trillion tokens"),
    (r"l(\d+)", "{} layers"),
    (r"(2[0-9])(0[1-9]|1[0-2])", "made in {1}/20{0}"),
    (r"(0[1-9]|1[0-2])(2[3-6])", "made in {}/20{}, or on that day of the year"),
    (r"(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", "made in month {} on day {}"),
    (r"20[12]\d(?:\d{4})?|\d{6}", "a date"),
    (r"hf", "converted from the layout of Hugging Face"),
    (r"gguf", "in the format of llama.cpp and Ollama"),
    (r"ggml(?:v\d)?", "in the format before GGUF: Ollama and llama.cpp no longer load it"),
    (r"mlx", "in the format of Apple's MLX: Ollama and llama.cpp do not load it"),
    (r"gptq", "quantized by GPTQ: for vLLM, not for llama.cpp"),
    (r"awq", "quantized by AWQ: for vLLM, not for llama.cpp"),
    (r"exl[23]", "in the format of ExLlama, for graphics cards alone"),
    (r"bnb", "quantized by bitsandbytes, not for llama.cpp"),
    (r"(\d+(?:\.\d+)?)bpw", "{} bits a weight on average"),
    (r"b?1\.58(?:-?bits?)?", "trained with three values a weight, which are 1.58 bits"),
    (r"(\d+(?:\.\d+)?)-?bits?|int([248])", "{} bits a weight, and scales beside them"),
    (r"nf4", "four bits in even quantiles, as bitsandbytes keeps them"),
    (r"w(\d)a(\d+)", "weights in {} bits, numbers in between in {}"),
    (r"fp8|mxfp8|nvfp4", "small floating-point numbers for new cards: not made by llama-quantize"),
    (r"quantized|quants?", "stored in fewer bits than the original"),
    (r"dynamic", "scales of the numbers in between are found as it runs"),
    (r"static", "scales of the numbers in between were fixed beforehand"),
    (r"bin|pth|pytorch", "a file of PyTorch, from before safetensors"),
    (r"i1|imat|imatrix", "made with an importance matrix"),
    (r"ud", "Unsloth's own mix, which the tensors of the file alone tell"),
    (r"mmproj", "only the part that reads pictures, to be loaded beside a model"),
    (r"latest", "whatever its publisher calls so today: it may change"),
    (r"cloud", "runs in Ollama's cloud, not here"),
    (r"(\d{5})", "a part of a split file"),
    (r"of", "stands between the part's number and how many there are"),
)  # fmt: skip
# The letters of a quant's name, in the order in which they stand.
LETTERS = (
    (r"IQ(?=\d)", "values from a fixed table, not even steps; below four bits slow on a CPU"),
    (r"TQ(?=\d)", "three values a weight, for models that were trained so"),
    (r"Q(?=\d)", "whole numbers in groups, each with a scale"),
    (r"BF(?=16)", "FP32 cut to 16 bits: its range with fewer digits"),
    (r"F(?=\d)", "floating-point numbers, not quantized"),
    (r"MXFP4", "four-bit floating-point numbers in groups of 32, as gpt-oss was trained"),
    (r"(?<=TQ)\d", "the layout: 1.69 bits a weight in TQ1_0, 2.06 in TQ2_0"),
    (r"(?<=IQ)(\d)", "{} bits a weight and a fraction in the base type, its scales counted"),
    (r"(?<=Q)(\d)", "numbers of {} bits in the base type, before scales and the mix"),
    (r"(?<=F)(\d+)", "{} bits"),
    (r"K(?=_|$)", "groups of 256 whose scales are quantized too"),
    # llama.cpp src/llama-quant.cpp: of IQ types some have a base type of their own.
    (r"XXS", "the leanest base type of these bits"),
    (r"(?<=^IQ3_)XS", "a lean mix"),
    (r"XS", "a leaner base type"),
    (r"XL", "a publisher's mix with wider embeddings and output; not made by llama-quantize"),
    (r"NL", "steps that lie denser near zero, in groups of 32"),
    (r"(?<=^IQ1_)S", "a leaner base type"),
    (r"(?<=^IQ2_)S", "the leaner base type of XS, and more of the sensitive tensors get more bits"),
    (r"(?<=^IQ[12]_)M", "the widest base type of these bits"),
    (r"S(?=_|$)", "small: few tensors get more bits"),
    (r"M(?=_|$)", "medium: more of the sensitive tensors get more bits"),
    (r"L(?=_|$)", "large: more tensors get more bits"),
    (r"MOE", "only the experts; all else is kept in 8 bits"),
    (r"(?<=^Q[458]_)0", "a scale for each group of 32, centred on zero"),
    (r"(?<=_)0", "a scale for each group, centred on zero"),
    (r"(?<=_)1", "a scale and an offset for each group of 32"),
)  # fmt: skip
# Formats that are no GGUF by the words that say so; of several the first here counts.
FORMATS = (
    (r"gptq", "GPTQ"), (r"awq", "AWQ"), (r"exl[23]", "ExLlama"), (r"bnb|nf4", "bitsandbytes"),
    (r"mlx|mlx-community", "MLX"), (r"nvfp4", "NVFP4"), (r"fp8|mxfp8", "FP8"),
    (r"w\da\d+|quantized", "compressed-tensors"), (r"ggml(?:v\d)?", "GGML"),
    (r"safetensors", "safetensors"), (r"bin|pth|pytorch", "PyTorch"),
)  # fmt: skip
# Bits a weight as names write them, of what is no GGUF.
BITS = re.compile(r"int(\d)|(\d)(?:\.\d+)?-?(?:bits?|bpw)|w(\d)a\d+|.*fp(\d)")
# A quant as names write it, with what publishers put around it.
QUANT = re.compile(
    r"(?<![a-z0-9])"
    r"(?:i?q\d(?:_k)?(?:_(?:xxs|xs|xl|nl|s|m|l|0|1))?(?:_\d_\d)?|tq\d_\d|mxfp4(?:_moe)?"
    r"|bf16|fp?16|fp?32)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
# Quants that publishers name and llama-quantize does not make: the nearest that it makes.
NEAREST = {
    "Q8_K_XL": "Q8_0", "Q6_K_XL": "Q6_K", "Q6_K_L": "Q6_K", "Q5_K_XL": "Q5_K_M",
    "Q5_K_L": "Q5_K_M", "Q4_K_XL": "Q4_K_M", "Q4_K_L": "Q4_K_M", "Q3_K_XL": "Q3_K_L",
    "Q2_K_XL": "Q2_K", "Q2_K_L": "Q2_K", "Q4_0_4_4": "Q4_0", "Q4_0_4_8": "Q4_0",
    "Q4_0_8_8": "Q4_0",
}  # fmt: skip


def meaning_of(word: str) -> str:
    """Tell what a word of a name means, nothing where that is not known."""
    for pattern, text in WORDS:
        if found := re.fullmatch(pattern, word.lower()):
            return text.format(*(each for each in found.groups() if each))
    return ""


def letters_of(quant: str) -> list[tuple[str, str]]:
    """Take the name of a quant apart into letters and what they mean."""
    found: dict[int, tuple[str, str]] = {}
    for pattern, text in LETTERS:
        for each in re.finditer(pattern, quant):
            if each.start() not in found and not _is_covered(each, found):
                found[each.start()] = (each[0], text.format(*each.groups()))
    return [found[at] for at in sorted(found)]


def _is_covered(each: re.Match[str], found: dict[int, tuple[str, str]]) -> bool:
    return any(at <= each.start() < at + len(text) for at, (text, _) in found.items())
