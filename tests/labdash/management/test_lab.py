"""``manage.py lab export`` and ``lab import``."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from labdash.models import Deployment, Node
from labdash.queries.lab_file import parse, read
from tests.factories import make_node, seen
from tests.labdash.management.conftest import Run

pytestmark = pytest.mark.django_db


def lab(*arguments: str) -> str:
    """Run the command and return what it printed."""
    out = io.StringIO()
    call_command("lab", *arguments, stdout=out)
    return out.getvalue()


def test_what_is_exported_is_a_labs_file(tmp_path: Path) -> None:
    make_node("rog", tags=["desk"])
    seen("rog")
    Deployment.objects.create(name="chat", model="qwen3:8b", nodes=["desk"])
    text = lab("export")
    (node,), (wanted,) = read(text).nodes, read(text).deployments
    assert (node.name, node.tags, wanted.name, wanted.nodes) == (
        "rog",
        ("desk",),
        "chat",
        ("desk",),
    )
    assert parse(text).homes["rog/ollama"][1].gpus == (0,)
    path = tmp_path / "lab.toml"
    lab("export", "--output", str(path))
    assert path.read_text() == text


def test_an_export_as_json_is_refused() -> None:
    with pytest.raises(CommandError, match="leave out --json"):
        lab("--json", "export")


def test_what_is_exported_changes_nothing_when_imported(tmp_path: Path) -> None:
    make_node("rog", tags=["desk"])
    seen("rog")
    Deployment.objects.create(name="chat", model="qwen3:8b")
    path = tmp_path / "lab.toml"
    lab("export", "--output", str(path))
    assert lab("import", str(path)) == "No changes.\n"


def test_an_import_says_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('[[deployment]]\nname = "chat"\nmodel = "qwen3:8b"\n[[node]]\nname = "rog"')
    told = (
        "  deployment chat: added\nnote: node rog is not here: it is known once its worker joins\n"
    )
    assert lab("import", str(path), "--dry-run") == f"Would change:\n{told}"
    assert Deployment.objects.count() == 0
    assert lab("import", str(path)) == f"Changed:\n{told}"
    assert Deployment.objects.get().name == "chat"
    assert json.loads(lab("import", str(path), "--json"))["changes"] == []


def test_what_the_file_lacks_is_deleted_only_when_asked(tmp_path: Path) -> None:
    Deployment.objects.create(name="chat", model="qwen3:8b")
    path = tmp_path / "lab.toml"
    path.write_text("")
    lab("import", str(path))
    assert Deployment.objects.count() == 1
    assert "deployment chat: deleted" in lab("import", str(path), "--prune")
    assert Deployment.objects.count() == 0


def test_a_file_with_one_mistake_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(
        '[[node]]\nname = "nas"\nagentless = true\n'
        '[[deployment]]\nname = "a"\nmodel = "qwen3:8b"\n'
        '[[deployment]]\nname = "b"\nmodel = "nosuch"\n'
    )
    with pytest.raises(CommandError, match=r"deployment b: .*nosuch"):
        lab("import", str(path))
    assert (Node.objects.count(), Deployment.objects.count()) == (0, 0)


@pytest.mark.parametrize("text", ["[[nod]]", "x = "])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(text)
    with pytest.raises(CommandError) as caught:
        lab("import", str(path))
    assert caught.value.returncode == 2


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot write"):
        lab("export", "--output", str(tmp_path / "none" / "lab.toml"))


def test_without_a_lab_here_it_says_what_to_run(manage: Run) -> None:
    result = manage("lab", "export")
    assert (result.returncode, "run deploy/up" in result.stderr) == (2, True)
