"""The catalog's own data: the only files that this package opens, each when first asked for."""

import json
from importlib.resources import files
from typing import Any

DATA = files("labdash.catalog") / "data"


def read_json(name: str) -> dict[str, Any]:
    """Read one JSON object."""
    value: dict[str, Any] = json.loads((DATA / name).read_text("utf-8"))
    return value


def read_lines(name: str) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]
