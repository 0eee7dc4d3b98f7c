"""The catalog as a file that ``manage.py catalog import`` reads."""

import json

from labdash.catalog.entries import in_order
from labdash.catalog.files import read_lines
from labdash.catalog.own import own_rows


def entries_text(*, everything: bool) -> str:
    """Write the lab's own entries, one a line; ``everything`` with those that came with LabDash."""
    own = {str(row["name"]).lower(): row for row in own_rows()}
    given = read_lines("models.jsonl") if everything else []
    rows = [*(row for row in given if row["name"].lower() not in own), *own.values()]
    return "".join(json.dumps(in_order(row), ensure_ascii=False) + "\n" for row in rows)
