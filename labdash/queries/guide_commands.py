"""Commands that do by hand what a cell of the guide's tables says, and that make own files.

Options of llama-server are those of ``labdash.planner.exports``. Others are as documented:
lmstudio.ai/docs/cli and huggingface.co/blog/yagilb/lms-hf (lms), README.md and convert.py of
ml-explore/mlx-lm, tools/quantize and tools/imatrix of llama.cpp, ModelCloud/GPTQModel and
docs.vllm.ai (gptqmodel), llm-compressor 0.14 (AWQModifier of ``modifiers.transform.awq``),
docs.ollama.com/import.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from labdash.catalog.models import CatalogModel
from labdash.planner.telling.quoting import command, comment, modelfile_value, shell
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import Cell
from labdash.queries.tag_names import hub_name

BATCH = 512
# Widths that mlx_lm.convert makes; its groups of 64 add half a bit.
DIGIT = re.compile(r"\d")
FULL = frozenset(("F16", "BF16", "F32"))
MLX_BITS = frozenset(range(2, 9)) - {7}
END = "END_OF_MODELFILE"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines to copy. ``is_ours``: LabDash does the same by a button; ``note`` says what to know."""

    id: str
    title: str
    text: str
    note: str = ""
    is_ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A tool that many pages still name, and what took its place."""

    id: str
    old: str
    state: str
    new: str
    text: str


GONE = (
    Gone(
        id="gone-gptq",
        old="AutoGPTQ",
        state="archived since March 2025",
        new="GPTQModel, by its last maintainer",
        text="pip install gptqmodel --no-build-isolation",
    ),
    Gone(
        id="gone-awq",
        old="AutoAWQ",
        state="deprecated by its author",
        new="llm-compressor of the vLLM project; on a Mac mlx_lm.awq",
        text="pip install llmcompressor",
    ),
    Gone(
        id="gone-convert",
        old="convert.py, convert-hf-to-gguf.py",
        state="renamed or dropped by llama.cpp in 2024",
        new="convert_hf_to_gguf.py",
        text="python llama.cpp/convert_hf_to_gguf.py --help",
    ),
    Gone(
        id="gone-binaries",
        old="main, server, quantize, imatrix",
        state="renamed in llama.cpp in June 2024",
        new="llama-cli, llama-server, llama-quantize, llama-imatrix",
        text="llama-server --version",
    ),
    Gone(
        id="gone-ggml",
        old="GGML files, such as .ggmlv3.bin",
        state="no longer read since August 2023",
        new="GGUF: pull the model anew, or convert the original",
        text="ollama pull llama3.2:3b",
    ),
    Gone(
        id="gone-create",
        old="ollama create --quantize on a GGUF file",
        state="by its newest documentation Ollama no longer quantizes on import",
        new="llama-quantize, then ollama create",
        text="llama-quantize model-BF16.gguf model-Q4_K_M.gguf Q4_K_M",
    ),
)


def run_commands(cell: Cell, place: Place, known: CatalogModel, url: str) -> tuple[Command, ...]:
    """Write how each program runs a cell. ``url`` is the server of the reader's machine, if any."""
    return (
        Command(
            id="by-ollama",
            title="Ollama",
            text="\n".join(_ollama(cell, url)),
            note="Then OpenAI's API is at port 11434, path /v1.",
            is_ours=True,
        ),
        Command(
            id="by-llama-cpp",
            title="llama.cpp",
            text=llama_server(cell, place, known),
            note=f"{_offloaded(cell)} of {cell.all_layers} layers on the GPU, the output layer "
            "counted, by the planner's memory model. OpenAI's API is at port 8080, path /v1.",
        ),
        Command(
            id="by-lm-studio",
            title="LM Studio",
            text="\n".join(_lm_studio(cell, known)),
            note="KEY is the model as lms ls names it. --gpu is a share of the layers, not a "
            "number. OpenAI's API is at port 1234, path /v1.",
        ),
        *_by_mlx(cell, known),
    )


def _by_mlx(cell: Cell, known: CatalogModel) -> Iterator[Command]:
    # Its server and its converter are for models that write.
    if not cell.variant.embedding:
        yield Command(
            id="by-mlx",
            title="MLX, on a Mac with Apple's chip",
            text="\n".join(_mlx(cell, known)),
            note="It makes its own file of the original weights; GGUF files are not read.",
        )


def _ollama(cell: Cell, url: str) -> Iterator[str]:
    if url:
        yield f"export OLLAMA_HOST={shell(url)}"
    own = f"{_short(cell.model)}-{cell.context // 1024}k"
    yield command(["ollama", "pull", cell.variant.name])
    yield f"cat > {shell(own)}.Modelfile <<'{END}'"
    yield f"FROM {modelfile_value(cell.variant.name)}"
    yield f"PARAMETER num_ctx {cell.context}"
    yield f"PARAMETER num_batch {BATCH}"
    yield END
    yield command(["ollama", "create", own, "-f", f"{own}.Modelfile"])
    # A model that only embeds starts no conversation.
    yield command(["ollama", "run", own, *(["A sentence."] if cell.variant.embedding else [])])


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.rpartition("/")[2].lower()).strip("-")


def llama_server(cell: Cell, place: Place, known: CatalogModel) -> str:
    """Write the command that loads a file of Hugging Face with a cell's layers on the GPUs."""
    repo = hub_name(known, cell.variant.quant, cell.model).removeprefix("hf.co/")
    words = ["llama-server", "-hf", repo]
    if not place.cards:
        words += ["--device", "none"]
    words += ["--n-gpu-layers", str(_offloaded(cell))]
    if len(place.cards) > 1:
        shares = ",".join(map(str, cell.layers_by_card))
        words += ["--split-mode", "layer", "--tensor-split", shares]
    words += ["-c", str(cell.context), "-np", "1", "-fa", "on"]
    words += ["-b", str(BATCH), "-ub", str(BATCH), "--port", "8080"]
    if cell.variant.embedding:
        words += ["--embeddings"]
    return command(words)


