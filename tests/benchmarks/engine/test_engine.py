"""The memory model against a real llama.cpp that was built here."""

import pytest

from tests.benchmarks.engine.packages import MissingError
from tests.benchmarks.engine.report import compare
from tests.figures import Tell

pytestmark = [pytest.mark.long, pytest.mark.e2e]


def test_estimate_says_what_a_real_server_prints(tell: Tell) -> None:
    try:
        rows = list(compare())
    except MissingError as error:
        pytest.skip(str(error))
    for row in rows:
        told = ", ".join(f"{kind} {row.cell(kind)}" for kind in row.printed)
        tell(f"{row.load.model[0]}, {row.load.words}", f"{told} MiB printed / estimated")
    assert [(row.load.words, row.differing()) for row in rows if row.differing()] == []
