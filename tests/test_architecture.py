"""What keeps the code in the shape that it has: these tests read it rather than run it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from labdash.env import ROOT

MOST_LINES = 400
MOST_FUNCTION_LINES = 50
# Where every public name says what its signature cannot.
DOCUMENTED = ("workers", "labdash/domain", "labdash/queries", "labdash/runner", "labdash/sources")
CODE = sorted(
    path
    for folder in ("labdash", "workers")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))

type Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Name a file for the list of tests."""
    return str(path.relative_to(ROOT))


@cache
def parse(path: Path) -> ast.Module:
    """Parse a file, once for all tests."""
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> str:
    """Return the imports of a file, and nothing else of it."""
    body: list[ast.stmt] = [node for node in parse(path).body if _is_import(node)]
    return ast.unparse(ast.Module(body=body, type_ignores=[]))


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield all functions, methods and inner ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Check the import contracts of a copy of the code, or of the code itself."""
    command = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(  # noqa: S603 - the locked linter
        [sys.executable, "-c", command, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def plant(folder: Path, path: str, line: str) -> None:
    """Copy the code's imports into ``folder`` and add one line to one module."""
    for source in CODE:
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(imports(source))
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    with (folder / path).open("a") as file:
        file.write(f"\n{line}\n")


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_import_contracts_are_kept() -> None:
    done = lint_imports(ROOT)
    assert (done.returncode, "0 broken" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("workers/telemetry.py", "import django", "The node side knows nothing"),
        ("workers/wire/base.py", "import labdash.env", "The node side knows nothing"),
        ("labdash/live.py", "import workers.telemetry", "The hub sees only the wire"),
        ("labdash/runner/store.py", "import django", "The runner starts Django"),
        ("labdash/models/node.py", "import labdash.queries.lab", "Layers of the hub"),
        ("labdash/queries/lab.py", "import labdash.domain.nodes", "Layers of the hub"),
        ("labdash/domain/nodes.py", "import labdash.forms", "Layers of the hub"),
        ("labdash/intake.py", "import labdash.tasks", "Layers of the hub"),
        ("labdash/planner/speed.py", "import labdash.catalog.gpus", "Layers of the hub"),
        ("labdash/catalog/gpus.py", "import django", "The planner and what feeds it"),
    ],
)
def test_a_forbidden_import_is_caught(tmp_path: Path, path: str, line: str, contract: str) -> None:
    plant(tmp_path, path, line)
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract}" in done.stdout
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken)


def test_packages_that_must_import_nothing_import_nothing() -> None:
    for path in (ROOT / "labdash" / "__init__.py", ROOT / "workers" / "__init__.py"):
        body = parse(path).body
        assert not any(map(_is_import, body)), path


def test_a_module_says_what_it_is_for_unless_it_is_empty() -> None:
    trees = {name_of(path): parse(path) for path in CODE}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_no_file_is_long() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in [*CODE, *TESTS]}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_long() -> None:
    lengths = {
        f"{name_of(path)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in CODE
        for function in functions(parse(path))
    }
    assert {name: length for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == {}


def undocumented(tree: ast.Module) -> list[str]:
    """Return the public classes, functions and methods without a docstring."""
    found = []
    for node in tree.body:
        if not isinstance(node, Function.__value__ | ast.ClassDef) or node.name.startswith("_"):
            continue
        members = node.body if isinstance(node, ast.ClassDef) and not _is_protocol(node) else []
        public = [
            member
            for member in members
            if isinstance(member, Function.__value__) and not member.name.startswith("_")
        ]
        found += [each.name for each in (node, *public) if not ast.get_docstring(each)]
    return found


def _is_protocol(node: ast.ClassDef) -> bool:
    """Whether a class only names methods that others describe."""
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def test_public_names_are_documented() -> None:
    paths = [path for path in CODE if name_of(path).startswith(DOCUMENTED)]
    bare = [f"{name_of(path)}:{name}" for path in paths for name in undocumented(parse(path))]
    assert bare == []


def test_a_missing_docstring_is_caught() -> None:
    source = dedent('''
        class Known:
            """Said."""

            def told(self): ...

            def _inner(self): ...

        def bare(): ...

        def _private(): ...
    ''')
    assert undocumented(ast.parse(source)) == ["told", "bare"]


def test_every_function_is_annotated() -> None:
    bare = [
        f"{name_of(path)}:{function.name}"
        for path in CODE
        for function in functions(parse(path))
        if function.returns is None
    ]
    assert bare == []


def test_every_management_command_has_a_test() -> None:
    folder = ROOT / "labdash" / "management" / "commands"
    commands = {
        path.stem.replace("-", "_") for path in folder.glob("*.py") if path.stem != "__init__"
    }
    tested = {
        path.stem.removeprefix("test_")
        for path in (ROOT / "tests" / "labdash" / "management").glob("test_*.py")
        if any(function.name.startswith("test_") for function in functions(parse(path)))
    }
    assert commands <= tested


def test_every_suppressed_rule_carries_its_reason() -> None:
    bare = [
        f"{name_of(path)}:{number}"
        for path in [*CODE, *TESTS]
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "# noqa" in line and " - " not in line.partition("# noqa")[2] and path != Path(__file__)
    ]
    assert bare == []


def test_no_page_keeps_for_ever_what_it_was_asked() -> None:
    """Whoever asks often enough, each time for something else, would fill the memory."""
    endless = [
        f"{name_of(path)}: {function.name}"
        for path in CODE
        if path.parts[len(ROOT.parts) : len(ROOT.parts) + 2]
        in {("labdash", "queries"), ("labdash", "views"), ("labdash", "templatetags")}
        for function in functions(parse(path))
        if function.args.args and "cache" in map(ast.unparse, function.decorator_list)
    ]
    # Its file is a setting's.
    assert endless == ["labdash/queries/snapshot.py: _offered"]


def test_no_test_is_a_mock() -> None:
    users = [
        name_of(path)
        for path in TESTS
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest.mock")
    ]
    assert users == []


def test_the_node_side_needs_no_package_of_the_hub() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    node = {text.partition("~")[0].partition(">")[0] for text in project["dependencies"]}
    assert "django" not in node
    assert {"celery", "pydantic", "redis"} <= node
