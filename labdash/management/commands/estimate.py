"""Estimate what a load takes of each GPU and of the RAM."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandParser

from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand
from labdash.planner.errors import PlannerError
from labdash.planner.memory.fit import Fitted
from labdash.planner.memory.result import DeviceUse
from labdash.planner.settings import ALL_LAYERS
from labdash.queries.estimates import (
    MARGIN_MIB,
    Answer,
    answer,
    as_json,
    read_gpus,
    read_request,
)
from labdash.wording import size

DOES_NOT_FIT = 1
# Longer than any request, so that a line without an end is refused before it fills memory.
LONGEST_LINE = 65_536
KILO_TOKENS = re.compile("[0-9]{1,9}[kK]")

# How what a process takes besides is known.
OVERHEADS = {"table": "by a table", "unknown": "assumed"}


class Command(LabDashCommand):
    """An estimate of one load, or of one a line of a file."""

    help = (
        "Estimate the memory of a model on each GPU and in RAM. SOURCE is a GGUF file (its header "
        "is enough), a saved answer of /api/show, a name of the catalog as qwen3:14b, or "
        "hf.co/user/repository:Q4_K_M, of which the header is fetched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take llama.cpp's own words."""
        add = parser.add_argument
        add("source", nargs="?", metavar="SOURCE", help="the model")
        add("--batch", metavar="FILE.jsonl", help="read one request a line, - is standard input")
        add("--quant", help="as Q4_K_M; of a file, what llama-quantize makes of it")
        add("--ctx", help="context over all slots; auto is the trained one, or what fits")
        add("--parallel", type=int, metavar="SLOTS", help="slots (1)")
        add("--kv-type", metavar="TYPE", help="f16, q8_0 and so on, or K,V (f16)")
        add("--flash-attn", choices=("on", "off"), help="(on)")
        add("--batch-size", type=int, metavar="TOKENS", help="logical batch (512)")
        add("--ubatch-size", type=int, metavar="TOKENS", help="physical batch (512)")
        add("--gpu-layers", metavar="N", help="layers on GPUs, the output layer first (all)")
        add("--gpus", help="2, or their free memory 24GiB,12GiB, or names RTX 3090,RTX 4060")
        add("--tensor-split", metavar="A,B", help="shares of the GPUs (by free memory)")
        add("--outputs", type=int, metavar="N", help="tokens with logits (one a slot), 0 for all")
        add("--unified-kv", action="store_true", help="one cache for all slots")
        add("--no-kv-offload", action="store_true", help="keep the cache in RAM")
        add("--no-op-offload", action="store_true", help="compute the layers in RAM on the CPU")
        add("--no-pipeline", action="store_true", help="GPUs cannot copy asynchronously")
        add("--swa-full", action="store_true", help="windowed layers keep the whole context")
        add("--as-loaded", action="store_true", help="what a load takes, not a dry run")
        add("--cpu-override", metavar="REGEX", help="tensors that stay in RAM")
        add("--engine", help="llama.cpp's build as b10488, or ollama:0.32.15 (the newest known)")
        add("--fit", action="store_true", help="what llama.cpp's --fit chooses")
        add("--mmproj", metavar="FILE", help="a projector for images")
        add("--draft", metavar="SOURCE", help="a draft model")
        add("--lora", metavar="FILE", action="append", help="an adapter; may be repeated")
        add("--margin-mib", type=float, help=f"what --fit keeps free of each GPU ({MARGIN_MIB})")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Answer one request or a file of them. Raises ``LabDashError`` for bad input."""
        if options["batch"]:
            if options["source"]:
                raise LabDashError("name a model or give --batch, not both")
            for line in _read_lines(options["batch"]):
                self.stdout.write(json.dumps(_answer_line(line), separators=(",", ":")))
            return
        try:
            given = answer(read_request(dict(_asked(options))))
        except PlannerError as error:
            raise LabDashError(str(error)) from error
        if options["json"]:
            self.print_json(as_json(given))
        else:
            self.stdout.write("\n".join(_lines(given)))
        if given.estimate.fits is False:
            sys.exit(DOES_NOT_FIT)


def _asked(options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Turn the options into a request. What was not given is left out."""
    if not options["source"]:
        raise PlannerError("name a model: a GGUF file, a saved /api/show, or as qwen3:14b")
    type_k, _, type_v = (options["kv_type"] or "").partition(",")
    values = {
        "source": options["source"],
        "quant": options["quant"],
        "ctx": _thousands(options["ctx"]),
        "parallel": options["parallel"],
        "unified_kv": options["unified_kv"],
        "flash_attn": options["flash_attn"] != "off",
        "type_k": type_k or None,
        "type_v": type_v or type_k or None,
        "batch": options["batch_size"],
        "ubatch": options["ubatch_size"],
        "gpu_layers": options["gpu_layers"],
        "tensor_split": options["tensor_split"],
        "outputs": options["outputs"],
        "kv_offload": not options["no_kv_offload"],
        "op_offload": not options["no_op_offload"],
        "pipeline": not options["no_pipeline"],
        "swa_full": options["swa_full"],
        "dry_run": not options["as_loaded"],
        "cpu_override": options["cpu_override"],
        "engine": options["engine"],
        "fit": options["fit"],
        "margin_mib": options["margin_mib"],
        "mmproj": options["mmproj"],
        "draft": options["draft"],
        "lora": options["lora"],
    }
    yield from ((key, value) for key, value in values.items() if value is not None)
    if options["gpus"]:
        sizes, names = read_gpus(options["gpus"])
        yield "gpu_free_mib", sizes
        yield "gpu_names", names


