"""How to make one's own file of a model, with tools that are kept up today.

Each tool gets an environment of its own: vLLM 0.33 wants PyTorch 2.14.0, GPTQModel 7.7 a newer one
and llm-compressor 0.14 another compressed-tensors than vLLM. Calls and options are those of these
packages, of llama.cpp's ``tools/quantize`` and ``tools/imatrix``, and of huggingface_hub 2.
"""

import json
from collections.abc import Iterator

from labdash.catalog.models import CatalogModel
from labdash.planner.file_types import find_file_type
from labdash.planner.telling.quoting import command, comment, shell
from labdash.queries.guide_commands import Command, short_name
from labdash.queries.tag_names import base_of

GGUF_NEEDS = "llama.cpp/requirements/requirements-convert_hf_to_gguf.txt"
# The same weights once more, as Meta, OpenAI and Mistral publish them beside the files to convert.
TWICE = ("original/*", "metal/*", "consolidated*")
# The quant of a file whose originals have four bits already.
AS_PUBLISHED = "MXFP4_MOE"
# Base types whose rounding looks at no importance matrix: llama.cpp ggml/src/ggml-quants.c, where
# quantize_q8_0 and its fellows leave quant_weights unused.
UNWEIGHTED = frozenset(("f32", "f16", "bf16", "q8_0", "mxfp4", "tq2_0", "tq1_0", "q1_0"))
# Routers choose the experts; they are small, and rounding them costs much.
ROUTERS = "re:.*(gate|router)$"
BESIDE_VLLM = (
    "vLLM goes into an environment of its own, since it wants other versions of the same "
    "packages. Ollama does not load this format."
)


def make_commands(known: CatalogModel, quant: str) -> tuple[Command, ...]:
    """Write how to make a model's file in each format that its originals allow."""
    if is_published_small(known):
        return (_published_gguf(known),)
    gguf = _gguf(known, quant)
    if "embedding" in known.capabilities:
        return (gguf,)
    return (gguf, _gptq(known), _awq(known))


def is_published_small(known: CatalogModel) -> bool:
    """Tell a model whose originals have four bits already: there is nothing to round."""
    return (known.default_quant or "").startswith("MXFP4")


def _published_gguf(known: CatalogModel) -> Command:
    made = f"{base_of(known)}-MXFP4.gguf"
    return Command(
        id="make-gguf",
        title="GGUF, MXFP4 as published",
        text="\n".join((*_converted(known, made), *_into_ollama(known, made))),
        note="The originals have four bits already: the converter repacks them and rounds nothing. "
        "So there is no GPTQ or AWQ file to make.",
    )


def _gguf(known: CatalogModel, quant: str) -> Command:
    plain, made = f"{base_of(known)}-BF16.gguf", f"{base_of(known)}-{quant}.gguf"
    return Command(
        id="make-gguf",
        title=f"GGUF, {quant}",
        text="\n".join(
            (
                *_converted(known, plain, "--outtype", "bf16"),
                *_quantized(known, plain, made, quant),
                *_into_ollama(known, made),
            )
        ),
        note="text.txt is some hundred kilobytes of what you use the model for, at least 1,024 "
        "tokens. llama.cpp's programs come with its releases."
        if _has_matrix(known, quant)
        else "llama.cpp's programs come with its releases.",
    )


def _converted(known: CatalogModel, file: str, *options: str) -> Iterator[str]:
    """Download and convert: the converter pins a huggingface_hub before 1, whose hf differs."""
    base = base_of(known)
    without = [word for each in TWICE for word in ("--exclude", each)]
    yield "python3 -m venv hf-tools"
    yield "hf-tools/bin/pip install 'huggingface_hub>=1'"
    yield command(["hf-tools/bin/hf", "download", known.hf_repo, *without, "--local-dir", base])
    yield "git clone --depth 1 https://github.com/ggml-org/llama.cpp"
    yield "python3 -m venv gguf-tools"
    yield command(["gguf-tools/bin/pip", "install", "-r", GGUF_NEEDS])
    convert = ["gguf-tools/bin/python", "llama.cpp/convert_hf_to_gguf.py", base]
    yield command([*convert, *options, "--outfile", file])


