"""System checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django.fixtures import Settings

from labdash.env import ROOT
from tests.processes import PATIENCE_S

pytestmark = pytest.mark.django_db


def ids(messages: list[CheckMessage]) -> list[str | None]:
    """Return the ids of our own messages."""
    return [each.id for each in messages if (each.id or "").startswith("labdash.")]


def test_a_prepared_hub_has_nothing_to_say() -> None:
    assert ids(run_checks()) == []


def test_a_key_that_stands_in_the_code_is_told(settings: Settings) -> None:
    settings.SECRET_KEY = "not-yet-prepared-" + "x" * 32
    assert ids(run_checks()) == ["labdash.W001"]


def test_a_command_starts_without_the_admin_and_the_check_finds_its_mistakes() -> None:
    program = """
import django, sys
django.setup()
assert "labdash.admin" not in sys.modules
from django.core.checks import run_checks
run_checks()
from django.contrib import admin
from labdash.models import Node
admin.site._registry[Node].list_display = ("nothing",)
print({each.id for each in run_checks()})
"""
    told = subprocess.check_output(  # noqa: S603 - the program above
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "labdash.settings"},
        text=True,
        timeout=PATIENCE_S,
    )
    assert "admin.E108" in told


@pytest.mark.parametrize(
    "argv",
    [
        ("labdash.serve",),
        ("celery", "--quiet", "-A", "labdash.celery", "worker", "-Q", "hub", "--pool=threads"),
    ],
)
def test_nothing_serves_with_a_key_that_stands_in_the_code(
    argv: tuple[str, ...], tmp_path: Path
) -> None:
    given = {name: os.environ[name] for name in os.environ if name != "LABDASH_SECRET_KEY"}
    ended = subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        env=given | {"LABDASH_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("labdash: there is no secret key yet: ")
    assert ended.stderr.count("\n") == 1


def test_a_folder_that_is_a_file_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.DATA_DIR = tmp_path / "file" / "var"
    assert ids(run_checks()) == ["labdash.E001"]


def test_a_folder_that_is_not_there_yet_is_no_mistake(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "a" / "b"
    assert ids(run_checks()) == []


@pytest.mark.parametrize(
    ("kind", "demo", "found"),
    [
        ("demo", False, ["labdash.E002"]),
        ("lab", True, ["labdash.E002"]),
        ("lab", False, []),
        ("demo", True, []),
    ],
)
def test_a_folder_of_the_other_kind_is_told(
    settings: Settings, tmp_path: Path, kind: str, demo: bool, found: list[str]
) -> None:
    (tmp_path / "kind").write_text(f"{kind}\n")
    settings.DATA_DIR, settings.DEMO = tmp_path, demo
    assert ids(run_checks()) == found


@pytest.mark.parametrize("policy", [{}, {"script-src": ["'self'", "'unsafe-inline'"]}])
def test_a_lax_policy_is_told(settings: Settings, policy: dict[str, list[str]]) -> None:
    settings.SECURE_CSP = policy
    assert "labdash.E003" in ids(run_checks())
