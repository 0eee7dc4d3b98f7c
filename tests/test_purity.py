"""The planner computes and the catalog reads its own data: neither reaches for anything else."""

import ast
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from labdash.env import ROOT

PURE = sorted(
    path for folder in ("planner", "catalog") for path in (ROOT / "labdash" / folder).rglob("*.py")
)
# What computes, and nothing that reaches for files, the network, other processes, clocks or chance.
ALLOWED = {
    "bisect", "collections", "contextlib", "dataclasses", "difflib", "enum", "fractions",
    "functools", "heapq", "itertools", "json", "math", "operator", "re", "string", "struct",
    "types", "typing",
}  # fmt: skip
# The one module that opens the catalog's data.
READER = ROOT / "labdash" / "catalog" / "files.py"
# The one module that hands an integer program to HiGHS.
SOLVER = ROOT / "labdash" / "planner" / "solve.py"
# Functions that reach outside without an import.
FORBIDDEN_CALLS = {"open", "exec", "eval", "input", "__import__", "breakpoint", "print"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def impurities(
    tree: ast.AST, *, own: tuple[str, ...], extra: frozenset[str] = frozenset()
) -> list[str]:
    """Return what a module reaches for. ``own`` are packages that it may import."""
    modules = [
        name
        for name in imported(tree)
        if name.partition(".")[0] not in ALLOWED and name not in extra and not name.startswith(own)
    ]
    calls = [
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FORBIDDEN_CALLS
    ]
    return modules + calls


def of_file(path: Path) -> list[str]:
    """Return what a file of the planner or the catalog reaches for."""
    own: tuple[str, ...] = ("labdash.planner",)
    if "catalog" in path.parts:
        own += ("labdash.catalog",)
    extra = {READER: {"importlib.resources"}, SOLVER: {"highspy", "numpy"}}.get(path, set())
    return impurities(ast.parse(path.read_text()), own=own, extra=frozenset(extra))


def test_the_planner_and_the_catalog_reach_for_nothing() -> None:
    assert len(PURE) > 10
    found = {str(path.relative_to(ROOT)): of_file(path) for path in PURE}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import socket", "socket"),
        ("from subprocess import run", "subprocess"),
        ("import time", "time"),
        ("from datetime import datetime", "datetime"),
        ("import random", "random"),
        ("from pathlib import Path", "pathlib"),
        ("import importlib.resources", "importlib.resources"),
        ("from labdash.catalog.gpus import gpus", "labdash.catalog.gpus"),
        ("import django", "django"),
        ("import highspy", "highspy"),
        ("from . import shape", "."),
        ("open('/etc/hostname')", "open"),
        ("__import__('os')", "__import__"),
    ],
)
def test_a_planted_impurity_is_found(line: str, found: str) -> None:
    module = ast.parse(
        dedent(f"""
        def hidden() -> None:
            {line}
        """)
    )
    assert impurities(module, own=("labdash.planner",)) == [found]
