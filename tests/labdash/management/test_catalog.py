"""``manage.py catalog``: new models without a release, and no file that was there is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labdash.catalog.models import find_model
from labdash.domain.solver import Question
from labdash.queries import own_catalog
from labdash.queries.shelf import find
from tests.labdash.catalog.test_entries import ENTRY
from tests.planning.one_card import one_card


def written(folder: Path, *entries: dict[str, Any]) -> str:
    path = folder / "models.json"
    path.write_text(json.dumps(list(entries)))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    call_command("catalog", *words, json=True)
    return json.loads(capsys.readouterr().out)


def test_an_import_is_used_at_once_and_again_changes_nothing(
    own_entries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(own_entries, ENTRY)
    assert find("home-8b") is None
    assert run(capsys, "import", file, "--dry-run")["added"] == ["Home-8B"]
    assert find("home-8b") is None
    assert run(capsys, "import", file)["added"] == ["Home-8B"]
    assert find("home-8b")
    # What plans in a process of its own is told of it.
    assert [row["name"] for row in Question(lab=one_card(), gap=0, limit_s=0).own] == ["Home-8B"]
    assert run(capsys, "import", file)["same"] == 1
    call_command("catalog", "export")
    row = json.loads(capsys.readouterr().out)
    # Without a table of its own for the output: 8.19 billion in all.
    assert (row["name"], row["params_total"]) == ("Home-8B", 8_190_735_360)


def test_what_was_exported_is_there_already(
    own_entries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {**ENTRY, "name": "Home (2) of nine hundred letters", "source": "x" * 900}
    file = {"bytes": 5_000_000_000, "file": "hf.co/me/Home-8B-GGUF:Q4_K_M"}
    run(capsys, "import", written(own_entries, ENTRY, {**long, "files": [file]}))
    for everything, same in ((), 2), (("--all",), 2):
        call_command("catalog", "export", *everything)
        text = capsys.readouterr().out
        (own_entries / "mine.jsonl").write_text(text)
        done = run(capsys, "import", str(own_entries / "mine.jsonl"), "--prune")
        assert (done["same"], done["changed"], done["removed"]) == (same, [], [])
        call_command("catalog", "export", *everything)
        assert capsys.readouterr().out == text
        assert own_catalog.entries_trouble() == ""


def test_what_cannot_be_read_is_not_exported_as_nothing(
    own_entries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_entries / "catalog.jsonl").write_text("{")
    with pytest.raises(CommandError, match="own entries cannot be read: this file is no JSON"):
        call_command("catalog", "export")
    own_catalog.follow(own_entries / "none")
    with pytest.raises(CommandError, match="no lab here yet"):
        call_command("catalog", "export")
    assert capsys.readouterr().out == ""


def test_of_many_entries_some_are_named(
    own_entries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unheard = [{**ENTRY, "name": f"M-{n}", "arch": "unheard-of"} for n in range(1000)]
    call_command("catalog", "import", written(own_entries, *unheard))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", M-19, and 980 more")
    assert len([line for line in lines if line.startswith("note: ")]) == 20
    assert lines[-1] == "and 980 more"


def test_the_file_before_is_kept_and_a_damaged_one_is_not_written_over(
    own_entries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "import", written(own_entries, ENTRY))
    changed = {**ENTRY, "family": "House", "arch": "unheard-of"}
    done = run(capsys, "import", written(own_entries, changed), "--prune")
    assert done["changed"] == ["Home-8B"]
    assert done["notes"][0].startswith(
        "Home-8B: it is listed and not estimated, for the tensors of"
    )
    assert find_model("home-8b").model.family == "House"
    kept = own_entries / "catalog.jsonl"
    assert json.loads((own_entries / "catalog.jsonl.before").read_text())["family"] == "Home"
    kept.write_text("{")
    assert own_catalog.entries_trouble().startswith("this file is no JSON")
    # What held before still holds.
    assert find_model("home-8b").model.family == "House"
    with pytest.raises(CommandError, match="so nothing was changed: this file is no JSON"):
        run(capsys, "import", written(own_entries, ENTRY))
    assert kept.read_text() == "{"


def test_a_tag_of_another_model_is_refused(own_entries: Path) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("catalog", "import", written(own_entries, {**ENTRY, "ollama": "qwen3:8b"}))
    assert str(refused.value) == (
        "Home-8B: ollama qwen3:8b is the tag of Qwen3-8B already: "
        "name the entry Qwen3-8B to replace that"
    )
    assert refused.value.returncode == 2


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({}, "Qwen3-8B comes with LabDash as qwen3:8b: give the entry that ollama, or another"),
        ({"ollama": "me/qwen3:8b"}, "Qwen3-8B comes with LabDash as qwen3:8b: give the entry"),
        ({"ollama": "qwen3:8b", "metadata": {}}, "give the entry a shape that can be estimated"),
        ({"ollama": "qwen3:8b", "arch": "unheard-of"}, "give the entry a shape that can be est"),
    ],
)
def test_what_pages_reckon_with_is_replaced_only_by_what_they_can_reckon_with(
    own_entries: Path, entry: dict[str, Any], told: str
) -> None:
    with pytest.raises(CommandError, match=told):
        call_command(
            "catalog", "import", written(own_entries, {**ENTRY, **entry, "name": "qwen3-8b"})
        )
    assert not find_model("qwen3:8b").model.own


def test_shape_that_labdash_cannot_reckon_with_either_may_be_replaced(own_entries: Path) -> None:
    given = find_model("moondream2").model
    row = {**ENTRY, "name": given.name, "metadata": {}}
    row |= {"ollama": given.ollama} if given.ollama else {}
    call_command("catalog", "import", written(own_entries, row))
    assert find_model("moondream2").model.own


def test_an_entry_is_taken_away_once(own_entries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "import", written(own_entries, ENTRY))
    assert run(capsys, "remove", "home-8b") == {"removed": ["home-8b"]}
    assert find("home-8b") is None
    with pytest.raises(CommandError, match="the lab has no entry home-8b of its own"):
        call_command("catalog", "remove", "home-8b")
