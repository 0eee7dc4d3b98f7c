"""``manage.py plan``."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labdash.env import ROOT
from labdash.management.commands.plan import _lines, _verdict
from labdash.models import Deployment, Plan
from labdash.planner.plan import Proposal, Unproved
from tests.factories import GIB, gpu, make_node, seen
from tests.labdash.management.conftest import Run
from tests.planning.choices import plan_of
from workers import wire

LABS = ROOT / "tests" / "fixtures" / "labs"
SMALL = LABS / "05-mini-pc-no-gpu.toml"


def plan(*arguments: str) -> tuple[str, int]:
    """Run the command and return what it printed, and its exit status."""
    out = io.StringIO()
    try:
        call_command("plan", *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as ended:
        return out.getvalue(), int(ended.code or 0)
    return out.getvalue(), 0


def test_json_is_one_object_and_a_refusal_is_1() -> None:
    out, status = plan("--lab", str(SMALL), "--quick", "--json")
    written: dict[str, Any] = json.loads(out)
    assert [each["deployment"] for each in written["placements"]] == ["phi3.5:3.8b", "gemma3:4b"]
    (refusal,) = written["refusals"]
    assert (refusal["limit"], bool(refusal["nearest"]), status) == ("speed", True, 1)


def test_people_read_a_table_reasons_and_what_would_help() -> None:
    out, status = plan("--lab", str(SMALL), "--quick")
    lines = out.splitlines()
    assert lines[0].split() == [
        "deployment", "where", "variant", "context", "GPU", "RAM", "tokens/s",
    ]  # fmt: skip
    assert lines[1].startswith("phi3.5:3.8b  mini:11434 mini/cpu")
    assert any(line.startswith("phi3.5:3.8b: ") for line in lines)
    assert any(line.startswith("Refused: llama3.1:8b (speed): ") for line in lines)
    assert any(line.startswith("mini/cpu: ") for line in lines)
    assert status == 1


def test_a_plan_that_serves_all_is_0() -> None:
    assert plan("--lab", str(LABS / "01-mixed-3090-4060.toml"), "--quick")[1] == 0


def test_a_lab_is_read_from_standard_input(manage: Run) -> None:
    result = manage("plan", "--lab", "-", "--quick")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "No plan has a better value, but one may have less to move.\n"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"status": "infeasible", "gap": 0.0}, "Nothing can be placed."),
        ({"status": "optimal", "gap": 0.0}, "This is the best plan."),
        ({"status": "optimal", "gap": 0.004}, "It is at most 0.4 % from the best value."),
        (
            {"status": "feasible", "gap": 0.02, "limited_by": "time"},
            "It is at most 2.0 % from the best value. The search was ended by its time limit.",
        ),
        (
            {"status": "feasible", "gap": None},
            "A better plan may be possible; how far it is from the best is not known.",
        ),
        (
            {"gap": None, "unproved": Unproved(part="served", got=7, bound=8, priority=2)},
            "A better plan may be possible: 7 served at priority 2, perhaps 8 can be.",
        ),
    ],
)
def test_how_good_a_plan_is_contradicts_nothing(changes: dict[str, Any], verdict: str) -> None:
    assert _verdict(replace(plan_of(), **changes)) == verdict


def test_what_a_proposal_costs_is_written_beneath_what_it_brings() -> None:
    found = Proposal(
        instance="rog:11434",
        kind="environment",
        lines=("A=1",),
        gains=("big is served.",),
        losses=("small: context 4k instead of 8k.",),
        text="With A=1, also big fits and small gets less.",
    )
    assert list(_lines(replace(plan_of(), proposals=(found,))))[:4] == [
        "Proposal for rog:11434: With A=1, also big fits and small gets less.",
        "    A=1",
        "  - big is served.",
        "  but small: context 4k instead of 8k.",
    ]


def test_bad_input_is_one_line_and_2(manage: Run, tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('[[deployment]]\nmodel = "nosuch"')
    result = manage("plan", "--lab", str(path), "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "labdash: deployment 1 (nosuch): the catalog has no model nosuch\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--lab", "/nosuch"), "cannot read /nosuch: No such file or directory"),
        (("--lab", str(SMALL), "--gap", "2"), "--gap is a share, from 0 to 1"),
        (("--lab", str(SMALL), "--gap", "nan"), "--gap is a share, from 0 to 1"),
        (("--lab", str(SMALL), "--limit-s", "0"), "--limit-s is from 0 to 3600 seconds"),
        (("--lab", str(SMALL), "--apply"), "a plan of a file cannot be applied"),
    ],
)
def test_what_cannot_be_done_says_so(arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError, match=line) as caught:
        plan(*arguments)
    assert caught.value.returncode == 2


def test_without_a_lab_here_it_says_what_to_run(manage: Run) -> None:
    result = manage("plan")
    assert (result.returncode, "run deploy/up" in result.stderr) == (2, True)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="is no text in UTF-8"):
        plan("--lab", str(path))


@pytest.mark.django_db
def test_the_real_lab_is_planned_and_put_in_force() -> None:
    make_node("rog")
    host = wire.HostReading(hostname="rog", ram_total_bytes=32 * GIB, ram_used_bytes=4 * GIB)
    seen("rog", gpus=(gpu(),), host=host)
    Deployment.objects.create(name="chat", model="qwen3:8b")
    out, status = plan("--quick")
    assert ("rog/ollama rog/0" in out, status, Plan.objects.count()) == (True, 0, 0)
    plan("--quick", "--apply")
    stored = Plan.objects.get()
    assert stored.content["placements"][0]["deployment"] == "chat"
    assert [item.deployment_name for item in stored.items.filter(wish="serve")] == ["chat"]
