"""How a machine on the network becomes a node, and how it stops being one."""

import hashlib
import logging
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from labdash import door, store_users
from labdash.domain import access, nodes
from labdash.domain.addresses import check_url
from labdash.domain.errors import LabDashError
from labdash.domain.readiness import STORE_AWAY
from labdash.live import StoreDown
from labdash.models import Invitation, Membership, Node

log = logging.getLogger(__name__)

TOKEN_BYTES = 20
PASSWORD_BYTES = 32
VALID_FOR = timedelta(hours=1)
HOSTNAME_MAX = 100
# Where a token waits in a session, until the page that shows it once has been loaded.
_TOKEN = "join_token"  # noqa: S105 - the name of a place


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What a machine gets for its token. The password is told this once."""

    slug: str
    password: str


def invite(*, node: Node) -> str:
    """Return the token with which a machine becomes this node within ``VALID_FOR``, once.

    Earlier tokens of the node are dead. It asks the runner to open the door. Raises
    ``LabDashError``.
    """
    if node.agentless:
        raise LabDashError(f"{node.slug} is an agentless node: the hub serves it, nothing joins.")
    if node.started_with:
        raise LabDashError(f"The worker of {node.slug} starts with this hub: nothing joins as it.")
    if settings.LABDASH_TLS_PORT is None:
        raise LabDashError(
            "This hub was not started by deploy/up, which opens the ports that nodes join by."
        )
    _require_control()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    Invitation.objects.update_or_create(
        node=node,
        defaults={"token_hash": _hash(token), "expires_at": timezone.now() + VALID_FOR},
    )
    tend_door()
    return token


def leave_token(session: MutableMapping[str, Any], *, node: Node) -> None:
    """Invite, and let the token wait for the page that shows it. Raises ``LabDashError``."""
    session[_TOKEN] = [node.slug, invite(node=node)]


def take_token(session: MutableMapping[str, Any], *, slug: str) -> str | None:
    """Return the token that waits for a node's page, once."""
    waiting, token = session.get(_TOKEN, ("", ""))
    if waiting != slug:
        return None
    del session[_TOKEN]
    return str(token)


def redeem(*, token: str, address: str, hostname: str = "", ollama_urls: str = "") -> Joined:
    """Make the machine at ``address`` a node: give it an account of its own in the store.

    A machine that had joined as this node before is shut out. ``ollama_urls`` says where its
    Ollama servers listen, separated by commas, if that is said there. Raises ``LabDashError``.
    """
    access.require_attempt(address)
    urls = [check_url(url) for url in ollama_urls.split(",") if url.strip()]
    invitation = (
        Invitation.objects.select_related("node")
        .filter(token_hash=_hash(token), expires_at__gt=timezone.now())
        .first()
    )
    if invitation is None:
        access.count_failure(address)
        raise LabDashError(
            "This line was used before, is older than an hour, or a newer one was made. Make a"
            " new one on the node's page."
        )
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    try:
        with transaction.atomic():
            if urls:
                nodes.set_urls(node=invitation.node, urls=urls)
            _admit(invitation, _hash(password), address=address, hostname=hostname[:HOSTNAME_MAX])
    except StoreDown as error:
        raise LabDashError(STORE_AWAY) from error
    log.info("joined node=%s address=%s", invitation.node.slug, address)
    return Joined(slug=invitation.node.slug, password=password)


def _admit(invitation: Invitation, password_hash: str, *, address: str, hostname: str) -> None:
    """Use the line up; what fails here, in a transaction, leaves it good for another try."""
    line = Invitation.objects.filter(pk=invitation.pk, token_hash=invitation.token_hash)
    used, _ = line.delete()
    if not used:
        raise LabDashError("This line was used a moment ago.")
    Membership.objects.update_or_create(
        node=invitation.node,
        defaults={"password_hash": password_hash, "address": address, "hostname": hostname},
    )
    # Last, for it cannot be taken back.
    store_users.admit(invitation.node.slug, password_hash)


def assert_accounts() -> None:
    """Make the store's accounts those of the nodes that joined. Raises ``StoreDown``."""
    rows = Membership.objects.values_list("node__slug", "password_hash")
    store_users.assert_users(dict(rows))


def tend_door() -> None:
    """Have the door open while a node joined or may join, and closed otherwise."""
    if settings.LABDASH_TLS_PORT is None:
        return
    now = timezone.now()
    is_wanted = (
        Membership.objects.exists() or Invitation.objects.filter(expires_at__gt=now).exists()
    )
    try:
        door.want(is_wanted=is_wanted)
    except OSError as error:
        raise LabDashError(f"{door.wanted_file()}: {error.strerror}") from error


def _require_control() -> None:
    try:
        store_users.require_control()
    except store_users.NoControl as error:
        raise LabDashError(str(error)) from error
    except StoreDown as error:
        raise LabDashError(STORE_AWAY) from error


def _hash(secret: str) -> str:
    """Hash what has 160 bits and more: no slow hash is needed. Valkey hashes passwords so too."""
    return hashlib.sha256(secret.encode()).hexdigest()
