"""Read settings from the environment, each also from a file named by ``NAME_FILE``.

A value that cannot be used raises ``BadSetting`` with one line that says what to write instead.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


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
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise BadSetting("DATABASE_URL: write postgresql://user:password@host:port/name")
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
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


def choose_data_dir(argv: list[str]) -> list[str]:
    """Take ``--demo`` out of a command line and point the settings at the demo's folder."""
    if "--demo" not in argv:
        return argv
    root = Path(
        os.environ.get("LABDASH_DATA_DIR") or Path(__file__).resolve().parent.parent / "var"
    )
    os.environ["LABDASH_DATA_DIR"] = str(root if root.name == "demo" else root / "demo")
    os.environ["LABDASH_DEMO"] = "yes"
    return [argument for argument in argv if argument != "--demo"]
