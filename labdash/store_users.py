"""The nodes' accounts in the store: each can touch the keys of its own node and nothing else."""

from collections.abc import Iterable, Mapping
from typing import Any

import redis

from labdash.live import database_number, store, store_errors

# What Celery's worker and a stream of reports need, on keys of its own node alone; no channel. To
# ask for the names of keys is to learn of others. Tried with Celery 5.7 on Valkey 9.1.
RIGHTS = (
    *("+@read", "+@write", "+@transaction", "+@connection", "+@scripting", "-@dangerous", "+time"),
    *("-scan", "-randomkey", "-dbsize", "-function", "-fcall", "-fcall_ro"),
    *("-script", "+script|load", "+script|exists"),
)


class NoControl(Exception):  # noqa: N818 - named for what is missing
    """The store does not let this hub make accounts, or lets strangers in; the text says which."""


def admit(slug: str, password_hash: str) -> None:
    """Let a node in with this password (the SHA-256 of it, in hex), and with no earlier one.

    Connections under an earlier password end. Raises ``live.StoreDown``.
    """
    with store_errors():
        pipe = store().pipeline(transaction=True)
        _queue(pipe, "ACL DELUSER", user_name(slug))
        _queue(pipe, "ACL SETUSER", *_account(slug, password_hash))
        pipe.execute()
    _write_down()


def expel(slug: str) -> None:
    """End a node's rights and its connections. Raises ``live.StoreDown``."""
    with store_errors():
        _ask("ACL DELUSER", user_name(slug))
    _write_down()


def assert_users(wanted: Mapping[str, str]) -> None:
    """Make the store's accounts those of ``wanted`` (slug: hash of the password), no more, no less.

    For a store that forgot them, or was away when one changed. Raises ``live.StoreDown``.
    """
    with store_errors():
        names = [str(name) for name in _ask("ACL USERS")]
    prefix = user_name("")
    present = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    for slug in present - wanted.keys():
        expel(slug)
    for slug, password_hash in _differing(wanted, present):
        admit(slug, password_hash)


def require_control() -> None:
    """Raise ``NoControl`` unless this hub can shut nodes in; ``live.StoreDown`` if it is away."""
    with store_errors():
        try:
            lines = [str(line) for line in _ask("ACL LIST")]
            _ask("ACL DELUSER", user_name(""))
        except redis.exceptions.NoPermissionError as error:
            raise NoControl(
                "The account of REDIS_URL may not make others (ACL SETUSER), which nodes on other"
                " machines need: give it that right."
            ) from error
    for line in lines:
        words = line.split()
        if words[:2] == ["user", "default"] and {"on", "nopass"} <= set(words):
            raise NoControl(
                "The store of REDIS_URL lets everybody in without a password, and nodes on other"
                " machines would reach it: give its default user a password, or turn it off."
            )


def _differing(wanted: Mapping[str, str], present: Iterable[str]) -> list[tuple[str, str]]:
    here = [slug for slug in wanted if slug in set(present)]
    pipe = store().pipeline(transaction=False)
    for slug in here:
        _queue(pipe, "ACL GETUSER", user_name(slug))
    with store_errors():
        answers = pipe.execute() if here else []
    same = {
        slug
        for slug, answer in zip(here, answers, strict=True)
        if answer and wanted[slug] in str(answer)
    }
    return [(slug, wanted[slug]) for slug in wanted if slug not in same]


def _account(slug: str, password_hash: str) -> tuple[str, ...]:
    keys = f"~node:{slug}:*"
    return (user_name(slug), "on", f"#{password_hash}", "resetkeys", keys, "resetchannels", *RIGHTS)


def _ask(*words: str) -> Any:
    return store().execute_command(*words)  # type: ignore[no-untyped-call]


def _queue(pipe: redis.client.Pipeline, *words: str) -> None:
    pipe.execute_command(*words)  # type: ignore[no-untyped-call]


def user_name(slug: str) -> str:
    """Name the account of a node; the database's number tells hubs of one server apart."""
    return f"labdash{database_number()}-{slug}"


def _write_down() -> None:
    """Let the accounts outlive a restart of the store, where it keeps them in a file."""
    with store_errors():
        try:
            _ask("ACL SAVE")
        except redis.ResponseError:
            return  # it has no such file, or not for us: assert_users() comes around
