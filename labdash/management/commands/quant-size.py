"""Tell how large a model gets in each quantization, to the byte."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from labdash.domain.errors import LabDashError
from labdash.management.base import LabDashCommand
from labdash.planner.errors import PlannerError
from labdash.queries.quant_sizes import QuantSize, sizes_of
from labdash.wording import size


class Command(LabDashCommand):
    """Sizes of the files that llama-quantize would make of a model."""

    help = (
        "Tell the exact size of a model's quantizations. SOURCE is a GGUF file (its header is "
        "enough), a saved answer of /api/show, or a name of the catalog as qwen3:14b."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a model and what to make of it."""
        parser.add_argument("source", metavar="SOURCE", help="the model")
        parser.add_argument("--to", metavar="TYPE", help="one file type, as Q4_K_M (all)")
        parser.add_argument("--imatrix", action="store_true", help="with an importance matrix")
        parser.add_argument("--tensors", action="store_true", help="list each tensor's type")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Work the sizes out. Raises ``LabDashError`` for bad input."""
        try:
            sizes = sizes_of(options["source"], options["to"], imatrix=options["imatrix"])
        except PlannerError as error:
            raise LabDashError(str(error)) from error
        if options["json"]:
            self.print_json({"sizes": [_as_json(each, options["tensors"]) for each in sizes]})
        else:
            lines = (line for each in sizes for line in _lines(each, options["tensors"]))
            self.stdout.write("\n".join(lines))


def _as_json(each: QuantSize, with_tensors: bool) -> dict[str, Any]:  # noqa: FBT001 - one caller
    written: dict[str, Any] = {
        "quant": each.quant,
        "bytes": each.bytes,
        "file_bytes": each.file_bytes,
        "bits_per_weight": round(each.bits_per_weight, 4),
        "types": dict(each.types),
        "needs_imatrix": each.needs_imatrix,
    }
    if with_tensors:
        written["tensors"] = [
            {"name": t.name, "shape": list(t.shape), "type": t.type, "bytes": t.bytes}
            for t in each.tensors
        ]
    return written


def _lines(each: QuantSize, with_tensors: bool) -> Iterator[str]:  # noqa: FBT001 - one caller
    types = ", ".join(f"{count} {kind}" for kind, count in each.types.items())
    bits = f"{each.bits_per_weight:.2f} bits a weight"
    needs = " (made only with an importance matrix)" if each.needs_imatrix else ""
    yield f"{each.quant:10}{size(each.bytes):>11}  {each.bytes:,} bytes, {bits}: {types}{needs}"
    if with_tensors:
        yield from (f"  {t.type:8}{t.bytes:>16,}  {t.name}" for t in each.tensors)
