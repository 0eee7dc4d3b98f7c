"""What a start makes sure of before anything else runs. Each step may be repeated."""

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import django
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import transaction

from labdash import live
from labdash.domain import nodes
from labdash.domain.addresses import check_url
from labdash.domain.errors import LabDashError
from labdash.env import env_str
from labdash.models import Node

KEY_BYTES = 48
DEMO_USER = "demo"
# 60 bits: it is typed from a terminal, and guesses are limited.
DEMO_PASSWORD_BYTES = 8


def prepare_folder() -> None:
    """Make the data folder; refuse one that belongs to the other kind of lab."""
    folder: Path = settings.DATA_DIR
    wanted = "demo" if settings.DEMO else "lab"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        kind = folder / "kind"
        if kind.is_file() and kind.read_text().strip() != wanted:
            raise LabDashError(f"{folder} holds another kind of lab: choose another folder")
        kind.write_text(f"{wanted}\n")
    except OSError as error:
        raise LabDashError(f"{folder} is not writable: {error.strerror}") from error


def prepare_secret_key() -> None:
    """Write down a secret key, once; nobody else may read it."""
    path = settings.DATA_DIR / "secret-key"
    if not env_str("LABDASH_SECRET_KEY") and not path.exists():
        write_secret(path, secrets.token_urlsafe(KEY_BYTES))


def prepare_database() -> None:
    """Bring the tables up to date."""
    call_command("migrate", interactive=False, verbosity=0)


def prepare_store() -> None:
    """Refuse to go on where a store is named that does not answer or does not let us in."""
    try:
        if env_str("REDIS_URL"):
            live.ping()
    except live.StoreDown as error:
        reason = str(error).partition("\n")[0].rstrip(".") or "no answer"
        raise LabDashError(
            f"the store that REDIS_URL names does not serve us ({reason}): start it, put its"
            " address and password right, or leave REDIS_URL out for LabDash's own store"
        ) from error


def prepare_static() -> None:
    """Collect the static files, where any of them changed."""
    stamp: Path = settings.STATIC_ROOT / ".collected"
    digest = _static_digest()
    if not stamp.is_file() or stamp.read_text() != digest:
        call_command("collectstatic", interactive=False, verbosity=0, clear=stamp.exists())
        stamp.write_text(digest)


def prepare_node(*, slug: str, kind: str, urls: Iterable[str]) -> None:
    """Make a node that is started with this hub, or give it the addresses it is started with.

    Addresses that the owner changed since stay, unless the start names others than last time.
    """
    given = [check_url(url) for url in urls]
    started_with = ",".join(given)
    with transaction.atomic():
        node = Node.objects.filter(slug=slug).first()
        if node is None:
            node = nodes.add_started_node(slug=slug, kind=kind, urls=given)
        if node.agentless:
            raise LabDashError(f"{slug} is an agentless node of this lab: name this one otherwise")
        if node.started_with != started_with:
            nodes.set_urls(node=node, urls=given)
        Node.objects.filter(pk=node.pk).update(started_with=started_with)


def prepare_demo_account() -> dict[str, str]:
    """Return the account of the demo, the same at every start."""
    path = settings.DATA_DIR / "demo-password"
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(DEMO_PASSWORD_BYTES))
    password = path.read_text().strip()
    user, _ = User.objects.get_or_create(
        username=DEMO_USER, defaults={"is_staff": True, "is_superuser": True}
    )
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])
    return {"username": DEMO_USER, "password": password}


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, complete or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
    draft.replace(path)


def _static_digest() -> str:
    """Digest what the static files are: their names, sizes and times, and who processes them."""
    digest = hashlib.sha256(f"{django.__version__} {settings.VERSION}".encode())
    for finder in finders.get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