def _thousands(text: str | None) -> str | None:
    """Read 32k as 32768."""
    if text and KILO_TOKENS.fullmatch(text):
        return str(int(text[:-1]) * 1024)
    return text


def _read_lines(path: str) -> Iterator[str]:
    """Read requests line by line, from a file or from standard input."""
    if path == "-":
        yield from _stripped(sys.stdin)
        return
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as lines:
            yield from _stripped(lines)
    except OSError as error:
        raise LabDashError(f"cannot read {path}: {error.strerror}") from error


def _stripped(lines: TextIO) -> Iterator[str]:
    """Leave out empty lines. One that is too long is cut, so that it is refused."""
    while line := lines.readline(LONGEST_LINE):
        if line.strip():
            yield line
        while len(line) == LONGEST_LINE and not line.endswith("\n"):
            line = lines.readline(LONGEST_LINE)


def _answer_line(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {"error": "the line is no JSON"}
    if not isinstance(values, dict):
        return {"error": "the line is no JSON object"}
    try:
        return as_json(answer(read_request(values)))
    except PlannerError as error:
        return {"error": str(error)}


def _lines(given: Answer) -> Iterator[str]:
    """Write an answer for people."""
    result, shape = given.estimate, given.model.shape
    quant = f" {given.model.quant}" if given.model.quant else ""
    yield f"{given.model.name}{quant}: {shape.block_count} layers, context {result.ctx}"
    if given.fitted is not None:
        yield _chosen(given.fitted)
    yield f"{'':8}{'weights':>11}{'KV':>11}{'compute':>11}{'overhead':>11}{'sum':>11}"
    for device in result.devices:
        yield _device(device)
    host = result.host
    parts = (host.weights_bytes, host.kv_bytes, host.compute_bytes, host.output_bytes)
    cells = "".join(f"{size(part):>11}" for part in parts)
    yield f"{'RAM':8}{cells}{size(host.total_bytes):>11}   (overhead: the logits)"
    basis = result.basis
    yield (
        f"weights {basis.weights}, KV {basis.kv}, compute {basis.compute}, "
        f"overhead {OVERHEADS.get(basis.overhead, basis.overhead)}"
    )
    yield from (f"note: {warning}" for warning in given.warnings)
    if result.fits is not None:
        yield "fits" if result.fits else "does not fit"


def _device(device: DeviceUse) -> str:
    parts = (
        device.weights_bytes,
        device.kv_bytes,
        device.compute_bytes,
        device.overhead_bytes,
        device.total_bytes,
    )
    cells = "".join(f"{size(part):>11}" for part in parts)
    short = f", {size(device.short_bytes)} short" if device.short_bytes else ""
    return f"{device.name:8}{cells}   {device.layers} layers{short}"


def _chosen(fitted: Fitted) -> str:
    layers = "all layers" if fitted.gpu_layers == ALL_LAYERS else f"{fitted.gpu_layers} layers"
    blocks = len(fitted.experts_on_cpu)
    moved = f", experts of {blocks} blocks in RAM" if blocks else ""
    return f"--fit chooses context {fitted.ctx}, {layers} on GPUs{moved}"
