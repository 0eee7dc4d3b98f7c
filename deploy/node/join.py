"""Make this machine a node of a LabDash hub: what the line on the node's page runs.

It uses the standard library of Python 3.8 alone. Everything that it fetches from the hub comes
through a connection to the certificate that the line names, and what it installs is checked
against hashes that came that way.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import platform
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

TIMEOUT_S = 30
INSTALL_TIMEOUT_S = 900
MAX_BYTES = 200 * 2**20
OLDEST = (3, 8)
# What the worker needs of a Python: its version, and what some are built without.
PROBE = "import sys, ctypes, ssl, zlib; sys.exit(sys.version_info < (3, 12))"


class GiveUp(Exception):  # noqa: N818 - it is said to the user, not caught by kind
    """It cannot go on; the text is one line that says why and what to do."""


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - this is a terminal program


class Hub:
    """The hub, known by the SHA-256 of its certificate and by nothing else."""

    def __init__(self, url: str, fingerprint: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port
        self.fingerprint = fingerprint

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and answer, read to its end; raises ``GiveUp`` when that cannot be."""
        connection = self._connect()
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            told = answer.read(MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise GiveUp(f"the hub stopped answering: {error}") from error
        finally:
            connection.close()
        if len(told) > MAX_BYTES:
            raise GiveUp("the hub sends more than it should: " + path)
        return answer.status, told

    def fetch(self, path: str) -> bytes:
        """Return a file of the hub."""
        status, told = self.ask("GET", path)
        if status != http.client.OK:
            raise GiveUp(f"the hub answers {status} to {path}: {_line(told)}")
        return told

    def _connect(self) -> http.client.HTTPSConnection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The name in the certificate says nothing: the certificate itself is compared, below.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=TIMEOUT_S, context=context
        )
        try:
            connection.connect()
        except OSError as error:
            place = f"{self.host}:{self.port}"
            raise GiveUp(f"no hub answers at {place}: {error}") from error
        shown = connection.sock.getpeercert(binary_form=True)
        if hashlib.sha256(shown or b"").hexdigest() != self.fingerprint:
            connection.close()
            raise GiveUp("another machine answers in the hub's place: nothing was sent to it")
        return connection


def main(argv: list[str]) -> int:
    """Join; return the exit code when that cannot be. ``argv`` is for ``workers.service``."""
    try:
        join(argv)
    except GiveUp as error:
        sys.stderr.write(f"labdash: {error}\n")
        return 2
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"labdash: {place}{error.strerror or error}\n")
        return 2


def join(options: list[str]) -> NoReturn:
    """Install the worker, get its account, and start it."""
    token = os.environ.pop("LABDASH_JOIN", "")
    if sys.version_info < OLDEST or sys.platform != "linux":
        raise GiveUp("this needs Linux and a python3 of version 3.8 or newer")
    if not token:
        raise GiveUp("LABDASH_JOIN is not set: copy the whole line from the node's page")
    hub = Hub(_given("LABDASH_HUB"), _given("LABDASH_HUB_SHA256"))
    folder = _folder()
    say(f"LabDash comes to {folder}")
    fetch_program(hub, folder, _given("LABDASH_FILES_SHA256"))
    install(hub, folder)
    slug = redeem(hub, folder, token)
    say(f"This machine is now the node {slug}.")
    start(folder, options)


def _given(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise GiveUp(f"{name} is not set: copy the whole line from the node's page")
    return value


def _folder() -> Path:
    """Return where the node lives: its own folder, for this user alone."""
    home = Path("/opt") if os.getuid() == 0 else Path.home() / ".local" / "share"
    folder = Path(os.environ.get("LABDASH_NODE_DIR") or home / "labdash-node").absolute()
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise GiveUp(f"{folder} belongs to another user: set LABDASH_NODE_DIR")
    return folder


def _line(told: bytes) -> str:
    lines = told.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:200] if lines else "nothing"


# --- what runs --------------------------------------------------------------------------------


