"""The report on accuracy as Markdown: a table by architecture for each build, and what misses."""

from collections.abc import Iterable, Iterator, Sequence

from labdash.planner.memory.fit import fit
from labdash.planner.settings import Gpu, Settings
from tests.benchmarks.accuracy.compare import Comparison, Figure, compare, percentile, share
from tests.oracle import BUILDS, MIB, Row, model, read_rows, runs

# What counts as a hit of a compute buffer.
PART, LEAST_MIB = 0.01, 1.0
EXACT_MIB = 0.01


def report(*, every: int = 1) -> str:
    """Compare all recorded runs, quantizations and choices."""
    lines = [INTRODUCTION]
    for build in BUILDS:
        lines.extend(_build(build, every))
    lines.extend(_fit(every))
    return "\n".join(lines) + "\n"


INTRODUCTION = """# How exact the memory model is

Made by `python -m tests.benchmarks.accuracy`. Each recorded run is a load of llama.cpp with its own
report of what every device would hold (no GPU needed: a stand-in answers the scheduler as CUDA
does). The planner estimates the same load, and each figure of each device is compared.
"""


def _build(build: int, every: int) -> Iterator[str]:
    rows = runs(build)[::every]
    result = compare(rows, build)
    yield f"## Build b{build}: {len(rows)} runs\n"
    yield from _table(result)
    yield ""
    yield from _sums(result)
    yield from _misses(result)


HEAD = """Shares of the figures that are equal (to 0.01 MiB) or off by no more than 1 % or 1 MiB.

| architecture | weights, KV equal | GPU compute equal | within, flash attention | without |\
 host within | worst |
|---|---|---|---|---|---|---|"""


def _table(result: Comparison) -> Iterator[str]:
    yield HEAD
    for arch in sorted({figure.row["arch"] for figure in result.figures}):
        yield _line(arch, [f for f in result.figures if f.row["arch"] == arch])
    yield _line("**all**", result.figures)


def _line(name: str, figures: Sequence[Figure]) -> str:
    fixed = [f for f in figures if f.kind in ("weights", "kv")]
    compute = [f for f in figures if f.kind == "compute"]
    gpu = [f for f in compute if not f.is_host]
    worst = max((f.error for f in compute if not f.within(0, LEAST_MIB)), default=0.0)
    cells = (
        name,
        _percent(share(fixed, part=0, mib=EXACT_MIB), len(fixed)),
        _percent(share(gpu, part=0, mib=EXACT_MIB), len(gpu)),
        *(
            _percent(share(some, part=PART, mib=LEAST_MIB), len(some))
            for some in (
                [f for f in gpu if f.row["fa"]],
                [f for f in gpu if not f.row["fa"]],
                [f for f in compute if f.is_host],
            )
        ),
        f"{worst:.1%}",
    )
    return f"| {' | '.join(cells)} |"


def _percent(part: float, count: int) -> str:
    if not count:
        return "-"
    return f"{part:.2%} of {count}".replace("100.00%", "100%")


def _sums(result: Comparison) -> Iterator[str]:
    totals = result.of("total")
    yield f"Sum of a device: 95 % of all are off by at most {percentile(totals, 0.95):.4%}, "
    yield f"99 % by at most {percentile(totals, 0.99):.4%}. Refused as llama.cpp refuses: "
    refused, answered = len(result.refused), len(result.wrongly_answered)
    yield f"{refused} of {refused + answered}; refused wrongly: {len(result.wrongly_refused)}.\n"


def _misses(result: Comparison) -> Iterator[str]:
    missed = [f for f in result.of("compute") if not f.within(PART, LEAST_MIB)]
    if missed:
        yield "Compute buffers off by more:\n"
    for f in missed:
        where = "host" if f.is_host else f"GPU{f.device}"
        name = f"{f.row['id']} {f.row['model']} {where}"
        yield f"- {name}: {f.theirs:.1f} MiB, estimated {f.ours:.1f}"
    if missed:
        yield ""


def _fit(every: int) -> Iterator[str]:
    rows = read_rows("fit")[::every]
    same = [row for row in rows if chosen(row) == wanted(row)]
    yield f"## What `--fit` chooses\n\n{len(same)} of {len(rows)} recorded choices of context, "
    yield "layers, split and experts in RAM come out the same.\n"
    for row in rows:
        if row not in same:
            yield f"- {row['model']} {row['device_mem_MiB']} {row['args']}: {wanted(row)}, "
            yield f"estimated {chosen(row)}"


def wanted(row: Row) -> tuple[object, ...]:
    """Read a recorded choice: context, layers, split, and how many blocks keep experts in RAM."""
    split = row["tensor_split"]
    return row["n_ctx"], row["ngl"], split, _moved(row)


def _moved(row: Row) -> tuple[int, ...]:
    """Read the blocks that patterns reach, whether to the host or to the next GPU."""
    if not row.get("override_layers"):
        return ()
    first, last, count = row["override_layers"]
    blocks = [first, *range(last - count + 2, last + 1)] if count > 1 else [first]
    return tuple(block for block in blocks if block < row["n_layer"])


def chosen(row: Row) -> tuple[object, ...]:
    """Choose for the same card."""
    ctx = int(row["args"].split("-c ")[1]) if "-c " in row["args"] else 0
    settings = Settings(
        build=BUILDS[0],
        ctx=ctx,
        batch=2048,
        outputs=0,
        gpus=tuple(Gpu(size * MIB) for size in row["device_mem_MiB"]),
    )
    fitted = fit(
        model(row["model"], row["quant"]),
        settings,
        margin_bytes=row["margin_MiB"] * MIB,
        ctx_is_free=not ctx,
    )
    split = fitted.tensor_split
    written = ",".join(f"{part:g}" for part in split) if split else None
    blocks = _blocks(pattern for pattern, _ in fitted.settings.moves)
    return fitted.ctx, fitted.gpu_layers, written, blocks_below(blocks, row["n_layer"])


def _blocks(patterns: Iterable[str]) -> list[int]:
    return [int(pattern.split(r"\.")[1]) for pattern in patterns]


def blocks_below(blocks: Iterable[int], count: int) -> tuple[int, ...]:
    """Leave out the block behind the last, which the engine's patterns reach."""
    return tuple(block for block in blocks if block < count)
