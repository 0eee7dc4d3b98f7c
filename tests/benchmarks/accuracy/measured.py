"""The planner against loads that people posted from real cards, as Markdown.

python -m tests.benchmarks.accuracy.measured
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from tests.benchmarks.accuracy.measured_figures import Figure, figures, loads
from tests.benchmarks.accuracy.measured_fits import (
    CASES,
    INCOMPLETE,
    failed,
    verdicts,
    wrongly_refused,
)
from tests.benchmarks.accuracy.measured_misses import REASONS, UNEXPLAINED
from tests.benchmarks.accuracy.measured_overhead import Rest, rests
from tests.benchmarks.accuracy.measured_rows import PATH, rows

MISS = 0.05


def report(rows_path: Path = PATH) -> str:
    """Compare all posted loads."""
    parts = (_scope(rows_path), _table(rows_path), _misses(rows_path), _fits(), _overhead())
    return "\n".join(line for part in parts for line in part) + "\n"


def _scope(path: Path) -> Iterator[str]:
    found, left = loads(path)
    forks = sum(load.fork for load in found)
    yield "## Loads that people posted from real cards\n"
    yield f"{len(rows(path))} posted loads with their sources: `tests/fixtures/measured.jsonl.gz`."
    yield f"{len(found)} can be compared, {forks} of them forks of llama.cpp, whose weights and"
    yield "caches alone are comparable. Models come from the catalog's shapes and llama-quantize's"
    yield "rules. Where a post leaves out its quantization or cache type, the stock one that comes"
    yield "nearest is taken. The others:\n"
    for reason, ids in sorted(left.items(), key=lambda item: -len(item[1])):
        yield f"- {len(ids)}: {reason}: {', '.join(ids)}"
    yield ""


COLUMNS = ("weights", "KV", "compute", "compute, host", "driver", "weights, forks", "KV, forks")


def _table(path: Path) -> Iterator[str]:
    yield "Errors by figure and architecture, each as how many, median, 90 % and worst in %:\n"
    yield f"| architecture | {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * (len(COLUMNS) + 1)}"
    found = figures(path)
    for arch in sorted({figure.load.model.shape.arch for figure in found}):
        yield _line(arch, [f for f in found if f.load.model.shape.arch == arch])
    yield _line("**all**", found)
    yield ""


def _line(name: str, some: Sequence[Figure]) -> str:
    cells = (_cell([f for f in some if _column(f) == column]) for column in COLUMNS)
    return f"| {name} | {' | '.join(cells)} |"


def _column(figure: Figure) -> str:
    return f"{figure.kind}, forks" if figure.load.fork else figure.kind


def _cell(some: Sequence[Figure]) -> str:
    if not some:
        return ""
    errors = sorted(100 * abs(figure.error) for figure in some)
    ninth = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    return f"{len(errors)}: {median(errors):.1f}, {ninth:.1f}, {errors[-1]:.1f}"


def misses(path: Path = PATH) -> list[Figure]:
    """Return what is off by more than 5 %."""
    return [figure for figure in figures(path) if abs(figure.error) > MISS]


def _misses(path: Path) -> Iterator[str]:
    yield "Off by more than 5 % (MiB measured and estimated), and why:\n"
    reasons: dict[str, list[str]] = {}
    for figure in misses(path):
        why = REASONS.get((figure.load.id, figure.kind), UNEXPLAINED)
        size = f"{figure.kind} {figure.theirs:.0f}, {figure.ours:.0f}"
        reasons.setdefault(why, []).append(f"{figure.load.id} {size}")
    for why, missed in reasons.items():
        yield f"- {why}: {'; '.join(missed)}"
    yield ""


def _fits() -> Iterator[str]:
    refused, ran = wrongly_refused()
    yield "### Does it fit?\n"
    yield f"Of {ran} loads that ran on cards of known free memory, {ran - len(refused)} fit by the"
    yield f"estimate{': not ' + ', '.join(refused) if refused else ''}.\n"
    yield "Loads that ran out of memory, as whole models on their cards: by the engine's own rule"
    yield "(Ollama's 80 % of one GPU, `--fit` with 1024 MiB to spare), in truth (buffers, context"
    yield "and the graph of one image where the model sees), and safe (with growth, another image,"
    yield "and 457 MiB left):\n"
    yield "| row | model | engine | truth | safe | note |"
    yield "|---|---|---|---|---|---|"
    for verdict in verdicts():
        case = CASES[verdict.row["id"]]
        answers = " | ".join(_yes(v) for v in (verdict.engine, verdict.truth, verdict.safe))
        note = f"{case.why}; short by {verdict.short_mib} MiB"
        yield f"| {verdict.row['id']} | {case.name} {case.quant} | {answers} | {note} |"
    yield "\nOut of memory, but not complete enough to estimate:\n"
    for row in failed():
        if row["id"] not in CASES:
            yield f"- {row['id']}: {INCOMPLETE.get(row['id'], UNEXPLAINED)}"
    yield ""


def _yes(answer: bool) -> str:
    return "fits" if answer else "does not"


def _overhead() -> Iterator[str]:
    yield "### What the driver shows beside the buffers\n"
    yield "| card | model | n | measured, MiB | table | error | growth in use | table |"
    yield "|---|---|---|---|---|---|---|---|"
    found = sorted(rests(), key=_card)
    for (card, kind), same in groupby(found, key=_card):
        yield _overhead_line(card, kind, list(same))
    yield ""


def _card(rest: Rest) -> tuple[str, str]:
    return rest.card, rest.kind


def _overhead_line(card: str, kind: str, some: Sequence[Rest]) -> str:
    table = some[0].table
    worst = max((rest.table - rest.rest for rest in some), key=abs)
    grown = [rest.growth for rest in some if rest.growth is not None]
    cells = (
        card,
        kind,
        str(len(some)),
        _range(rest.rest for rest in some),
        f"{table:.0f}",
        f"{worst:+.0f}",
        _range(grown) if grown else "-",
        f"{some[0].growth_table:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{found[0]:.0f} to {found[-1]:.0f}"


def main() -> None:
    """Print the report."""
    print(report())  # noqa: T201 - a command


if __name__ == "__main__":
    main()
