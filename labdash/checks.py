"""Mistakes of a deployment that a running hub would only show as odd behaviour."""

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Advice

from labdash.env import BadSetting

NOT_PREPARED = "not-yet-prepared-"


def refuse_unprepared() -> None:
    """Raise ``BadSetting`` where what signs sessions and codes is a key that all can read."""
    if settings.SECRET_KEY.startswith(NOT_PREPARED):
        raise BadSetting(
            "there is no secret key yet: run deploy/up, or manage.py prepare; "
            "or set LABDASH_SECRET_KEY"
        )


@register
def secret_key(**_: Any) -> list[CheckMessage]:
    """A key that everybody can read in the code signs nothing."""
    if not settings.SECRET_KEY.startswith(NOT_PREPARED):
        return []
    return [
        Advice(
            "There is no secret key yet.",
            hint="Run deploy/up, or manage.py prepare; or set LABDASH_SECRET_KEY.",
            id="labdash.W001",
        )
    ]


@register
def admin_pages(**_: Any) -> list[CheckMessage]:
    """Django's own check of the admin sees only pages that somebody has found by then."""
    from django.contrib.admin import autodiscover  # noqa: PLC0415 - it needs the apps
    from django.contrib.admin.checks import check_admin_app  # noqa: PLC0415 - as above

    autodiscover()
    return check_admin_app(None)


@register
def data_folder(**_: Any) -> list[CheckMessage]:
    """Whatever exists of the data folder must be writable to this user."""
    folder = settings.DATA_DIR
    while not folder.exists():
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"{folder} is not writable.",
            hint="Choose another folder with LABDASH_DATA_DIR, or run as the user whose it is.",
            id="labdash.E001",
        )
    ]


@register
def kind_of_lab(**_: Any) -> list[CheckMessage]:
    """A demo must never touch a real lab's data, nor the other way round."""
    path = settings.DATA_DIR / "kind"
    wanted = "demo" if settings.DEMO else "lab"
    if not path.is_file() or path.read_text().strip() == wanted:
        return []
    return [
        Error(
            f"{settings.DATA_DIR} holds {'a real lab' if settings.DEMO else 'the demo'}.",
            hint="Choose another folder with LABDASH_DATA_DIR, or add --demo for the demo.",
            id="labdash.E002",
        )
    ]


@register
def content_policy(**_: Any) -> list[CheckMessage]:
    """The pages are written for a strict policy; a laxer one would hide an injection."""
    policy = dict[str, Any](settings.SECURE_CSP or {})
    lax = [name for name, sources in policy.items() if "unsafe" in str(sources)]
    if policy and not lax:
        return []
    return [
        Error(
            "The content security policy is absent or lax.",
            hint=f"Take the unsafe sources out of {', '.join(lax) or 'SECURE_CSP'}.",
            id="labdash.E003",
        )
    ]