def _offloaded(cell: Cell) -> int:
    return sum(cell.layers_by_card)


def _lm_studio(cell: Cell, known: CatalogModel) -> Iterator[str]:
    repo, _, quant = hub_name(known, cell.variant.quant, cell.model).partition(":")
    share = cell.layers / cell.all_layers
    gpu = "max" if share >= 1 else f"{share:.2f}" if share else "off"
    yield command(["lms", "get", f"{repo.removeprefix('hf.co/')}@{quant.lower()}"])
    yield command(["lms", "load", "KEY", "--gpu", gpu, "--context-length", str(cell.context)])
    yield "lms server start"


def _mlx(cell: Cell, known: CatalogModel) -> Iterator[str]:
    bits = mlx_bits(cell.variant.quant)
    target = f"{_base(known)}-{bits}bit" if bits else f"{_base(known)}-mlx"
    quantize = ["-q", "--q-bits", str(bits)] if bits else []
    yield "pip install mlx-lm"
    yield command(["mlx_lm.convert", "--model", known.hf_repo, *quantize, "--mlx-path", target])
    yield command(["mlx_lm.server", "--model", target, "--port", "8080"])


def mlx_bits(quant: str) -> int | None:
    """Tell the width that MLX has for a quant, None for one of 16 bits."""
    if quant in FULL:
        return None
    found = DIGIT.search(quant.removeprefix("MXFP"))
    bits = int(found[0]) if found else 4
    return bits if bits in MLX_BITS else 4


def _base(known: CatalogModel) -> str:
    return known.hf_repo.rpartition("/")[2]


def make_commands(known: CatalogModel, quant: str) -> tuple[Command, ...]:
    """Write how to make one's own file of a model with tools that are kept up today."""
    return (
        Command(
            id="make-gguf",
            title=f"GGUF, {quant}",
            text="\n".join(_gguf(known, quant)),
            note="text.txt is some hundred kilobytes of what you use the model for. llama.cpp's "
            "programs come with its releases.",
        ),
        Command(
            id="make-gptq",
            title="GPTQ, 4 bits in groups of 128",
            text="\n".join(_gptq(known)),
            note="For Transformers and vLLM on a GPU; install vLLM first. Ollama does not load it.",
        ),
        Command(
            id="make-awq",
            title="AWQ, 4 bits",
            text="\n".join(_awq(known)),
            note="For vLLM on a GPU; install vLLM first. Ollama does not load it.",
        ),
    )


def _gguf(known: CatalogModel, quant: str) -> Iterator[str]:
    base = _base(known)
    plain, made = f"{base}-BF16.gguf", f"{base}-{quant}.gguf"
    yield "git clone https://github.com/ggml-org/llama.cpp"
    yield "pip install -r llama.cpp/requirements.txt huggingface_hub"
    yield command(["hf", "download", known.hf_repo, "--local-dir", base])
    convert = ["python", "llama.cpp/convert_hf_to_gguf.py", base]
    yield command([*convert, "--outtype", "bf16", "--outfile", plain])
    yield command(["llama-imatrix", "-m", plain, "-f", "text.txt", "-o", "imatrix.gguf"])
    yield command(["llama-quantize", "--imatrix", "imatrix.gguf", plain, made, quant])
    yield comment("into Ollama:")
    yield f"echo {shell(f'FROM ./{made}')} > Modelfile"
    yield command(["ollama", "create", f"my-{_short(base)}", "-f", "Modelfile"])


def _gptq(known: CatalogModel) -> Iterator[str]:
    target = f"{_base(known)}-GPTQ-4bit"
    yield "pip install gptqmodel --no-build-isolation"
    yield "python - <<'END'"
    yield "from datasets import load_dataset"
    yield "from gptqmodel import GPTQModel, QuantizeConfig"
    yield 'part = "en/c4-train.00001-of-01024.json.gz"'
    yield 'texts = load_dataset("allenai/c4", data_files=part, split="train")'
    yield "config = QuantizeConfig(bits=4, group_size=128)"
    yield f"model = GPTQModel.load({json.dumps(known.hf_repo)}, config)"
    yield 'model.quantize(texts.select(range(1024))["text"], batch_size=1)'
    yield f"model.save({json.dumps(target)})"
    yield "END"
    yield command(["vllm", "serve", target])


def _awq(known: CatalogModel) -> Iterator[str]:
    target = f"{_base(known)}-AWQ-4bit"
    yield "pip install llmcompressor"
    yield "python - <<'END'"
    yield "from llmcompressor import oneshot"
    yield "from llmcompressor.modifiers.quantization import QuantizationModifier"
    yield "from llmcompressor.modifiers.transform.awq import AWQModifier"
    yield "narrow = QuantizationModifier("
    yield '    targets=["Linear"], scheme="W4A16_ASYM", ignore=["lm_head"]'
    yield ")"
    yield "oneshot("
    yield f"    model={json.dumps(known.hf_repo)},"
    yield '    dataset="open_platypus",'
    yield '    recipe=[AWQModifier(duo_scaling="both"), narrow],'
    yield "    max_seq_length=2048,"
    yield "    num_calibration_samples=256,"
    yield f"    output_dir={json.dumps(target)},"
    yield ")"
    yield "END"
    yield command(["vllm", "serve", target])