def fetch_program(hub: Hub, folder: Path, sha256: str) -> None:
    """Fetch the worker's code and put it in the place of an earlier one."""
    archive = folder / "node.tar.gz"
    _keep(archive, hub.fetch("/join/files/node.tar.gz"), sha256)
    draft = folder / "app.new"
    shutil.rmtree(str(draft), ignore_errors=True)
    with tarfile.open(str(archive)) as files:
        for member in files.getmembers():
            path = Path(member.name)
            if not member.isreg() or path.is_absolute() or ".." in path.parts:
                raise GiveUp("the hub's archive holds more than files: " + member.name)
        files.extractall(str(draft), **_safely())  # noqa: S202 - judged above
    shutil.rmtree(str(folder / "app"), ignore_errors=True)
    draft.rename(folder / "app")
    archive.unlink()


def _safely() -> dict[str, Any]:
    # Since Python 3.12 tarfile wants to be told; before, the members were judged above.
    return {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def _keep(path: Path, told: bytes, sha256: str) -> None:
    if hashlib.sha256(told).hexdigest() != sha256:
        raise GiveUp(f"{path.name} is not what the hub announced: run the line again")
    path.write_bytes(told)


# --- packages ---------------------------------------------------------------------------------


def install(hub: Hub, folder: Path) -> None:
    """Make the node's own environment from the locked packages."""
    wheels = folder / "wheels"
    fetch_wheels(hub, wheels)
    uv = find_uv(folder, wheels)
    environment = _environment(folder)
    log = folder / "join.log"
    python = make_venv(uv, folder, environment, log)
    lock = str(folder / "app" / "deploy" / "node.lock")
    sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--no-build", "--python", python]
    say("Installing its packages …")
    own = ["--offline", "--no-index", "--find-links", str(wheels)]
    if not (_runs([*sync, *own, lock], environment, log) or _runs([*sync, lock], environment, log)):
        raise GiveUp(f"the packages could not be installed: {_last_line(log)}")
    shutil.rmtree(str(wheels), ignore_errors=True)


def fetch_wheels(hub: Hub, wheels: Path) -> None:
    """Fetch what the hub keeps for machines of its own kind, where this is one."""
    shutil.rmtree(str(wheels), ignore_errors=True)
    wheels.mkdir()
    offer = json.loads(hub.fetch("/join/files/wheels.json").decode())
    if offer["machine"] != platform.machine() or platform.libc_ver()[0] != "glibc":
        return
    say(f"Fetching {len(offer['wheels'])} packages from the hub …")
    for each in offer["wheels"]:
        name = Path(each["name"]).name
        _keep(wheels / name, hub.fetch("/join/files/" + name), each["sha256"])


def find_uv(folder: Path, wheels: Path) -> str:
    """Return uv: the hub's, this machine's, or one that is fetched."""
    for wheel in sorted(wheels.glob("uv-*.whl")):
        with zipfile.ZipFile(str(wheel)) as files:
            name = next(n for n in files.namelist() if n.endswith(".data/scripts/uv"))
            target = folder / "uv"
            target.write_bytes(files.read(name))
            target.chmod(0o700)
            return str(target)
    found = shutil.which("uv")
    if found:
        return found
    say("Fetching uv, which installs the packages …")
    venv, log = folder / "uv-venv", folder / "join.log"
    lock = str(folder / "app" / "deploy" / "uv.lock")
    made = _runs([sys.executable, "-m", "venv", "--clear", str(venv)], None, log)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
    if not made or not _runs([*pip, "-r", lock], None, log):
        raise GiveUp(
            f"uv could not be fetched: {_last_line(log)}; install uv, or python3-venv, or give"
            " this machine a way to a package index"
        )
    return str(venv / "bin" / "uv")


def make_venv(uv: str, folder: Path, environment: dict[str, str], log: Path) -> str:
    """Make an environment with a Python of 3.12 or newer; return the path of that."""
    venv = folder / "venv"
    python = find_python(environment)
    if not python:
        say("No Python 3.12 or newer is here; uv fetches 3.13 …")
    make = [uv, "venv", "--quiet", "--clear", "--no-project", "--python", python or "3.13"]
    if not _runs([*make, str(venv)], environment, log):
        raise GiveUp(
            "no Python 3.12 or newer is installed, and none could be fetched: install one, or"
            f" name one in LABDASH_PYTHON (details: {log})"
        )
    return str(venv / "bin" / "python")


def find_python(environment: dict[str, str]) -> str:
    """Return a Python that runs and is new enough, or nothing; shims may lead nowhere."""
    home = Path(os.environ.get("HOME") or "/nonexistent")
    named = os.environ.get("LABDASH_PYTHON")
    found = [named] if named else [f"python3.{minor}" for minor in (13, 14, 12)] + ["python3"]
    for version in ("3.13", "3.14", "3.12"):
        for folder in (home / ".pyenv" / "versions", home / ".local" / "share" / "uv" / "python"):
            found += [str(path) for path in sorted(folder.glob(f"*{version}*/bin/python3"))]
        found += [f"/usr/local/bin/python{version}", f"/usr/bin/python{version}"]
    return next((each for each in map(str, found) if _is_new(each, environment)), "")


def _is_new(python: str, environment: dict[str, str]) -> bool:
    path = shutil.which(python)
    return bool(path) and _runs([str(path), "-I", "-c", PROBE], environment, Path(os.devnull))


def _environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept["UV_PYTHON_INSTALL_DIR"] = str(folder / "python")
    kept["UV_CACHE_DIR"] = str(folder / "cache")
    return kept


def _runs(argv: list[str], environment: dict[str, str] | None, log: Path) -> bool:
    with log.open("ab") as output:
        try:
            ended = subprocess.run(  # noqa: S603 - words of this file
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            output.write(f"{error}\n".encode())
            return False
    return ended.returncode == 0


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'nothing was said'} (details: {log})"


# --- the account ------------------------------------------------------------------------------


def redeem(hub: Hub, folder: Path, token: str) -> str:
    """Exchange the token for the node's own account, and write that down; return its name."""
    asked = {
        "token": token,
        "hostname": socket.gethostname(),
        "ollama_urls": os.environ.get("LABDASH_OLLAMA_URLS", ""),
    }
    status, told = hub.ask("POST", "/join/redeem/", json.dumps(asked).encode())
    try:
        answer = json.loads(told.decode())
    except ValueError as error:
        raise GiveUp(f"the hub answers {status}: {_line(told)}") from error
    if status != http.client.OK:
        raise GiveUp(answer.get("error", f"the hub answers {status}"))
    pem = answer["certificate"]
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() != hub.fingerprint:
        raise GiveUp("the hub tells another certificate than it shows")
    (folder / "hub.pem").write_text(pem)
    _write_settings(folder, hub, answer)
    return str(answer["slug"])


def _write_settings(folder: Path, hub: Hub, answer: dict[str, Any]) -> None:
    """Write what the worker is told by its environment; it holds the password."""
    host = f"[{hub.host}]" if ":" in hub.host else hub.host
    account = f"{answer['user']}:{answer['password']}"
    pem = quote(str(folder / "hub.pem"))
    trust = f"ssl_cert_reqs=required&ssl_check_hostname=false&ssl_ca_certs={pem}"
    place = f"{host}:{answer['store_port']}/{answer['database']}"
    settings = {"LABDASH_NODE": answer["slug"], "REDIS_URL": f"rediss://{account}@{place}?{trust}"}
    for name in ("LABDASH_OLLAMA_URLS", "LABDASH_HARDWARE", "LABDASH_MIRROR_PORT"):
        if os.environ.get(name):
            settings[name] = os.environ[name]
    draft = folder / "node.env.new"
    draft.write_text("".join(f"{name}={shlex.quote(settings[name])}\n" for name in settings))
    draft.rename(folder / "node.env")


# --- running ----------------------------------------------------------------------------------


def start(folder: Path, options: list[str]) -> NoReturn:
    """Become the program that starts the worker, now that there is a Python for it."""
    python = str(folder / "venv" / "bin" / "python")
    os.environ["PYTHONPATH"] = str(folder / "app")
    command = [python, "-P", "-m", "workers.service", str(folder), *options]
    os.execv(python, command)  # noqa: S606 - our own program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
