"""``manage.py reset_owner``."""

import json
import re

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from labdash.domain import access
from tests.labdash.management.conftest import Run

CODE = r"([A-Z2-7]{4}-){3}[A-Z2-7]{4}"


@pytest.mark.django_db
def test_it_prints_a_code_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    User.objects.create_superuser("ann", password="forgotten")
    call_command("reset_owner", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["username"] == "ann"
    access.reset_owner(code=told["reset_code"], password="a new battery", address="::1")
    assert User.objects.get().check_password("a new battery")


@pytest.mark.django_db
def test_the_form_for_people_says_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    User.objects.create_superuser("ann", password="forgotten")
    call_command("reset_owner")
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"One-time code, good for an hour: {CODE}", first)
    assert second.endswith("a new password for ann.")


@pytest.mark.django_db
def test_of_several_accounts_it_names_the_one_that_is_reset(
    capsys: pytest.CaptureFixture[str],
) -> None:
    User.objects.create_user("guest", password="forgotten")
    User.objects.create_superuser("zoe", password="forgotten")
    User.objects.create_superuser("ann", password="forgotten")
    call_command("reset_owner", "--json")
    told = json.loads(capsys.readouterr().out)
    user = access.reset_owner(code=told["reset_code"], password="a new battery", address="::1")
    assert told["username"] == user.username == "zoe"


@pytest.mark.django_db
def test_the_demo_needs_none(settings: Settings) -> None:
    User.objects.create_superuser("demo", password="known")
    settings.DEMO = True
    with pytest.raises(CommandError, match="each start prints it"):
        call_command("reset_owner")


@pytest.mark.django_db
def test_without_an_owner_it_says_so() -> None:
    with pytest.raises(CommandError, match="this lab has no owner yet"):
        call_command("reset_owner")


def test_without_a_lab_one_line_says_what_to_run(manage: Run) -> None:
    done = manage("reset_owner")
    assert (done.returncode, done.stderr) == (2, "labdash: no lab here yet: run deploy/up\n")