def _quantized(known: CatalogModel, plain: str, made: str, quant: str) -> Iterator[str]:
    matrix: list[str] = []
    if _has_matrix(known, quant):
        matrix = ["--imatrix", "imatrix.gguf"]
        yield command(["llama-imatrix", "-m", plain, "-f", "text.txt", "-o", matrix[1]])
    yield command(["llama-quantize", *matrix, plain, made, quant])


def _has_matrix(known: CatalogModel, quant: str) -> bool:
    """Whether a matrix helps. A model that only embeds predicts no text, from which one is read."""
    is_weighted = find_file_type(quant).base not in UNWEIGHTED
    return is_weighted and "embedding" not in known.capabilities


def _into_ollama(known: CatalogModel, made: str) -> Iterator[str]:
    yield comment("into Ollama:")
    yield f"echo {shell(f'FROM ./{made}')} > Modelfile"
    yield command(["ollama", "create", f"my-{short_name(base_of(known))}", "-f", "Modelfile"])


def _gptq(known: CatalogModel) -> Command:
    return Command(
        id="make-gptq",
        title="GPTQ, 4 bits in groups of 128",
        text="\n".join(_gptq_lines(known)),
        note=f"For Transformers and vLLM. {BESIDE_VLLM}",
    )


def _gptq_lines(known: CatalogModel) -> Iterator[str]:
    yield from _environment("gptq-tools", "gptqmodel")
    yield "from datasets import load_dataset"
    yield "from gptqmodel import GPTQModel, QuantizeConfig"
    yield 'part = "en/c4-train.00001-of-01024.json.gz"'
    yield 'texts = load_dataset("allenai/c4", data_files=part, split="train")'
    yield "config = QuantizeConfig(bits=4, group_size=128)"
    yield f"model = GPTQModel.load({json.dumps(known.hf_repo)}, config)"
    yield 'model.quantize(texts.select(range(1024))["text"], batch_size=1)'
    yield f"model.save({json.dumps(gptq_folder(known))})"
    yield "END"
    yield command(["vllm", "serve", gptq_folder(known)])


def _environment(name: str, package: str) -> Iterator[str]:
    """Install a package where it disturbs no other, and open a program for its Python."""
    yield f"python3 -m venv {name}"
    yield f"{name}/bin/pip install {package}"
    yield f"{name}/bin/python - <<'END'"


def gptq_folder(known: CatalogModel) -> str:
    """Name the folder that the recipe makes."""
    return f"{base_of(known)}-GPTQ-4bit"


def awq_folder(known: CatalogModel) -> str:
    """Name the folder that the recipe makes."""
    return f"{base_of(known)}-AWQ-4bit"


def _awq(known: CatalogModel) -> Command:
    sees = "vision" in known.capabilities
    beside = "Of this model also ignore the part that sees. " if sees else ""
    return Command(
        id="make-awq",
        title="AWQ, 4 bits in groups of 128",
        text="\n".join(_awq_lines(known)),
        note=f"For vLLM; it stops where there is no GPU. {beside}{BESIDE_VLLM}",
    )


def _awq_lines(known: CatalogModel) -> Iterator[str]:
    ignored = ["lm_head", *([ROUTERS] if known.params_active else [])]
    yield from _environment("awq-tools", "llmcompressor")
    yield "from llmcompressor import oneshot"
    yield "from llmcompressor.modifiers.quantization import QuantizationModifier"
    yield "from llmcompressor.modifiers.transform.awq import AWQModifier"
    yield "narrow = QuantizationModifier("
    yield f'    targets=["Linear"], scheme="W4A16_ASYM", ignore={json.dumps(ignored)}'
    yield ")"
    yield "oneshot("
    yield f"    model={json.dumps(known.hf_repo)},"
    yield '    dataset="open_platypus",'
    yield '    recipe=[AWQModifier(duo_scaling="both"), narrow],'
    yield "    max_seq_length=2048,"
    yield "    num_calibration_samples=256,"
    yield f"    output_dir={json.dumps(awq_folder(known))},"
    yield ")"
    yield "END"
    yield command(["vllm", "serve", awq_folder(known)])
