"""The nodes' accounts in the store: each can touch the keys of its own node and nothing else."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import redis

from labdash.live import database_number, store, store_errors

# What Celery's worker and a stream of reports need, on keys of its own node alone; no channel. To
# ask for the names of keys is to learn of others; PFMERGE with a single key may make any, in Valkey
# 9.1. Tried with Celery 5.7 on that.
RIGHTS = (
    *("+@read", "+@write", "+@transaction", "+@connection", "+@scripting", "-@dangerous", "+time"),
    *("-@hyperloglog", "-scan", "-randomkey", "-dbsize", "-function", "-fcall", "-fcall_ro"),
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
    # Where we may not manage accounts, none was ever made.
    with store_errors(), suppress(redis.exceptions.NoPermissionError):
        _ask("ACL DELUSER", user_name(slug))
    _write_down()


def assert_users(wanted: Mapping[str, str]) -> None:
    """Make the store's accounts those of ``wanted`` (slug: hash of the password), no more, no less.

    For a store that forgot them or was away when one changed, and for rights that an upgrade
    brought. Connections under a right account go on. Raises ``live.StoreDown``.
    """
    present = _present()
    for slug in present - wanted.keys():
        expel(slug)
    if not wanted:
        return
    with store_errors():
        pipe = store().pipeline(transaction=False)
        for slug, password_hash in wanted.items():
            _queue(pipe, "ACL SETUSER", *_account(slug, password_hash))
        pipe.execute()
    if wanted.keys() - present:
        _write_down()


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


def _present() -> set[str]:
    """Return the nodes that have an account; none where we may not ask: then none was made."""
    names: list[Any] = []
    with store_errors(), suppress(redis.exceptions.NoPermissionError):
        names = _ask("ACL USERS")
    prefix = user_name("")
    return {str(name).removeprefix(prefix) for name in names if str(name).startswith(prefix)}


def _account(slug: str, password_hash: str) -> tuple[str, ...]:
    """Write an account anew, whatever it was before."""
    place = ("resetkeys", f"~node:{slug}:*", "resetchannels", "-@all")
    return (user_name(slug), "on", "resetpass", f"#{password_hash}", *place, *RIGHTS)


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
