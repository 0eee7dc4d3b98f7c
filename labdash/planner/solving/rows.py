"""What an integer program is made of: variables, and rows over them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Row:
    """``lower <= sum of factor times variable <= upper``."""

    entries: Mapping[int, float]
    upper: float
    lower: float = -inf


@dataclass
class Rows:
    """Variables by number: ``tops`` are their upper bounds, ``whole`` which take whole values.

    The first ones are for ``columns``, 0 or 1. ``losses`` are what splits come out worse than hoped
    for, in layers on the CPU ("cpu") and in thousandths of a satisfaction ("points"), by node.
    """

    columns: Sequence[object]
    tops: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    losses: dict[tuple[str, int], int] = field(default_factory=dict)
    floors: list[tuple[int, Row]] = field(default_factory=list)
    exceptions: list[tuple[tuple[int, int], Row]] = field(default_factory=list)

    def variable(self, top: float, *, whole: bool) -> int:
        """Add a variable from 0 to ``top``."""
        self.tops.append(top)
        self.whole.append(whole)
        return len(self.tops) - 1

    def completed(self, chosen: Collection[int]) -> list[float]:
        """Give all variables their values where some columns are chosen."""
        values = [float(number in chosen) for number in range(len(self.columns))]
        values += [0.0] * (len(self.tops) - len(values))
        for exception, row in self.exceptions:
            if sum(factor * values[key] for key, factor in row.entries.items()) > row.upper:
                values[exception[0]] = values[exception[1]] = 1.0
        for number, row in self.floors:
            others = sum(
                factor * values[key] for key, factor in row.entries.items() if key != number
            )
            values[number] = max(values[number], others)
        return values

    def floor(self, number: int, entries: Mapping[int, float]) -> None:
        """Demand that a variable is no less than a sum."""
        row = Row({**entries, number: -1.0}, 0.0)
        self.rows.append(row)
        self.floors.append((number, row))

    def unless(self, exception: tuple[int, int], row: Row) -> None:
        """Demand something unless two variables are 1."""
        self.rows.append(row)
        self.exceptions.append((exception, row))

    def most(self, entries: Mapping[int, float], upper: float) -> None:
        """Demand that a sum is not more, unless it cannot be anyway."""
        if sum(max(0.0, value) * self.tops[key] for key, value in entries.items()) > upper:
            self.rows.append(Row(entries, upper))
