"""What the hub gives to a machine that joins: the worker's code, and the packages it needs."""

import gzip
import hashlib
import io
import platform
import re
import tarfile
from functools import cache
from pathlib import Path

from labdash.env import ROOT

# Filled by deploy/wheels.
WHEELS = ROOT / ".uv" / "wheels"
WHEEL_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,200}\.whl")
CODE_MODE = 0o644


@cache
def archive() -> bytes:
    """Return the worker's code and its locks as a tar.gz; the same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as files:
        for path in _code():
            entry = tarfile.TarInfo(str(path.relative_to(ROOT)))
            entry.size, entry.mode = path.stat().st_size, CODE_MODE
            with path.open("rb") as file:
                files.addfile(entry, file)
    return gzip.compress(plain.getvalue(), mtime=0)


@cache
def archive_sha256() -> str:
    """Return the SHA-256 of the archive, in hex."""
    return hashlib.sha256(archive()).hexdigest()


def _code() -> list[Path]:
    """Return what a node runs; the simulated lab stays here."""
    workers = [
        path
        for path in sorted((ROOT / "workers").rglob("*.py"))
        if "simlab" not in path.relative_to(ROOT).parts
    ]
    return [*workers, ROOT / "deploy" / "node.lock", ROOT / "deploy" / "uv.lock", ROOT / "LICENSE"]


def join_script(address: str, fingerprint: str) -> str:
    """Return the shell script that makes a machine a node of the hub at ``address``.

    ``address`` is host and port as that machine reaches them, already judged by the host guard.
    """
    folder = ROOT / "deploy" / "node"
    return (
        "#!/bin/sh\n"
        f"export LABDASH_HUB='https://{address}'\n"
        f"export LABDASH_HUB_SHA256='{fingerprint}'\n"
        f"export LABDASH_FILES_SHA256='{archive_sha256()}'\n"
        f"{(folder / 'join.sh').read_text()}"
        "exec python3 - \"$@\" <<'LABDASH_PROGRAM'\n"
        f"{(folder / 'join.py').read_text()}"
        "LABDASH_PROGRAM\n"
    )


def wheels() -> dict[str, object]:
    """Return what packages are at hand, and for which machines; none where none were kept."""
    found = sorted(WHEELS.glob("*.whl")) if WHEELS.is_dir() else []
    listed = [{"name": path.name, "sha256": _sha256(path)} for path in found]
    return {"machine": platform.machine(), "wheels": listed}


def wheel(name: str) -> Path | None:
    """Return the file of a package that is at hand."""
    path = WHEELS / name
    return path if WHEEL_NAME.fullmatch(name) and path.is_file() else None


def _sha256(path: Path) -> str:
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - a changed file is another
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
