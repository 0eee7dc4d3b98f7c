"""Who may enter."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labdash.domain import access
from labdash.domain.errors import LabDashError
from labdash.models import Attempt, CodePurpose, OneTimeCode

pytestmark = pytest.mark.django_db

HERE, THERE = "192.168.1.5", "192.168.1.6"
PASSWORD = "a horse with a battery"


def make_owner(code: str, **fields: str) -> User:
    """Make an owner with what a form would send."""
    values = {"username": "ann", "password": PASSWORD, "address": HERE, **fields}
    return access.make_owner(code=code, **values)


def fail(count: int, address: str, *, ago: timedelta = timedelta()) -> None:
    """Let attempts have failed."""
    for _ in range(count):
        access.count_failure(address)
    Attempt.objects.filter(address=address).update(at=timezone.now() - ago)


def test_a_code_has_80_bits_in_groups_and_is_stored_hashed() -> None:
    code = access.new_code()
    assert re.fullmatch(r"[A-Z2-7]{4}(-[A-Z2-7]{4}){3}", code)
    assert code.replace("-", "") not in str(OneTimeCode.objects.values().get())


def test_codes_differ() -> None:
    assert len({access.new_code() for _ in range(20)}) == 20


def test_a_code_makes_the_owner_who_may_do_everything() -> None:
    user = make_owner(access.new_code())
    assert (user.is_superuser, user.is_staff, user.check_password(PASSWORD)) == (True, True, True)
    assert access.has_owner()
    assert not OneTimeCode.objects.exists()


def test_a_code_may_be_typed_as_it_is_read() -> None:
    code = access.new_code()
    typed = f" {code.lower().replace('-', ' ')} ".replace("o", "0").replace("i", "1")
    assert make_owner(typed).username == "ann"


@pytest.mark.parametrize("typed", ["", "AAAA-AAAA-AAAA-AAAA", "x" * 1000, "ключ"])
def test_a_wrong_code_is_refused_and_counted(typed: str) -> None:
    access.new_code()
    with pytest.raises(LabDashError, match="This code is not right"):
        make_owner(typed)
    assert (User.objects.count(), Attempt.objects.count()) == (0, 1)


def test_a_newer_code_kills_the_one_before_it() -> None:
    old, _ = access.new_code(), access.new_code()
    with pytest.raises(LabDashError, match="This code is not right"):
        make_owner(old)


def test_a_code_is_dead_once_there_is_an_owner() -> None:
    make_owner(access.new_code())
    with pytest.raises(LabDashError, match="has an owner already"):
        make_owner(access.new_code(), username="bob")
    assert User.objects.count() == 1


def test_a_code_works_once() -> None:
    code = access.new_code()
    make_owner(code)
    User.objects.all().delete()
    with pytest.raises(LabDashError, match="This code is not right"):
        make_owner(code)


@pytest.mark.parametrize("password", ["short", "password123"])
def test_a_poor_password_is_refused_and_the_code_lives(password: str) -> None:
    code = access.new_code()
    with pytest.raises(LabDashError, match="This password"):
        make_owner(code, password=password)
    assert make_owner(code).username == "ann"


def test_a_name_that_is_none_is_refused_and_the_code_lives() -> None:
    code = access.new_code()
    with pytest.raises(LabDashError, match="User name: "):
        make_owner(code, username="an n")
    with pytest.raises(LabDashError, match="User name: "):
        make_owner(code, username=" ")
    assert make_owner(code).username == "ann"


def test_a_reset_code_gives_the_owner_a_new_password() -> None:
    user = make_owner(access.new_code())
    User.objects.update(is_active=False)
    before = user.get_session_auth_hash()
    code = access.new_code(purpose=CodePurpose.RESET)
    changed = access.reset_owner(code=code, password="another horse", address=HERE)
    changed.refresh_from_db()
    assert (changed.pk, changed.check_password("another horse")) == (user.pk, True)
    assert (changed.is_active, changed.get_session_auth_hash() != before) == (True, True)
    assert not OneTimeCode.objects.exists()


def test_a_reset_code_is_dead_after_an_hour() -> None:
    make_owner(access.new_code())
    code = access.new_code(purpose=CodePurpose.RESET)
    OneTimeCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LabDashError, match="has expired"):
        access.reset_owner(code=code, password=PASSWORD, address=HERE)


def test_a_code_for_one_purpose_is_none_for_the_other() -> None:
    reset = access.new_code(purpose=CodePurpose.RESET)
    with pytest.raises(LabDashError, match="This code is not right"):
        make_owner(reset)
    setup = access.new_code()
    with pytest.raises(LabDashError, match="This code is not right"):
        access.reset_owner(code=setup, password=PASSWORD, address=HERE)


def test_an_address_is_stopped_after_ten_failures_and_others_are_not() -> None:
    fail(9, HERE)
    access.require_attempt(HERE)
    fail(1, HERE)
    with pytest.raises(LabDashError, match=r"from this address. Try again in 15 min\."):
        access.require_attempt(HERE)
    access.require_attempt(THERE)


def test_all_addresses_are_stopped_after_fifty_failures() -> None:
    for number in range(49):
        access.count_failure(f"192.168.2.{number}")
    access.require_attempt(HERE)
    access.count_failure("192.168.2.200")
    with pytest.raises(LabDashError, match="Too many failed attempts in all"):
        access.require_attempt(HERE)


def test_failures_count_for_a_quarter_of_an_hour() -> None:
    fail(10, HERE, ago=timedelta(minutes=14))
    with pytest.raises(LabDashError, match="Try again in 1 min"):
        access.require_attempt(HERE)
    Attempt.objects.update(at=timezone.now() - timedelta(minutes=15, seconds=1))
    access.require_attempt(HERE)


def test_the_right_code_is_refused_while_an_address_is_stopped() -> None:
    code = access.new_code()
    fail(10, HERE)
    with pytest.raises(LabDashError, match="Too many failed attempts"):
        make_owner(code)
    assert not access.has_owner()


def test_attempts_are_limited_while_the_store_is_down(dead_store: None) -> None:
    fail(10, HERE)
    with pytest.raises(LabDashError, match="Too many failed attempts"):
        access.require_attempt(HERE)


def test_what_no_longer_counts_is_forgotten() -> None:
    fail(3, HERE, ago=timedelta(days=2))
    fail(1, THERE)
    access.new_code(purpose=CodePurpose.RESET)
    OneTimeCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    access.new_code()
    assert access.forget_attempts() == 4
    assert (Attempt.objects.count(), OneTimeCode.objects.count()) == (1, 1)
