"""``manage.py status``."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from labdash.models import PullJob
from tests.factories import gpu, loaded, make_job, make_node, ollama, running_job, seen
from tests.labdash.management.conftest import Run
from tests.plan_rows import ON_DEMAND, in_force, make_item
from workers import wire


@pytest.mark.django_db
def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    make_node("rog")
    seen("rog")
    call_command("status", json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert [node["slug"] for node in json.loads(line)["nodes"]] == ["rog"]


@pytest.mark.django_db
def test_the_form_for_people_says_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    running_job(
        make_node("rog").instances.get(),
        model="phi4:14b",
        done_bytes=2**30,
        total_bytes=9 * 2**30,
        bytes_per_s=11.5 * 2**20,
    )
    make_node("tower", paused=True)
    seen(
        "rog",
        gpus=(
            gpu(utilization_percent=70, temperature_celsius=61, power_watts=220.4),
            gpu(1, state="lost"),
            gpu(2, state="error"),
        ),
        instances=(ollama(loaded=(loaded(size_gib=6, vram_gib=4.5),)),),
    )
    call_command("status")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "rog: live, 0 s ago",
        "  GPU 0 NVIDIA GeForce RTX 3090: 2.0 GiB of 24.0 GiB, 70%, 61 °C, 220 W",
        "  GPU 1 NVIDIA GeForce RTX 3090: lost",
        "  GPU 2 NVIDIA GeForce RTX 3090: cannot be read",
        "  ollama 0.32.15 at http://127.0.0.1:11434",
        "    qwen3:8b: 6.0 GiB on GPU and CPU",
        "tower: never reported, paused",
    ]
    assert lines[7] == "Pulls"
    assert lines[8].endswith("phi4:14b to rog/ollama: downloading 1.0 GiB of 9.0 GiB, 12 MiB/s")
    assert lines[9] == "Problems"
    assert (
        "  !! GPU 1 (NVIDIA GeForce RTX 3090) of rog is lost. Ollama may still list what it held."
        in lines
    )


@pytest.mark.django_db
def test_what_no_driver_measures_is_told_as_ollamas_word_or_as_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_node("studio")
    card = gpu(name="Apple M4 Max", memory_used_bytes=None)
    told = []
    for reading in (ollama(loaded=(loaded(),)), ollama(state="refused", loaded=None)):
        seen("studio", gpus=(card,), instances=(reading,))
        call_command("status")
        told.append(capsys.readouterr().out.splitlines()[1])
    assert told == [
        "  GPU 0 Apple M4 Max: 6.0 GiB of 24.0 GiB, as Ollama reports, not measured",
        "  GPU 0 Apple M4 Max: unknown of 24.0 GiB",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["ok", "missing"])
def test_a_node_without_a_gpu_says_so_and_what_to_do(
    capsys: pytest.CaptureFixture[str], state: Any
) -> None:
    make_node("rog")
    seen("rog", gpus=(), driver=wire.DriverReading(state=state, cards_seen=0))
    call_command("status")
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("  No GPU was found on rog, so its models run on the CPU. Small models")


@pytest.mark.django_db
def test_no_word_of_a_node_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    node = make_node("rog")
    evil = "\x1b[2J\x1b]0;x\x07\r\nall is well\x9b31m\u202e\x7f"
    make_job(node.instances.get(), model="a:1b", state="failed", reason=evil)
    PullJob.objects.update(finished_at=timezone.now())
    seen(
        "rog",
        gpus=(gpu(name=evil), gpu(1, state="lost", reason=evil)),
        instances=(
            ollama(version=evil, loaded=(loaded(evil),)),
            ollama(state="error", reason=evil),
        ),
    )
    call_command("status")
    said = capsys.readouterr().out
    assert said.count("all is well") >= 5
    assert [line for line in said.splitlines() if not line.isprintable()] == []
    assert [line for line in said.splitlines() if line.startswith("all")] == []


@pytest.mark.django_db
def test_a_pull_of_which_nothing_is_heard_tells_that_in_place_of_its_speed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    instance = make_node("rog").instances.get()
    at = timezone.now() - timedelta(seconds=30)
    running_job(instance, done_bytes=2**30, total_bytes=2**31, bytes_per_s=2e8, heartbeat_at=at)
    call_command("status")
    said = capsys.readouterr().out
    assert "1.0 GiB of 2.0 GiB, no word for 30 s" in said
    assert "MiB/s" not in said


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "shown"),
    [("queued", "cancelling"), ("downloading", "cancelling"), ("cancelled", "cancelled")],
)
def test_a_pull_that_is_being_cancelled_says_so_until_it_ended(
    capsys: pytest.CaptureFixture[str], state: str, shown: str
) -> None:
    ended_at = timezone.now() if state == "cancelled" else None
    instance = make_node("rog").instances.get()
    make_job(instance, state=state, cancel_requested=True, finished_at=ended_at)
    call_command("status")
    assert f"rog/ollama: {shown}" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_lab_in_order_has_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    make_node("rog")
    seen("rog")
    call_command("status")
    assert capsys.readouterr().out.splitlines()[-1] == "No problems."


def test_without_a_lab_one_line_says_what_to_run(manage: Run) -> None:
    done = manage("status")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "labdash: no lab here yet: run deploy/up\n",
    )


def test_without_a_demo_one_line_says_what_to_run(manage: Run) -> None:
    done = manage("status", "--demo", "--json")
    assert (done.returncode, done.stderr) == (
        2,
        "labdash: no demo here yet: run deploy/up --demo\n",
    )


def test_without_a_lab_beside_a_running_demo_the_line_says_so(manage: Run, demo_runs: None) -> None:
    done = manage("status")
    assert (done.returncode, done.stderr) == (
        2,
        "labdash: no lab here yet: run deploy/up; the demo runs: add --demo\n",
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (("--jsn",), {}, "labdash: unrecognized arguments: --jsn\n"),
        (
            (),
            {"TZ": "Mars/Olympus"},
            "labdash: TZ=Mars/Olympus: write the name of a time zone, as Europe/Berlin\n",
        ),
        (
            (),
            {"DATABASE_URL": "mysql://x/y"},
            "labdash: DATABASE_URL: write postgresql://user:password@host:port/name\n",
        ),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(
    manage: Run, arguments: tuple[str, ...], environment: dict[str, str], line: str
) -> None:
    done = manage("status", *arguments, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_database_that_does_not_answer_gets_one_line(manage: Run) -> None:
    done = manage("status", DATABASE_URL="postgresql://x:y@127.0.0.1:1/z")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("labdash: the database does not answer: ")


@pytest.mark.django_db
def test_plan_in_force_is_printed_with_what_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    instance = make_node("rog").instances.get()
    seen("rog")
    item = in_force(instance, verdict="spilled", verdict_text="Half of it is on the CPU.")
    make_item(item.plan, instance, "code", state="failed", reason="No room.")
    make_item(item.plan, instance, "draw", residency=ON_DEMAND, state="ready", verdict="not-loaded")
    make_item(item.plan, instance, "embed", residency=ON_DEMAND, state="ready")
    call_command("status")
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Plan "))
    assert lines[start : start + 5] == [
        f"Plan {item.plan_id}, in force",
        "  chat on rog/ollama: spilled to the CPU. Half of it is on the CPU.",
        "  code on rog/ollama: failed. No room.",
        "  draw on rog/ollama: loads when asked",
        "  embed on rog/ollama: loads when asked",
    ]
