"""How fast estimates are made, on one core."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median

import pytest

from labdash.env import ROOT
from labdash.planner.memory import run
from labdash.planner.memory.estimate import estimate
from labdash.planner.settings import Gpu, Settings
from tests.figures import Tell
from tests.gguf_files import TINY, file
from tests.oracle import BUILDS, model

pytestmark = pytest.mark.long

GIB = 2**30
CONTEXTS = (2048, 4096, 8192, 16384, 24576, 32768, 49152, 65536)
CACHES = ("f16", "q8_0", "q4_0")
BATCHES = (512, 1024)
WARM_MS, SWEEP_S, BATCH_S = 2.0, 1.0, 5.0
REQUESTS = 1000
HEADER_BYTES, HEADER_S, HEADER_MB = 25_000_000, 0.3, 20
# Reads a header in a process of its own, and tells the time and the most memory that it held.
READ = """
import sys, time, tracemalloc
from pathlib import Path
from labdash.sources.files import open_file
began = time.process_time()
open_file(Path(sys.argv[1]))
took = time.process_time() - began
tracemalloc.start()
open_file(Path(sys.argv[1]))
print(took, tracemalloc.get_traced_memory()[1] / 1e6)
"""


def seconds(run: Callable[[], object]) -> float:
    """Run once and return the CPU time that it took."""
    began = time.process_time()
    run()
    return time.process_time() - began


def settings(**changes: object) -> Settings:
    given = {"build": BUILDS[0], "ctx": 8192, "gpus": (Gpu(24 * GIB),), **changes}
    return Settings(**given)  # type: ignore[arg-type]


def sweep() -> None:
    """Estimate all splits of a model of 64 layers for contexts, caches and batches."""
    opened = model("qwen3-32b", "Q4_K_M")
    for ctx, kind, batch in product(CONTEXTS, CACHES, BATCHES):
        for layers in range(66):
            given = settings(
                ctx=ctx, type_k=kind, type_v=kind, batch=batch, ubatch=batch, gpu_layers=layers
            )
            estimate(opened, given)


def test_one_estimate_is_a_matter_of_milliseconds(tell: Tell) -> None:
    opened = model("llama-3.1-8b", "Q4_K_M")
    estimate(opened, settings())
    times = []
    for ctx in range(8448, 8192 + 100 * 256, 256):
        given = settings(ctx=ctx)
        began = time.process_time()
        estimate(opened, given)
        times.append(time.process_time() - began)
    tell("one estimate, another context", f"{median(times) * 1000:.2f} ms", goal=f"{WARM_MS}")


def test_all_splits_of_a_model_take_a_second(tell: Tell) -> None:
    run.steps_of.cache_clear()
    first, again = seconds(sweep), seconds(sweep)
    count = len(CONTEXTS) * len(CACHES) * len(BATCHES) * 66
    tell(
        f"{count} estimates of 64 layers", f"{first:.2f} s, again {again:.2f}", goal=f"{SWEEP_S} s"
    )


def test_a_thousand_requests_take_seconds(tell: Tell, tmp_path: Path) -> None:
    names = ("qwen3:14b", "llama3.1:8b", "gemma3:12b", "qwen3:30b", "phi4:14b")
    grid = list(product(names, CONTEXTS, CACHES, ("all", 0, 10, 20), ([24576], [24576, 12288])))
    lines = [
        json.dumps(
            {
                "source": name,
                "quant": "Q4_K_M",
                "ctx": ctx,
                "type_k": kind,
                "type_v": kind,
                "gpu_layers": layers,
                "gpu_free_mib": free,
            }
        )
        for name, ctx, kind, layers, free in (grid * 2)[:REQUESTS]
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines))
    command = [sys.executable, "manage.py", "estimate", "--batch", str(path)]
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    took = time.perf_counter() - began
    assert len(done.stdout.splitlines()) == REQUESTS
    assert '"error"' not in done.stdout
    tell(f"{REQUESTS} requests with start-up", f"{took:.1f} s", goal=f"{BATCH_S} s")


def test_header_with_a_huge_vocabulary_is_skimmed(tell: Tell, tmp_path: Path) -> None:
    count = HEADER_BYTES // 40
    changes = {
        "tokenizer.ggml.tokens": [f"token{index}" for index in range(count)],
        "tokenizer.ggml.merges": [f"merge{index} of" for index in range(count)],
    }
    path = tmp_path / "huge.gguf"
    content = file({**TINY, **changes})
    assert len(content) > HEADER_BYTES
    path.write_bytes(content)
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    took, grown = map(float, done.stdout.split())
    size = f"a header of {len(content) / 1e6:.0f} MB"
    tell(size, f"{took:.2f} s", goal=f"{HEADER_S} s")
    tell(f"{size}, more memory", f"{grown:.1f} MB", goal=f"{HEADER_MB} MB")
