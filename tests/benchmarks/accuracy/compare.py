"""How far the planner's figures are from those that llama.cpp reported for the same load."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labdash.planner.errors import PlannerError
from labdash.planner.memory.estimate import measure
from tests.oracle import MIB, Row, model, recorded, settings_of

# Architectures for which a closed form would be enough; the graph is replayed for them too.
LENIENT = frozenset(("deepseek2", "qwen35moe", "qwen3next"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one device, in MiB. ``kind`` is weights, kv, compute or total."""

    row: Row
    device: int
    is_host: bool
    kind: str
    ours: float
    theirs: float

    @property
    def error(self) -> float:
        """The share by which it is off; what both say is nothing is not off."""
        if self.ours == self.theirs:
            return 0.0
        return abs(self.ours - self.theirs) / self.theirs if self.theirs else 1.0

    def within(self, share: float, mib: float) -> bool:
        """Tell whether it is off by no more than a share or some MiB."""
        return abs(self.ours - self.theirs) <= max(mib, share * self.theirs)


@dataclass(slots=True)
class Comparison:
    """All figures of some runs, and the runs that were refused or were to be refused."""

    figures: list[Figure] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    wrongly_refused: list[tuple[Row, str]] = field(default_factory=list)
    wrongly_answered: list[Row] = field(default_factory=list)

    def of(self, kind: str, *, host: bool | None = None) -> list[Figure]:
        """Pick the figures of a kind, of GPUs or of the host alone."""
        return [f for f in self.figures if f.kind == kind and host in (None, f.is_host)]


def compare(rows: Iterable[Row], build: int) -> Comparison:
    """Estimate each run and set it against what was recorded."""
    result = Comparison()
    for row in rows:
        try:
            figures = list(_figures(row, build))
        except PlannerError as error:
            if "error" in row:
                result.refused.append(row)
            else:
                result.wrongly_refused.append((row, str(error)))
            continue
        if "error" in row:
            result.wrongly_answered.append(row)
        result.figures.extend(figures)
    return result


def _figures(row: Row, build: int) -> Iterator[Figure]:
    buffers = measure(model(row["model"], row["quant"]), settings_of(row, build))
    if "error" in row:
        return
    theirs = recorded(row)
    ours = {"weights": buffers.weights, "kv": buffers.kv, "compute": buffers.compute}
    host = row["n_devices"]
    for device in range(host + 1):
        totals = [0.0, 0.0]
        for kind, sizes in ours.items():
            pair = sizes[device] / MIB, getattr(theirs, kind)[device]
            totals = [total + part for total, part in zip(totals, pair, strict=True)]
            yield Figure(row, device, device == host, kind, *pair)
        yield Figure(row, device, device == host, "total", totals[0], totals[1])


def share(figures: Iterable[Figure], *, part: float, mib: float) -> float:
    """Tell what share of the figures is within a part or some MiB."""
    judged = [figure.within(part, mib) for figure in figures]
    return sum(judged) / len(judged) if judged else 1.0


def percentile(figures: Iterable[Figure], rank: float) -> float:
    """Tell the error below which a share of the figures lies."""
    errors = sorted(figure.error for figure in figures)
    return errors[min(len(errors) - 1, int(rank * len(errors)))] if errors else 0.0
