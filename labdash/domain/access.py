"""Who may enter: one-time codes, the owner's account, and a limit on failed attempts."""

import base64
import hashlib
import hmac
import math
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from labdash.domain.errors import LabDashError
from labdash.models import Attempt, CodePurpose, OneTimeCode

# 80 bits: nobody guesses one, so a fast hash is enough and no code needs to expire for that.
CODE_BYTES = 10
GROUP = 4
RESET_FOR = timedelta(hours=1)

# An owner who mistypes needs a handful; 10 leaves room and keeps guessing at 40 an hour.
ATTEMPTS_PER_ADDRESS = 10
# Five housemates at once; a device that takes many addresses gets no more than 200 an hour.
ATTEMPTS_IN_ALL = 50
ATTEMPTS_WINDOW = timedelta(minutes=15)
# What ages out of the window is of no use.
ATTEMPTS_KEPT_FOR = timedelta(days=1)


def new_code(*, purpose: CodePurpose = CodePurpose.SETUP) -> str:
    """Return a fresh code in groups of four; earlier ones for the same purpose are dead.

    Only its hash is stored, so this is the one time that it can be shown. A code for setting up
    lives until there is an owner; one for a forgotten password lives ``RESET_FOR``.
    """
    text = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode()
    expires_at = timezone.now() + RESET_FOR if purpose == CodePurpose.RESET else None
    with transaction.atomic():
        OneTimeCode.objects.filter(purpose=purpose).delete()
        OneTimeCode.objects.create(purpose=purpose, code_hash=_hash(text), expires_at=expires_at)
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def has_owner() -> bool:
    """Tell whether somebody owns this lab."""
    return find_owner() is not None


def find_owner() -> User | None:
    """Return whose password a reset sets: of several superusers, the first."""
    return User.objects.filter(is_superuser=True).order_by("pk").first()


def make_owner(*, code: str, username: str, password: str, address: str) -> User:
    """Make the first account, which may do everything. The code is dead afterwards."""
    require_attempt(address)
    _match(code, CodePurpose.SETUP, address)
    if has_owner():
        raise LabDashError("This lab has an owner already. Sign in, or reset the password.")
    user = User(username=username.strip(), is_staff=True, is_superuser=True)
    _set_password(user, password)
    _check_username(user)
    try:
        with transaction.atomic():
            _use_up(code, CodePurpose.SETUP)
            user.save()
    except IntegrityError as error:
        raise LabDashError(f"There is already an account named {user.username}.") from error
    return user


def reset_owner(*, code: str, password: str, address: str) -> User:
    """Give the owner a new password, which ends all of the owner's sessions."""
    require_attempt(address)
    _match(code, CodePurpose.RESET, address)
    user = find_owner()
    if user is None:
        raise LabDashError("This lab has no owner yet: set it up first.")
    _set_password(user, password)
    user.is_active = True
    with transaction.atomic():
        _use_up(code, CodePurpose.RESET)
        user.save(update_fields=["password", "is_active"])
    return user


def require_attempt(address: str) -> None:
    """Raise ``LabDashError`` while too many attempts failed, from ``address`` or in all.

    Counted in the database, so that it holds when the store is down.
    """
    since = timezone.now() - ATTEMPTS_WINDOW
    recent = Attempt.objects.filter(at__gt=since).order_by("at")
    _require_fewer(list(recent.filter(address=address)), ATTEMPTS_PER_ADDRESS, "from this address")
    _require_fewer(list(recent), ATTEMPTS_IN_ALL, "in all")


def count_failure(address: str) -> None:
    """Count one failed sign-in, set-up or reset from ``address`` (an IP address)."""
    Attempt.objects.create(address=address)


def forget_attempts() -> int:
    """Delete what no longer counts, and codes that expired; return how many rows."""
    now = timezone.now()
    attempts, _ = Attempt.objects.filter(at__lt=now - ATTEMPTS_KEPT_FOR).delete()
    codes, _ = OneTimeCode.objects.filter(expires_at__lt=now).delete()
    return attempts + codes


def _require_fewer(attempts: list[Attempt], limit: int, where: str) -> None:
    if len(attempts) < limit:
        return
    frees_at = attempts[-limit].at + ATTEMPTS_WINDOW
    minutes = max(1, math.ceil((frees_at - timezone.now()).total_seconds() / 60))
    raise LabDashError(f"Too many failed attempts {where}. Try again in {minutes} min.")


def _match(code: str, purpose: CodePurpose, address: str) -> None:
    """Raise ``LabDashError``, and count it, unless the code is one of the living."""
    wanted = _hash(code)
    found = [hmac.compare_digest(wanted, row.code_hash) for row in _living(purpose)]
    if not any(found):
        count_failure(address)
        raise LabDashError("This code is not right, was used, or has expired.")


def _use_up(code: str, purpose: CodePurpose) -> None:
    deleted, _ = _living(purpose).filter(code_hash=_hash(code)).delete()
    if not deleted:
        raise LabDashError("This code was used a moment ago.")


def _living(purpose: CodePurpose) -> QuerySet[OneTimeCode]:
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return OneTimeCode.objects.filter(unexpired, purpose=purpose)


def _hash(code: str) -> str:
    """Hash a code as it was meant: base32 has no 0, 1 or 8, which people read into O, I and B."""
    text = "".join(code.upper().split()).replace("-", "")
    return hashlib.sha256(text.translate(str.maketrans("018", "OIB")).encode()).hexdigest()


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise LabDashError(" ".join(error.messages)) from error
    user.set_password(password)


def _check_username(user: User) -> None:
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        lines = error.message_dict.get("username", error.messages)
        raise LabDashError(f"User name: {' '.join(lines)}") from error
