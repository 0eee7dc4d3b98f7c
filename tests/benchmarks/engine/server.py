"""What a llama-server says that it allocated."""

import re
import subprocess
from pathlib import Path

from tests.processes import eventually, free_port

# "llama_kv_cache:        CPU KV buffer size =    22.50 MiB", of each cache and buffer type one.
BUFFER = re.compile(r"(model|KV|compute|output) buffer size = +([\d.]+) MiB")
KINDS = {"model": "weights", "KV": "kv", "compute": "compute", "output": "output"}
READY = "listening on"
# No GPU and no fitting; weights in memory of its own, for a mapped file counts other bytes too.
ALWAYS = ("-ngl", "0", "-fit", "off", "-lm", "none", "--no-warmup", "-t", "1", "-lv", "4")


def printed_buffers(server: Path, model: Path, options: list[str], log: Path) -> dict[str, float]:
    """Start a server until it listens; returns MiB by kind, summed over its buffers."""
    port = str(free_port())
    command = [str(server), "-m", str(model), *ALWAYS, *options, "--port", port]
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as process,  # noqa: S603 - our own build
    ):
        eventually(lambda: READY in log.read_text() or process.poll() is not None)
        process.terminate()
    text = log.read_text()
    if READY not in text:
        raise RuntimeError(f"llama-server did not start: {text.strip().splitlines()[-1]}")
    sums = dict.fromkeys(KINDS.values(), 0.0)
    for kind, size in BUFFER.findall(text):
        sums[KINDS[kind]] += float(size)
    return sums
