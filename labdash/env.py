"""Read settings from the environment, each also from a file named by ``NAME_FILE``.

A value that cannot be used raises ``BadSetting`` with one line that says what to write instead.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
# The system gives a socket's path 107 bytes; what is left over serves a name beside it.
SOCKET_PATH_BYTES = 100
_DATABASE_URL = "DATABASE_URL: write postgresql://user:password@host:port/name"


class BadSetting(Exception):  # noqa: N818 - it is said to the user under this name
    """A setting that cannot be used."""


def env_str(name: str, default: str | None = None) -> str | None:
    """Return the value of ``name``, or the content of the file that ``name_FILE`` names."""
    if value := os.environ.get(name):
        return value
    if path := os.environ.get(f"{name}_FILE"):
        return _read(name, Path(path))
    return default


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadSetting(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSetting(f"{name}_FILE: {path} holds no text") from error


def env_bool(name: str, *, default: bool) -> bool:
    """Return a truth value; anything but yes/no words is refused."""
    value = env_str(name)
    if value is None:
        return default
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in words:
        raise BadSetting(f"{name}={value}: write yes or no")
    return words[value.lower()]


def env_list(name: str) -> list[str]:
    """Return the comma-separated values of ``name``."""
    return [part.strip() for part in (env_str(name) or "").split(",") if part.strip()]


def database_from_url(url: str | None, sqlite_path: Path) -> dict[str, Any]:
    """Return Django's settings for ``postgresql://user:password@host:port/name`` or for SQLite."""
    if url is None:
        return _sqlite(sqlite_path)
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
    except ValueError as error:
        raise BadSetting(_DATABASE_URL) from error
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise BadSetting(_DATABASE_URL)
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", None) or parts.hostname or "",
        "PORT": port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **query},
    }


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Readers never wait for the writer; a writer waits for another before it fails.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 15,
        },
    }


def data_dir(*, demo: bool) -> Path:
    """Return the folder of a hub's state, absolute; the demo's lies inside the other one."""
    folder = Path(env_str("LABDASH_DATA_DIR") or ROOT / "var").resolve()
    return folder if not demo or folder.name == "demo" else folder / "demo"


def store_socket(folder: Path) -> Path:
    """Return where the store of a data folder listens.

    That is inside the folder, unless its path is too long for a socket or holds a character that
    an address would have to escape: then a folder under /tmp that belongs to this user.
    """
    path = folder / "run" / "store.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES and re.fullmatch(r"[A-Za-z0-9_./-]+", str(path)):
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    # Not the folder that TMPDIR names: all of a hub's processes must find the same one.
    short = Path("/tmp") / f"labdash-{os.getuid()}-{digest}"  # noqa: S108 - the runner checks its owner
    return short / "store.sock"


def choose_data_dir(argv: list[str]) -> list[str]:
    """Take ``--demo`` out of a command line and point the settings at the demo's folder.

    The demo has a database and a store of its own, whatever the environment says of the real ones.
    """
    if "--demo" not in argv:
        return argv
    os.environ["LABDASH_DATA_DIR"] = str(data_dir(demo=True))
    os.environ["LABDASH_DEMO"] = "yes"
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    return [argument for argument in argv if argument != "--demo"]
