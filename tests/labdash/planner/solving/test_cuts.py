"""What a program is told of sets that a node does not hold."""

from labdash.planner.lab import Deployment, Lab, Node
from labdash.planner.solving.cuts import Cutter, by_node
from labdash.planner.solving.problem import Column, Problem
from labdash.planner.solving.rows import Row
from tests.planning.labs import gpu_node, want

ONE = want("one", "qwen3:14b", ("Q6_K",), (8192, 16384))
TWO = want("two", "llama3.1:8b", ("Q8_0",), (8192, 16384))


class Case:
    """A lab, its columns, and what cuts them."""

    def __init__(self, *wanted: Deployment, nodes: tuple[Node, ...]) -> None:
        self.problem = Problem(Lab(nodes=nodes, deployments=wanted))
        count = range(len(wanted))
        self.columns = [each for number in count for each in self.problem.columns_of(number)]
        self.cutter = Cutter(self.problem, self.columns, strict=True)

    def find(self, wanted: int, ctx: int, device: str | None = None) -> Column:
        """Find a column."""
        return next(
            column
            for column in self.columns
            if (column.wanted, column.choice.ctx) == (wanted, ctx)
            and (device is None or column.choice.gpu_devices == (device,))
        )

    def cuts(self, *columns: Column) -> list[Row]:
        """Cut a set that must not hold."""
        (node,) = by_node(columns)
        assert not self.problem.verdict(node, columns).holds
        return list(self.cutter.cuts(node, columns))

    def seen(self, row: Row) -> set[tuple[int, int, tuple[str, ...]]]:
        """Write the columns of a row."""
        columns = [self.columns[number] for number in row.entries]
        return {(c.wanted, c.choice.ctx, c.choice.gpu_devices) for c in columns}


def test_larger_ones_are_forbidden_too() -> None:
    case = Case(ONE, TWO, nodes=(gpu_node("rog", 4),))
    (row,) = case.cuts(case.find(0, 8192), case.find(1, 8192))
    steps = (8192, 12288, 16384)
    assert case.seen(row) == {(wanted, ctx, ("rog/0",)) for wanted in (0, 1) for ctx in steps}
    assert (set(row.entries.values()), row.upper) == ({1.0}, 1.0)


def test_a_third_that_does_no_harm_is_left_out() -> None:
    third = want("zero", "llama3.2:1b", ("Q8_0",), (2048, 2048))
    case = Case(ONE, TWO, third, nodes=(gpu_node("rog", 4, 5),))
    chosen = case.find(0, 8192, "rog/0"), case.find(1, 8192, "rog/0"), case.find(2, 2048, "rog/1")
    row, *_ = case.cuts(*chosen)
    assert {wanted for wanted, _, _ in case.seen(row)} == {0, 1}


def test_what_is_forbidden_on_one_gpu_is_forbidden_on_its_like() -> None:
    case = Case(ONE, TWO, nodes=(gpu_node("rog", 4), gpu_node("tuf", 4), gpu_node("zen", 6)))
    rows = case.cuts(case.find(0, 8192, "rog/0"), case.find(1, 8192, "rog/0"))
    devices = [{device for _, _, devices in case.seen(row) for device in devices} for row in rows]
    assert devices == [{"rog/0"}, {"tuf/0"}]


def test_a_runner_is_shared_in_one_way_only() -> None:
    other = want("other", "qwen3:14b", ("Q6_K",), (12288, 16384))
    case = Case(ONE, other, nodes=(gpu_node("rog", 6),))
    (row,) = case.cuts(case.find(0, 8192), case.find(1, 12288))
    assert case.seen(row) == {
        (0, 8192, ("rog/0",)),
        (1, 12288, ("rog/0",)),
        (1, 16384, ("rog/0",)),
    }
