"""Commands that do by hand what a cell of the guide's tables says.

Options of llama-server are those of ``labdash.planner.exports``, and its ``-hf`` takes
USER/REPOSITORY:QUANT (``common/arg.cpp``). lms: lmstudio.ai/docs/cli and ``subcommands/get.ts`` of
lmstudio-ai/lms. mlx_lm: mlx-lm 0.32. ``--n-cpu-moe`` N keeps the experts of the first N blocks in
RAM (``common/arg.cpp``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from labdash.catalog.models import CatalogModel
from labdash.planner.memory.estimate import estimate
from labdash.planner.memory.fit import EXPERTS
from labdash.planner.placing.layers import most
from labdash.planner.settings import Settings
from labdash.planner.telling.quoting import command, modelfile_value, shell
from labdash.queries.fit_loads import speed_of
from labdash.queries.fit_places import Place
from labdash.queries.guide_cells import Cell, load_of
from labdash.queries.tag_names import HUBS, base_of, hub_name, is_on_hub, recorded_repository

BATCH = 512
DIGIT = re.compile(r"\d")
FULL = frozenset(("F16", "BF16", "F32"))
# Widths that mlx_lm.convert makes; its groups of 64 add half a bit.
MLX_BITS = frozenset(range(2, 9)) - {7}
HUB = "https://huggingface.co/"
END = "END_OF_MODELFILE"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines to copy. ``is_ours``: LabDash does the same by a button; ``note`` says what to know."""

    id: str
    title: str
    text: str
    note: str = ""
    is_ours: bool = False


def run_commands(cell: Cell, place: Place, known: CatalogModel, url: str) -> tuple[Command, ...]:
    """Write how each program runs a cell. ``url`` is the server of the reader's machine, if any."""
    file = hub_file(known, cell.variant.quant, cell.model)
    experts = experts_in_ram(cell, place)
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
            text=llama_server(cell, place, file, experts),
            note=f"{_of_llama_cpp(cell, experts)} OpenAI's API is at port 8080, path /v1.",
        ),
        Command(
            id="by-lm-studio",
            title="LM Studio",
            text="\n".join(_lm_studio(cell, file)),
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
    own = f"{short_name(cell.model)}-{cell.context // 1024}k"
    yield command(["ollama", "pull", cell.variant.name])
    yield f"cat > {shell(own)}.Modelfile <<'{END}'"
    yield f"FROM {modelfile_value(cell.variant.name)}"
    yield f"PARAMETER num_ctx {cell.context}"
    yield f"PARAMETER num_batch {BATCH}"
    yield END
    yield command(["ollama", "create", own, "-f", f"{own}.Modelfile"])
    # A model that only embeds starts no conversation.
    yield command(["ollama", "run", own, *(["A sentence."] if cell.variant.embedding else [])])


def short_name(name: str) -> str:
    """Write a model's name as part of a name of Ollama, without its owner."""
    return re.sub(r"[^a-z0-9.]+", "-", name.rpartition("/")[2].lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A GGUF file on Hugging Face. ``is_recorded``: the catalog has it of this publisher."""

    repository: str
    quant: str
    is_recorded: bool


def hub_file(known: CatalogModel, quant: str, asked: str) -> HubFile:
    """Tell where a file lies: in the repository that was asked for, as recorded, or as usual."""
    repository, _, tag = hub_name(known, quant, asked).partition(":")
    is_recorded = is_on_hub(asked) or bool(recorded_repository(known, tag))
    for host in HUBS:
        repository = repository.removeprefix(host)
    return HubFile(repository=repository, quant=tag, is_recorded=is_recorded)


def experts_in_ram(cell: Cell, place: Place) -> int:
    """Tell of how many layers the experts go to RAM, so that all else lies on the one GPU.

    0 where nothing is to be split, several GPUs share it, or that would be no faster.
    """
    model, speed = cell.variant.model, cell.speed
    is_split = cell.verdict == "part" and len(place.cards) == 1 and not place.unified
    if not is_split or model.shape.experts is None or speed is None:
        return 0
    whole, blocks = load_of(cell.variant, cell.context, place).on(place), model.shape.block_count

    def fits(count: int) -> bool:
        return bool(estimate(model, _with_experts_in_ram(whole, blocks - count)).fits)

    count = blocks - most(fits, blocks)
    moved = _with_experts_in_ram(whole, count)
    found = speed_of(model, place, moved) if estimate(model, moved).fits else None
    return count if found and found.low > speed.low and found.high > speed.high else 0


def _with_experts_in_ram(settings: Settings, count: int) -> Settings:
    layers = "|".join(map(str, range(count)))
    return replace(settings, cpu_override=rf"blk\.({layers})\.{EXPERTS}" if count else None)


def _of_llama_cpp(cell: Cell, experts: int) -> str:
    if experts:
        return (
            f"All layers on the GPU but the experts of the first {experts}, of which a token reads "
            f"few: by the planner's model faster than {_offloaded(cell)} whole layers of "
            f"{cell.all_layers}."
        )
    return (
        f"{_offloaded(cell)} of {cell.all_layers} layers on the GPU, the output layer counted, by "
        "the planner's memory model."
    )


def llama_server(cell: Cell, place: Place, file: HubFile, experts: int = 0) -> str:
    """Write the command that loads a file of Hugging Face with a cell's layers on the GPUs.

    ``experts``: all layers go there, without the experts of so many.
    """
    words = ["llama-server", "-hf", f"{file.repository}:{file.quant}"]
    if not place.cards:
        words += ["--device", "none"]
    words += ["--n-gpu-layers", str(cell.all_layers if experts else _offloaded(cell))]
    if experts:
        words += ["--n-cpu-moe", str(experts)]
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


def _lm_studio(cell: Cell, file: HubFile) -> Iterator[str]:
    share = cell.layers / cell.all_layers
    gpu = "max" if share >= 1 else f"{share:.2f}" if share else "off"
    # OWNER/NAME alone would be one of LM Studio's own catalog, which takes no quant.
    yield command(["lms", "get", f"{HUB}{file.repository}@{file.quant.lower()}"])
    yield command(["lms", "load", "KEY", "--gpu", gpu, "--context-length", str(cell.context)])
    yield "lms server start"


def _mlx(cell: Cell, known: CatalogModel) -> Iterator[str]:
    bits = mlx_bits(cell.variant.quant)
    target = f"{base_of(known)}-{bits}bit" if bits else f"{base_of(known)}-mlx"
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
