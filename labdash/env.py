"""Read settings from the environment, each also from a file named by ``NAME_FILE``.

A value that cannot be used raises ``BadSetting`` with one line that says what to write instead.
"""

import hashlib
import ipaddress
import os
import re
import zoneinfo
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
# The system gives a socket's path 107 bytes; what is left over serves a name beside it.
SOCKET_PATH_BYTES = 100
MAX_PORT = 65535
SOCKET_PATH_MAX_BYTES = 107
# Roughly what Django's own check security.W009 asks for.
SECRET_KEY_MIN = 32
# The account of the hub's own processes in the store that the runner brings.
HUB_USER = "hub"
_DATABASE_URL = "DATABASE_URL: write postgresql://user:password@host:port/name"
_STORE_URL = "REDIS_URL: write redis://:password@host:6379/0 or unix:///path.sock?db=0"
# A name, or an IPv6 address with the interface that it needs where it is link-local.
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_DATABASE_NUMBER = re.compile(r"[0-9]{1,6}")
# What may follow rediss://…? Celery and redis-py both know these, and choke on others.
_TLS_WORDS = {
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_check_hostname": ("true", "false"),
}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


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
        raise BadSetting(f"{name}={shown(value)}: write yes or no")
    return words[value.lower()]


def env_port(name: str) -> int | None:
    """Return a port from the environment."""
    value = env_str(name)
    if value is not None and not (value.isdecimal() and 0 < int(value) <= MAX_PORT):
        raise BadSetting(f"{name}={shown(value)}: write a port, 1 to {MAX_PORT}")
    return int(value) if value else None


def env_list(name: str) -> list[str]:
    """Return the comma-separated values of ``name``."""
    return [part.strip() for part in (env_str(name) or "").split(",") if part.strip()]


def env_networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return the addresses and networks of ``name``, separated by commas."""
    try:
        return [ipaddress.ip_network(part) for part in env_list(name)]
    except ValueError as error:
        raise BadSetting(f"{name}: write addresses or networks, separated by commas") from error


def shown(text: str, *, within: str = "") -> str:
    """Return a value as it may be told, in one line and without a password.

    ``within`` is the whole that it was cut out of: where that holds an ``@``, any part of it may
    be one of a password.
    """
    return "…" if "@" in text + within or not text.isprintable() else text


def split_address(url: str) -> SplitResult:
    """Take an address apart; raises ``ValueError`` where its host or port can be none."""
    parts = urlsplit(url)
    # What the library of names cannot encode ends whoever asks for it with a UnicodeError.
    host = (parts.hostname or "").encode("idna").decode()
    if parts.port == 0 or (host and not _HOST.fullmatch(host)):
        raise ValueError("no such host or port")
    if parts.fragment or " " in url or not url.isprintable():
        raise ValueError("a character that an address would have to escape")
    return parts


def env_web_url(name: str) -> str | None:
    """Return an address of a web server without a path or a name to sign in with."""
    value = env_str(name)
    if value is None:
        return None
    try:
        parts = split_address(value)
    except ValueError:
        parts = urlsplit("")
    rest = (parts.path.strip("/"), parts.query, parts.username)
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(rest):
        raise BadSetting(f"{name}: write https://host or http://host:port, and nothing behind it")
    return value.rstrip("/")


def check_store_url(url: str) -> str:
    """Return an address of a store as it is, when redis-py and Celery both can use it."""
    try:
        parts = split_address(url)
    except ValueError as error:
        raise BadSetting(_STORE_URL) from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "unix":
        _check_socket(parts, options)
    elif parts.scheme in {"redis", "rediss"} and parts.hostname:
        _check_server(parts, options)
    else:
        raise BadSetting(_STORE_URL)
    return url


def _check_socket(parts: SplitResult, options: dict[str, str]) -> None:
    number = options.pop("db", "0")
    path = unquote(parts.path)
    if options or parts.hostname or path in {"", "/"} or not _DATABASE_NUMBER.fullmatch(number):
        raise BadSetting(_STORE_URL)
    if "\0" in path or len(os.fsencode(path)) > SOCKET_PATH_MAX_BYTES:
        raise BadSetting(f"REDIS_URL: a socket's path has at most {SOCKET_PATH_MAX_BYTES} bytes")


def _check_server(parts: SplitResult, options: dict[str, str]) -> None:
    known = {*_TLS_WORDS, *_TLS_FILES} if parts.scheme == "rediss" else set()
    number = parts.path.removeprefix("/") or "0"
    if not _DATABASE_NUMBER.fullmatch(number) or not set(options) <= known:
        raise BadSetting(_STORE_URL)
    for name, value in options.items():
        if name in _TLS_WORDS and value not in _TLS_WORDS[name]:
            raise BadSetting(f"REDIS_URL: {name}: write {' or '.join(_TLS_WORDS[name])}")
        if name in _TLS_FILES and not os.access(value, os.R_OK):
            raise BadSetting(f"REDIS_URL: {name} names a file that cannot be read")


def database_from_url(url: str | None, sqlite_path: Path) -> dict[str, Any]:
    """Return Django's settings for ``postgresql://user:password@host:port/name`` or for SQLite."""
    if url is None:
        return _sqlite(sqlite_path)
    try:
        parts = split_address(url)
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


def given_secret_key() -> str | None:
    """Return the key that signs sessions where the environment holds one."""
    key = env_str("LABDASH_SECRET_KEY")
    if key and len(key) < SECRET_KEY_MIN:
        raise BadSetting(f"LABDASH_SECRET_KEY: write at least {SECRET_KEY_MIN} characters")
    return key


def time_zone() -> str | None:
    """Return the name of the zone in TZ, None where that is not set.

    As for libc, a colon may come first, and a file or link of the system may be named instead.
    """
    given = env_str("TZ")
    if given is None:
        return None
    name = given.removeprefix(":")
    try:
        return zoneinfo.ZoneInfo(zone_at(name) if name.startswith("/") else name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSetting(
            f"TZ={shown(given)}: write the name of a time zone, as Europe/Berlin"
        ) from error


def zone_at(path: str) -> str:
    """Return the name of the zone that a file or link of the system holds, or nothing."""
    return str(Path(path).resolve()).partition("/zoneinfo/")[2]


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


def own_store_url(folder: Path) -> str:
    """Return the address of a data folder's own store, with the account that the runner made."""
    path = folder / "store" / "password"
    try:
        account = f"{HUB_USER}:{path.read_text().strip()}@"
    except FileNotFoundError:
        account = ""
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    return f"unix://{account}{store_socket(folder)}?db=0"


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
