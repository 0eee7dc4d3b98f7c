"""How fast a node gives a model away: against nginx, within a limit, and with how much memory."""

import getpass
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.mirror_process import DIGEST
from tests.figures import Tell
from tests.workers.mirror.shelves import MODEL, SECRET

pytestmark = [pytest.mark.long]

MIB = 2**20
FILE_BYTES = 1024 * MIB
# As Ollama asks for parts of a large file.
CONNECTIONS = 8
PART_BYTES = FILE_BYTES // CONNECTIONS
ROUNDS = 7
SHARE_OF_NGINX = 0.7
GROWTH_BYTES = 12 * MIB
LIMIT = 50e6
OUR_PATH = f"/v2/{SECRET}/{MODEL}/blobs/{DIGEST}"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NGINX_CONFIG = """
user {user}; worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {folder}; }} }}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mirror") / "weights"
    with path.open("wb") as out:
        out.truncate(FILE_BYTES)
    return path


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run the process that serves; yield its port and what tells its memory."""
    line = [sys.executable, "-m", "tests.benchmarks.mirror_process", *arguments]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=root) as process:  # noqa: S603 - ours
        assert process.stdout
        try:
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.kill()


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """Run nginx on a folder; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=folder, port=port, user=getpass.getuser()))
    with subprocess.Popen([str(NGINX), "-c", str(config)]) as process:  # noqa: S603 - ours
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        try:
            yield port
        finally:
            process.terminate()


def fetch(port: int, path: str, start: int, count: int) -> None:
    """Read a part and throw it away."""
    buffer = memoryview(bytearray(MIB))
    with socket.create_connection(("127.0.0.1", port)) as line:
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={start}-{start + count - 1}\r\n"
        line.sendall(f"{request}Connection: close\r\n\r\n".encode())
        total = 0
        while got := line.recv_into(buffer):
            total += got
    assert total > count, "the answer was cut"


def rate(port: int, path: str, *, part_bytes: int = PART_BYTES) -> float:
    """Fetch all parts at once; return bytes a second."""
    begun = time.monotonic()
    threads = [
        threading.Thread(target=fetch, args=(port, path, number * PART_BYTES, part_bytes))
        for number in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return part_bytes * CONNECTIONS / (time.monotonic() - begun)


@pytest.mark.skipif(not NGINX, reason="nginx is not installed (Debian: nginx-light)")
def test_a_neighbour_is_about_as_fast_as_nginx_and_keeps_its_memory(file: Path, tell: Tell) -> None:
    with serving(str(file)) as (port, process), nginx(file.parent) as other:
        rate(other, "/weights"), rate(port, OUR_PATH)
        before = process.memory_info().rss
        pairs = [(rate(port, OUR_PATH), rate(other, "/weights")) for _ in range(ROUNDS)]
        grown = process.memory_info().rss - before
    # What else this machine does slows both of a pair.
    share = statistics.median(ours / theirs for ours, theirs in pairs)
    ours = statistics.median(ours for ours, _ in pairs)
    tell(
        f"1 GiB to a neighbour, {CONNECTIONS} parts at once",
        f"{ours / 1e6:.0f} MB/s, {share:.2f} of what nginx gives",
        goal=f"{SHARE_OF_NGINX}",
    )
    tell("memory that this took", f"{grown / MIB:.1f} MiB", goal="flat")
    assert share >= SHARE_OF_NGINX
    assert grown < GROWTH_BYTES


def test_a_limit_is_held_by_all_connections_together(file: Path, tell: Tell) -> None:
    with serving(str(file), str(LIMIT)) as (port, _):
        found = rate(port, OUR_PATH, part_bytes=int(LIMIT * 5 / CONNECTIONS))
    what = f"a limit of 50 MB/s over 5 s and {CONNECTIONS} connections"
    tell(what, f"{found / 1e6:.2f} MB/s", goal="± 5 %")
    assert abs(found - LIMIT) <= 0.05 * LIMIT
